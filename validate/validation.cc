#include "validate/validation.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "validate/gate/gate.h"
#include "validate/gate/sequential.h"
#include "validate/measures/comparison.h"
#include "validate/reference/base_reference.h"
#include "validate/reference/compare_pass.h"
#include "validate/reference/hidden_reference.h"
#include "validate/tasks/measure_task.h"
#include "validate/validation/inputs.h"
#include "validate/validation/original.h"
#include "validate/weights/weight_error.h"

namespace narrow {
namespace {

using Clock = std::chrono::steady_clock;

bool AllDecided(absl::Span<const CriterionVerdict> verdicts) {
  return std::none_of(verdicts.begin(), verdicts.end(),
                      [](const CriterionVerdict& v) {
                        return v.verdict == Verdict::kUndecided;
                      });
}

// Progress within a part of the windows, as that of all.
ScoreProgressFn ProgressOf(const ValidationProgressFn& progress,
                           const std::string& model, const std::string& what,
                           int64_t tokens_before, int64_t tokens_total) {
  if (!progress) {
    return {};
  }
  return [=](const ScoreProgress& part) {
    ValidationProgress now{model, what, part};
    now.score.tokens_done += tokens_before;
    now.score.tokens_total = tokens_total;
    progress(now);
  };
}

// One validation; see Validate.
class Validation {
 public:
  Validation(const ValidationOptions& options,
             const ValidationProgressFn& progress)
      : options_(options),
        progress_(progress),
        pool_(options.runner.n_threads) {}

  absl::StatusOr<ValidationReport> Run() {
    ASSIGN_OR_RETURN(inputs_, OpenValidationInputs(options_, &report_));
    RETURN_IF_ERROR(OpenReference());
    for (size_t i = 0; i < options_.candidates.size(); ++i) {
      RETURN_IF_ERROR(Annotate(
          RunCandidate(i), absl::StrCat("measuring ", options_.candidates[i])));
    }
    if (original_ != nullptr) {
      original_->Report(&report_);
    }
    if (IsJudged() && !report_.candidates.empty()) {
      Verdict worst = Verdict::kPass;
      for (const CandidateReport& candidate : report_.candidates) {
        worst = Worse(worst, *candidate.verdict);
      }
      report_.verdict = worst;
    }
    return std::move(report_);
  }

 private:
  static bool IsInsane(const CandidateReport& candidate) {
    return candidate.sanity.has_value() && !candidate.sanity->ok();
  }

  // A candidate that is not sane fails, gate or not.
  bool IsJudged() const {
    return options_.limits.any() ||
           std::any_of(report_.candidates.begin(), report_.candidates.end(),
                       IsInsane);
  }

