#include "converter/commands/convert_solved.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "calibration/text/sample_text.h"
#include "converter/compensated/compensated_report.h"
#include "converter/compensated/solve_targets.h"
#include "converter/compensated/solve_tensor.h"
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
    const double left =
        seconds / n_done_ *
        static_cast<double>(std::max<int64_t>(0, now.n_blocks - now.block - 1));
    const std::string name =
        now.block < now.n_blocks
            ? absl::StrCat("block ", now.block + 1, " of ", now.n_blocks)
            : "output matrix";
    std::fprintf(stderr,
                 "%s: observed %.1f s, solved %.1f s, advanced %.1f s; error "
                 "%.3g (plain %.3g); %s left\n",
                 name.c_str(), now.observe_seconds, now.solve_seconds,
                 now.advance_seconds, now.error, now.error_plain,
                 FormatDuration(left).c_str());
  }

 private:
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

absl::StatusOr<CalibrationSamples> SolverSamples(
    const Checkpoint& model, const SolverRequest& request,
    const std::vector<Output>& outputs) {
  ASSIGN_OR_RETURN(CalibrationSamples samples,
                   SampleTexts(model, request.texts, request.samples));
  const int64_t n_tokens =
      std::count(samples.counts.begin(), samples.counts.end(), uint8_t{1});
  const PlannedTensor* widest = nullptr;
  for (const Output& output : outputs) {
    for (const SolveTarget& target :
         FindSolveTargets(*output.plan, model).solved) {
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
  return samples;
}

std::string SolvedDryRun(const Checkpoint& model, const Output& output,
                         const CalibrationSamples& samples) {
  const SolveTargets targets = FindSolveTargets(*output.plan, model);
  std::string text = absl::StrCat(
      "  would solve ", targets.solved.size(), " tensors on ",
      samples.n_samples(), " windows of ", samples.sample_tokens, " tokens\n");
  for (const UnsolvedTensor& tensor : targets.plain) {
    absl::StrAppend(&text, "  not solved, ", tensor.why, ": ",
                    OneLine(tensor.name), "\n");
  }
  return text;
}

absl::StatusOr<std::vector<CompensatedOutcome>> WriteSolved(
    const Checkpoint& model, const CalibrationSamples& samples,
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
  options.on_run = [&](size_t first, size_t) {
    weighing.reset();
    lines.BeginRun(first);
  };
  options.run.one_shot = job.request.one_shot;
  options.run.fisher = job.request.fisher;
  options.run.max_coupled_outputs = job.request.max_coupled_outputs;
  options.run.solver = job.request.options;
  options.run.held_out_every = job.request.held_out_every;
  options.run.solve = SolveCompensated;
  options.run.n_threads = job.n_threads;
  options.run.hidden_bytes = job.request.hidden_bytes;
  options.run.cancelled = job.cancelled;
  options.run.on_block = [&lines](const SolveProgress& now) {
    lines.Show(now);
  };
  int64_t n_bytes = 0;
  for (const CheckpointTensor& tensor : model.tensors()) {
    n_bytes += tensor.meta.n_bytes();
  }
  std::unique_ptr<Progress> bar;  // from the first byte on
  PipelineOptions pipeline;
  pipeline.n_threads = job.n_threads;
  pipeline.cancelled = job.cancelled;
  pipeline.on_progress = [&](int64_t n) {
    if (bar == nullptr) {
      bar = std::make_unique<Progress>("writing", "B", n_bytes, job.quiet);
    }
    bar->Add(n);
  };
  return WriteCompensated(model, samples, outputs, options, pipeline);
}

}  // namespace narrow
