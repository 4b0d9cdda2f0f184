#include "converter/commands/convert/convert_solved.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "calibration/text/cover_windows.h"
#include "calibration/text/fresh_windows.h"
#include "calibration/text/sample_text.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/compensated/compensated_report.h"
#include "converter/compensated/matrix/solve_tensor.h"
#include "converter/compensated/solve_targets.h"
#include "converter/progress.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using Clock = std::chrono::steady_clock;

// Lines of one run after another, with the time that is left of a run.
class BlockLines {
 public:
  BlockLines(const std::vector<Output>& outputs, bool one_shot, bool quiet)
      : outputs_(outputs), one_shot_(one_shot), quiet_(quiet) {}

  void BeginRun(size_t first) {
    n_done_ = 0;
    start_ = Clock::now();
    if (!quiet_ && !one_shot_ && outputs_.size() > 1) {
      std::fprintf(stderr, "solving %s, %zu of %zu\n",
                   RecipeName(outputs_[first].plan->recipe), first + 1,
                   outputs_.size());
    }
  }

  void Show(const SolveProgress& now) {
    ++n_done_;
    if (quiet_) {
      return;
    }
    const double seconds =
        std::chrono::duration<double>(Clock::now() - start_).count();
    if (now.block > now.n_blocks) {
      std::fprintf(stderr,
                   "token embedding: solved %.1f s; error %.3g (plain %.3g)\n",
                   now.solve_seconds, now.error, now.error_plain);
      start_ = Clock::now();
      n_done_ = 0;
      return;
    }
    const double left =
        seconds / n_done_ *
        static_cast<double>(std::max<int64_t>(0, now.n_blocks - now.block - 1));
    const std::string name =
        now.block < now.n_blocks
            ? absl::StrCat("block ", now.block + 1, " of ", now.n_blocks)
            : "output matrix";
    std::fprintf(stderr,
                 "%s: observed %.1f s, solved %.1f s, advanced %.1f s; error "
                 "%.3g (plain %.3g); %s%s left\n",
                 name.c_str(), now.observe_seconds, now.solve_seconds,
                 now.advance_seconds, now.error, now.error_plain,
                 Verdicts(now).c_str(), FormatDuration(left).c_str());
  }

 private:
  // "verified 2.1 s: KL 0.0123 (plain 0.0189); ", of each output that was.
  static std::string Verdicts(const SolveProgress& now) {
    std::string text;
    for (const BlockVerdict& verdict : now.verdicts) {
      absl::StrAppendFormat(
          &text, "%s%.4g (plain %.4g%s)",
          text.empty()
              ? absl::StrFormat("verified %.1f s: KL ", now.verify_seconds)
              : ", ",
          verdict.divergence, verdict.divergence_plain,
          verdict.accepted ? "" : ", which is kept");
    }
    return text.empty() ? text : absl::StrCat(text, "; ");
  }

  const std::vector<Output>& outputs_;
  const bool one_shot_, quiet_;
  double n_done_ = 0;
  Clock::time_point start_;
};

}  // namespace

absl::Status CheckSolvable(const std::vector<Recipe>& recipes) {
  for (const Recipe& recipe : recipes) {
    if (recipe.copy) {
      return absl::InvalidArgumentError(
          "--solver has nothing to solve in a COPY, whose tensors keep their "
          "types");
    }
    if (!recipe.pruned_layers.empty()) {
      return absl::InvalidArgumentError(
          "--solver sees the whole model; prune layers first, with --to COPY, "
          "and solve the file that gives");
    }
  }
  return absl::OkStatus();
}

