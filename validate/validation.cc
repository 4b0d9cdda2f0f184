#include "validate/validation.h"

#include <algorithm>
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
#include "validate/validation/candidate.h"
#include "validate/validation/inputs.h"
#include "validate/validation/original.h"

namespace narrow {
namespace {

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
    RETURN_IF_ERROR(TellInsane(RunCandidates()));
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

  absl::Status OpenCandidates() {
    for (CandidateReport& report : report_.candidates) {
      ASSIGN_OR_RETURN(
          OpenCandidate candidate,
          OpenCandidate::Open(options_, inputs_, progress_, &report));
      candidates_.push_back(std::move(candidate));
    }
    return absl::OkStatus();
  }

  absl::Status RunCandidates() {
    RETURN_IF_ERROR(OpenCandidates());
    for (size_t d = 0; d < inputs_.domains.size(); ++d) {
      RETURN_IF_ERROR(RunDomain(d));
    }
    for (OpenCandidate& candidate : candidates_) {
      RETURN_IF_ERROR(Finish(&candidate));
    }
    return absl::OkStatus();
  }

  // What the checks found is often why a candidate cannot be measured.
  absl::Status TellInsane(const absl::Status& status) const {
    for (const CandidateReport& candidate : report_.candidates) {
      if (!status.ok() && IsInsane(candidate)) {
        const SanityFinding& first = candidate.sanity->findings.front();
        return Annotate(
            status,
            absl::StrCat(candidate.model.path, " is not sane: ", first.check,
                         ": ", first.subject, " ", first.message));
      }
    }
    return status;
  }

  // All texts are measured: tasks, and what it comes to.
  absl::Status Finish(OpenCandidate* candidate) {
    CandidateReport& report = *candidate->report;
    if (!candidate->overall.tokens.empty()) {
      report.overall = MakeComparison(candidate->overall, options_.seed);
    }
    RETURN_IF_ERROR(
        Annotate(RunTasks(report.model.path, candidate->runner.get(), &report),
                 absl::StrCat("measuring ", report.model.path)));
    candidate->runner->ForgetWeights();
    if (IsJudged()) {
      report.verdict =
          IsInsane(report) ? Verdict::kFail : WorstOf(report.criteria);
    }
    return absl::OkStatus();
  }

  // Look by look, until all is decided or the text ends; a candidate of which
  // all is decided goes no further, the others do.
  absl::Status RunDomain(size_t d) {
    const std::string& name = report_.domains[d].name;
    for (OpenCandidate& candidate : candidates_) {
      candidate.BeginText();
    }
    for (const Look& look :
         PlanLooks(static_cast<int64_t>(inputs_.domains[d].windows.size()),
                   options_.early_stop && options_.limits.any())) {
      std::vector<OpenCandidate*> open;
      for (OpenCandidate& candidate : candidates_) {
        if (!candidate.is_decided) {
          open.push_back(&candidate);
        }
      }
      if (open.empty()) {
        break;
      }
      RETURN_IF_ERROR(Prepare(d, look.n_windows));
      RETURN_IF_ERROR(CompareUpTo(d, look.n_windows, open));
      for (OpenCandidate* candidate : open) {
        candidate->verdicts = KeepDecided(
            candidate->verdicts,
            JudgeText(options_.limits, name, SumWindows(candidate->scores),
                      Rates(look.share)));
        candidate->is_decided =
            options_.early_stop && AllDecided(candidate->verdicts);
      }
    }
    for (OpenCandidate& candidate : candidates_) {
      candidate.EndText(name, inputs_.domains.size(), options_.seed);
    }
    return absl::OkStatus();
  }

  // Adds the windows that are missing among the first n_windows of a text.
  absl::Status CompareUpTo(size_t d, int64_t n_windows,
                           const std::vector<OpenCandidate*>& open) {
    const DomainInput& input = inputs_.domains[d];
    const auto tokens_of = [&](size_t n) {
      return TokensOf(absl::MakeSpan(input.windows).first(n));
    };
    std::vector<ComparedModel> models;
    for (OpenCandidate* candidate : open) {
      models.push_back({candidate->report->model.path, candidate->runner.get(),
                        &candidate->scores});
    }
    const int64_t n_before = tokens_of(open[0]->scores.window_sizes.size());
    RETURN_IF_ERROR(CompareWindows(
        input.tokens, input.windows, n_windows, pass_options(), ReferenceOf(d),
        ProgressOf(progress_,
                   models.size() == 1
                       ? models[0].name
                       : absl::StrCat(models.size(), " candidates"),
                   report_.domains[d].name, n_before, TokensOf(input.windows)),
        absl::MakeSpan(models)));
    for (size_t m = 0; m < models.size(); ++m) {
      open[m]->report->seconds += models[m].seconds;
      open[m]->report->n_run_tokens +=
          tokens_of(static_cast<size_t>(n_windows)) - n_before;
    }
    return absl::OkStatus();
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
  std::vector<OpenCandidate> candidates_;
};

}  // namespace

absl::StatusOr<ValidationReport> Validate(
    const ValidationOptions& options, const ValidationProgressFn& progress) {
  return Validation(options, progress).Run();
}

}  // namespace narrow