  absl::Status OpenReference() {
    if (inputs_.base != nullptr) {
      base_ = std::make_unique<BaseReference>(inputs_.base.get(), &pool_);
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(original_,
                     OriginalModel::Open(options_, &inputs_, &pool_, &report_));
    const absl::Status status = RunOriginal();
    return Annotate(status, absl::StrCat("measuring ", options_.original));
  }

  // All that is needed of the original, unless candidates may need less.
  absl::Status RunOriginal() {
    if (!options_.early_stop || !options_.write_base_path.empty()) {
      for (size_t d = 0; d < inputs_.domains.size(); ++d) {
        RETURN_IF_ERROR(Prepare(
            d, static_cast<int64_t>(inputs_.domains[d].windows.size())));
      }
    }
    if (!options_.write_base_path.empty()) {
      RETURN_IF_ERROR(original_->WriteBase(options_.write_base_path));
    }
    RETURN_IF_ERROR(RunTasks(options_.original, original_->runner(), nullptr));
    if (!options_.early_stop) {
      original_->runner()->ForgetWeights();
    }
    return absl::OkStatus();
  }

  // Windows of the reference that a look needs.
  absl::Status Prepare(size_t domain, int64_t n_windows) {
    if (original_ == nullptr) {
      return absl::OkStatus();
    }
    const auto& windows = inputs_.domains[domain].windows;
    const int64_t n_done = original_->n_prepared(domain);
    return original_->Prepare(
        domain, n_windows,
        ProgressOf(progress_, options_.original, report_.domains[domain].name,
                   TokensOf(absl::MakeSpan(windows).first(
                       static_cast<size_t>(std::min<int64_t>(
                           n_done, static_cast<int64_t>(windows.size()))))),
                   TokensOf(windows)));
  }

  Reference* ReferenceOf(size_t domain) {
    if (original_ != nullptr) {
      return original_->reference(domain);
    }
    return base_.get();
  }

  absl::Status RunCandidate(size_t i) {
    CandidateReport& report = report_.candidates[i];
    ASSIGN_OR_RETURN(const auto model,
                     OpenModel(options_, options_.candidates[i]));
    RETURN_IF_ERROR(RunWeights(*model, &report));
    ASSIGN_OR_RETURN(const auto runner,
                     ModelRunner::Create(model.get(), options_.runner));
    PairedScores overall;
    for (size_t d = 0; d < inputs_.domains.size(); ++d) {
      PairedScores scores;
      RETURN_IF_ERROR(RunDomain(d, runner.get(), &scores, &report));
      if (inputs_.domains.size() > 1) {
        overall.Append(scores);
      }
    }
    if (!overall.tokens.empty()) {
      report.overall = MakeComparison(overall, options_.seed);
    }
    RETURN_IF_ERROR(RunTasks(options_.candidates[i], runner.get(), &report));
    if (IsJudged()) {
      report.verdict =
          IsInsane(report) ? Verdict::kFail : WorstOf(report.criteria);
    }
    return absl::OkStatus();
  }

  absl::Status RunWeights(const Checkpoint& candidate,
                          CandidateReport* report) {
    if (!options_.compare_weights || inputs_.original == nullptr) {
      return absl::OkStatus();
    }
    WeightProgressFn progress;
    if (progress_) {
      progress = [&](int64_t done, int64_t total) {
        ValidationProgress now{candidate.path(), "weights", {}};
        now.score.tokens_done = done;
        now.score.tokens_total = total;
        progress_(now);
      };
    }
    ASSIGN_OR_RETURN(report->weights,
                     CompareWeights(*inputs_.original, candidate,
                                    options_.runner.n_threads, progress));
    return absl::OkStatus();
  }

  // Look by look, until all is decided or the text ends.
  absl::Status RunDomain(size_t d, ModelRunner* runner, PairedScores* scores,
                         CandidateReport* report) {
    const DomainInput& input = inputs_.domains[d];
    const std::string& name = report_.domains[d].name;
    std::vector<CriterionVerdict> verdicts;
    for (const Look& look :
         PlanLooks(static_cast<int64_t>(input.windows.size()),
                   options_.early_stop && options_.limits.any())) {
      RETURN_IF_ERROR(Prepare(d, look.n_windows));
      RETURN_IF_ERROR(CompareUpTo(d, look.n_windows, runner, scores, report));
      verdicts = KeepDecided(
          verdicts, JudgeText(options_.limits, name, SumWindows(*scores),
                              Rates(look.share)));
      if (options_.early_stop && AllDecided(verdicts)) {
        break;
      }
    }
    report->criteria.insert(report->criteria.end(), verdicts.begin(),
                            verdicts.end());
    report->domains.push_back(Describe(name, *scores));
    return absl::OkStatus();
  }

  // Adds the windows that are missing among the first n_windows of a text.
  absl::Status CompareUpTo(size_t d, int64_t n_windows, ModelRunner* runner,
                           PairedScores* scores, CandidateReport* report) {
    const DomainInput& input = inputs_.domains[d];
    const auto tokens_of = [&](size_t n) {
      return TokensOf(absl::MakeSpan(input.windows).first(n));
    };
    const int64_t n_before = tokens_of(scores->window_sizes.size());
    const Clock::time_point start = Clock::now();
    RETURN_IF_ERROR(CompareWindows(
        input.tokens, input.windows, n_windows, pass_options(), runner,
        ReferenceOf(d),
        ProgressOf(progress_, report->model.path, report_.domains[d].name,
                   n_before, TokensOf(input.windows)),
        scores));
    report->seconds +=
        std::chrono::duration<double>(Clock::now() - start).count();
    report->n_run_tokens += tokens_of(scores->window_sizes.size()) - n_before;
    return absl::OkStatus();
  }

  DomainComparison Describe(const std::string& name,
                            const PairedScores& scores) const {
    DomainComparison domain;
    domain.domain = name;
    domain.figures = MakeComparison(scores, options_.seed);
    for (const WindowSums& window : SumWindows(scores)) {
      domain.window_tokens.push_back(static_cast<int64_t>(window.n));
      domain.window_log_ratio.push_back(
          (window.candidate_nll - window.reference_nll) / window.n);
      domain.window_divergence.push_back(window.divergence / window.n);
    }
    return domain;
  }

  // Every task on a model; judges it, where it is a candidate.
  absl::Status RunTasks(const std::string& path, ModelRunner* runner,
                        CandidateReport* candidate) {
    TaskScoreOptions score;
    score.hidden_bytes = options_.hidden_bytes;
    for (size_t t = 0; t < inputs_.tasks.size(); ++t) {
      const TaskInput& input = inputs_.tasks[t];
      ASSIGN_OR_RETURN(const TaskScores scores,
                       ScoreTask(input.tokens, score, runner,
                                 ProgressOf(progress_, path, input.task.name, 0,
                                            input.tokens.n_tokens)));
      if (candidate == nullptr) {
        report_.tasks.push_back(BeginTaskReport(input.task, input.tokens));
      }
      AddTaskModel(input.task, scores, path, &report_.tasks[t]);
      if (candidate != nullptr && options_.limits.min_task_delta) {
        candidate->criteria.push_back(JudgeTask(*options_.limits.min_task_delta,
                                                DeltaOf(report_.tasks[t]),
                                                Rates(1)));
      }
    }
    return absl::OkStatus();
  }

  // Of the model that was added last.
  static TaskDelta DeltaOf(const TaskReport& report) {
    const TaskMetric& metric = report.models.back().metrics.front();
    TaskDelta delta;
    delta.name = report.name;
    delta.n_questions = report.n_questions;
    delta.difference = metric.paired->difference;
    delta.right_or_wrong = metric.right_or_wrong;
    delta.n_gained = metric.paired->n_gained;
    delta.n_lost = metric.paired->n_lost;
    return delta;
  }

  GateRates Rates(double share) const {
    return RatesFor(options_.limits,
                    static_cast<int64_t>(inputs_.domains.size()),
                    static_cast<int64_t>(inputs_.tasks.size()), share);
  }

  ComparePassOptions pass_options() const {
    ComparePassOptions pass;
    pass.hidden_bytes = options_.hidden_bytes;
    return pass;
  }

  const ValidationOptions& options_;
  const ValidationProgressFn& progress_;
  ThreadPool pool_;
  ValidationReport report_;
  ValidationInputs inputs_;
  std::unique_ptr<OriginalModel> original_;  // or
  std::unique_ptr<BaseReference> base_;
};

}  // namespace

absl::StatusOr<ValidationReport> Validate(
    const ValidationOptions& options, const ValidationProgressFn& progress) {
  return Validation(options, progress).Run();
}

}  // namespace narrow