// Windows to judge blocks on: those of the text after the samples, or where
// it has no more the last of these, which are taken from them.
static absl::StatusOr<CalibrationSamples> TakeJudges(
    const Checkpoint& model, const SolverRequest& request,
    CalibrationSamples* samples) {
  const int64_t n = request.verify_windows;
  ASSIGN_OR_RETURN(
      CalibrationSamples judges,
      SampleFreshTexts(model, request.texts, request.samples, *samples, n));
  if (judges.n_samples() == n) {
    return judges;
  }
  if (samples->n_samples() <= n) {
    return absl::InvalidArgumentError(
        absl::StrCat("--verify-kld needs ", n,
                     " windows besides those calibrated on, the "
                     "text has ",
                     samples->n_samples(),
                     "; use more text, fewer "
                     "--verify-windows or shorter --sample-tokens"));
  }
  const auto first_id = samples->ids.end() - n * samples->sample_tokens;
  const auto first_count = samples->counts.end() - n * samples->sample_tokens;
  judges.ids.assign(first_id, samples->ids.end());
  judges.counts.assign(first_count, samples->counts.end());
  samples->ids.erase(first_id, samples->ids.end());
  samples->counts.erase(first_count, samples->counts.end());
  return judges;
}

// They count nothing among the samples.
static void AppendJudges(const CalibrationSamples& judges,
                         CalibrationSamples* samples) {
  samples->ids.insert(samples->ids.end(), judges.ids.begin(), judges.ids.end());
  samples->counts.resize(samples->ids.size(), 0);
  samples->hash = HashSamples(*samples);
}

absl::StatusOr<SolverText> SampleSolverText(const Checkpoint& model,
                                            const SolverRequest& request) {
  SolverText text;
  CalibrationSamples& samples = text.samples;
  SampleOptions of_text = request.samples;
  of_text.n_samples -= CoverWindows(of_text.n_samples, request.cover_every);
  ASSIGN_OR_RETURN(samples, SampleTexts(model, request.texts, of_text));
  text.n_cover = DrawnWindows(request.samples.n_samples, request.cover_every,
                              samples.n_samples(), of_text.sample_tokens);
  text.n_missed = of_text.n_samples - samples.n_samples();
  CalibrationSamples judges;
  if (request.verify_windows > 0) {
    ASSIGN_OR_RETURN(judges, TakeJudges(model, request, &samples));
  }
  if (text.n_cover > 0) {
    text.undrawn = samples;
    RETURN_IF_ERROR(AddCoverWindows(model, text.n_cover, request.cover_every,
                                    of_text.seed, &samples));
  }
  if (request.verify_windows > 0) {
    text.verify.n_windows = request.verify_windows;
    text.verify.counts = judges.counts;
    AppendJudges(judges, &samples);
    if (text.undrawn.has_value()) {
      AppendJudges(judges, &*text.undrawn);
    }
  }
  return text;
}

void WarnOfShortText(const Checkpoint& model,
                     const std::vector<Output>& outputs,
                     const SolverText& text) {
  const CalibrationSamples& samples = text.samples;
  if (text.n_missed > 0) {
    const int64_t n_text =
        samples.n_samples() - text.n_cover - text.verify.n_windows;
    std::fprintf(stderr,
                 "narrow: warning: the calibration text has %lld windows of "
                 "%lld tokens, %lld fewer than are asked for; %lld windows are "
                 "drawn from the vocabulary; more text is better\n",
                 static_cast<long long>(n_text),
                 static_cast<long long>(samples.sample_tokens),
                 static_cast<long long>(text.n_missed),
                 static_cast<long long>(text.n_cover));
  }
  const int64_t n_tokens =
      std::count(samples.counts.begin(), samples.counts.end(), uint8_t{1});
  const PlannedTensor* widest = nullptr;
  for (const Output& output : outputs) {
    for (const SolveTarget& target :
         FindSolveTargets(*output.plan, model, /*fisher=*/false).solved) {
      const PlannedTensor& tensor = output.plan->tensors[target.tensor];
      if (widest == nullptr || tensor.meta.n_cols() > widest->meta.n_cols()) {
        widest = &tensor;
      }
    }
  }
  if (widest != nullptr && n_tokens < 4 * widest->meta.n_cols()) {
    std::fprintf(
        stderr,
        "narrow: warning: %lld tokens to calibrate on are few for the %lld "
        "columns of %s; use more text, --samples or --sample-tokens\n",
        static_cast<long long>(n_tokens),
        static_cast<long long>(widest->meta.n_cols()),
        OneLine(widest->meta.name).c_str());
  }
}

std::string SolvedDryRun(const Checkpoint& model, const Output& output,
                         const SolverText& text, bool fisher) {
  const SolveTargets targets = FindSolveTargets(*output.plan, model, fisher);
  const CalibrationSamples& samples = text.samples;
  std::string lines = absl::StrCat(
      "  would solve ", targets.solved.size(), " tensors on ",
      samples.n_samples() - text.verify.n_windows, " windows of ",
      samples.sample_tokens, " tokens",
      text.n_cover > 0 ? absl::StrCat(", ", text.n_cover, " of them drawn")
                       : "",
      text.verify.n_windows > 0
          ? absl::StrCat(", and judge blocks on ", text.verify.n_windows)
          : "",
      "\n");
  for (const UnsolvedTensor& tensor : targets.plain) {
    absl::StrAppend(&lines, "  not solved, ", tensor.why, ": ",
                    OneLine(tensor.name), "\n");
  }
  return lines;
}

absl::StatusOr<std::vector<CompensatedOutcome>> WriteSolved(
    const Checkpoint& model, const SolverText& text,
    const std::vector<Output>& outputs, const SolvedJob& job,
    const std::function<absl::Status(absl::Span<const Output>)>& write) {
  BlockLines lines(outputs, job.request.one_shot, job.quiet);
  CompensatedConvertOptions options;
  options.restart = job.request.restart;
  options.write = write;
  std::unique_ptr<Progress> weighing;
  options.on_weights = [&](double share) {
    constexpr int64_t kWhole = 1000;
    if (weighing == nullptr) {
      weighing = std::make_unique<Progress>("weighing tokens", "/1000", kWhole,
                                            job.quiet);
    }
    weighing->Set(static_cast<int64_t>(share * kWhole));
  };
  std::unique_ptr<Progress> bar;  // from the first byte of a file on
  options.on_run = [&](size_t first, size_t) {
    weighing.reset();
    bar.reset();
    lines.BeginRun(first);
  };
  SolveSettings& settings = options.run.settings;
  settings.one_shot = job.request.one_shot;
  settings.fisher = job.request.fisher;
  settings.max_coupled_outputs = job.request.max_coupled_outputs;
  settings.solver = job.request.options;
  settings.held_out_every = job.request.held_out_every;
  if (text.samples.n_samples() - text.verify.n_windows <
      settings.held_out_every) {
    // Nothing could judge a correction, and of so few tokens it is noise.
    settings.solver.drift = 0;
    settings.solver.residual = 0;
  }
  options.fisher = job.fisher;
  options.run.verify = text.verify;
  options.run.solve = SolveCompensated;
  options.run.n_threads = job.n_threads;
  options.run.hidden_bytes = job.request.hidden_bytes;
  options.run.device = job.device;
  options.run.on_device_note = PrintDeviceNote;
  options.run.cancelled = job.cancelled;
  options.run.on_block = [&lines](const SolveProgress& now) {
    lines.Show(now);
  };
  int64_t n_bytes = 0;
  for (const CheckpointTensor& tensor : model.tensors()) {
    n_bytes += tensor.meta.n_bytes();
  }
  PipelineOptions pipeline;
  pipeline.n_threads = job.n_threads;
  pipeline.device = job.device;
  pipeline.on_device_note = PrintDeviceNote;
  pipeline.cancelled = job.cancelled;
  pipeline.on_progress = [&](int64_t n) {
    if (bar == nullptr) {
      bar = std::make_unique<Progress>("writing", "B", n_bytes, job.quiet);
    }
    bar->Add(n);
  };
  return WriteCompensated(model, text.samples, outputs, options, pipeline);
}

}  // namespace narrow
