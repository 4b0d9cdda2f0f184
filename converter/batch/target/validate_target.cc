#include "converter/batch/target/validate_target.h"

#include "converter/batch/saved_report.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

ValidationOptions OptionsOf(const std::string& original,
                            const PlannedTarget& target,
                            const ReleaseValidation& settings,
                            const std::string& cache) {
  ValidationOptions options;
  options.original = original;
  options.candidates = {target.output};
  for (const ReleaseText& text : settings.text()) {
    options.domains.push_back(
        {text.name(), {text.file().begin(), text.file().end()}});
  }
  if (settings.has_context()) {
    options.windows.context = settings.context();
  }
  if (settings.has_chunks()) {
    options.windows.max_windows = settings.chunks();
  }
  for (const ReleaseTask& task : settings.task()) {
    TaskRequest request;
    request.name = task.name();
    request.layout = task.layout();
    request.path = task.file();
    request.few_shot_path = task.few_shot();
    request.n_shots = task.shots();
    request.max_questions = task.has_questions() ? task.questions() : -1;
    options.tasks.push_back(request);
  }
  options.cache_folder = cache;
  options.compare_weights = true;
  options.checkpoint.intermediate = "exact";
  options.checkpoint.decode_quantized = true;
  GateLimits& limits = options.limits;
  if (settings.has_max_ppl_delta()) {
    limits.max_perplexity_ratio = settings.max_ppl_delta();
  }
  if (settings.has_max_kld()) {
    limits.max_divergence = settings.max_kld();
  }
  if (settings.has_max_rms_dp()) {
    limits.max_rms_delta_p = settings.max_rms_dp();
  }
  if (settings.has_min_top1()) {
    limits.min_same_top = settings.min_top1();
  }
  if (settings.has_min_task_delta()) {
    limits.min_task_delta = settings.min_task_delta();
  }
  if (settings.has_error_rate()) {
    limits.error_rate = settings.error_rate();
  }
  options.early_stop = settings.early_stop() && limits.any();
  return options;
}

void RecordDomain(const DomainComparison& domain, RecordedDomain* record) {
  const Comparison& figures = domain.figures;
  record->set_name(domain.domain);
  record->set_n_windows(figures.n_windows);
  record->set_n_tokens(figures.n_tokens);
  record->set_perplexity(figures.perplexity.value);
  record->set_reference_perplexity(figures.reference_perplexity.value);
  record->set_ratio(figures.ratio.value);
  record->set_ratio_error(figures.ratio.error);
  record->set_kld(figures.divergence.value);
  record->set_kld_error(figures.divergence.error);
  record->set_rms_dp(figures.rms_delta_p.value);
  record->set_same_top(figures.same_top.value);
}

void RecordCriterion(const CriterionVerdict& criterion,
                     RecordedCriterion* record) {
  record->set_flag(std::string(CriterionFlag(criterion.criterion)));
  record->set_domain(criterion.domain);
  record->set_limit(criterion.limit);
  record->set_value(criterion.value);
  record->set_pass_bound(criterion.pass_bound);
  record->set_fail_bound(criterion.fail_bound);
  record->set_verdict(std::string(VerdictName(criterion.verdict)));
}

// The first metric, the one that gates judge; original and candidate.
void RecordTask(const TaskReport& task, RecordedTask* record) {
  record->set_name(task.name);
  record->set_n_questions(task.n_questions);
  if (task.models.size() < 2 || task.models[1].metrics.empty()) {
    return;
  }
  const TaskMetric& metric = task.models[1].metrics.front();
  record->set_metric(metric.name);
  record->set_value(metric.value);
  record->set_reference_value(task.models[0].metrics.front().value);
  if (metric.paired.has_value()) {
    record->set_difference_error(metric.paired->difference.error);
    record->set_mcnemar_p(metric.paired->mcnemar_p);
  }
}

}  // namespace

absl::StatusOr<RecordedValidation> ValidateTarget(
    const std::string& original, const PlannedTarget& target,
    const ReleaseValidation& settings, const std::string& cache,
    const RunnerOptions& runner, const ExpectedTypesFn& expected,
    const ValidationProgressFn& progress) {
  ValidationOptions options = OptionsOf(original, target, settings, cache);
  options.runner = runner;
  options.runner.precision = Precision::kExact;
  options.expected_types = expected;
  ASSIGN_OR_RETURN(const ValidationReport report, Validate(options, progress));
  RecordedValidation record;
  const CandidateReport& candidate = report.candidates.front();
  for (const DomainComparison& domain : candidate.domains) {
    RecordDomain(domain, record.add_domain());
  }
  for (const TaskReport& task : report.tasks) {
    RecordTask(task, record.add_task());
  }
  for (const CriterionVerdict& criterion : candidate.criteria) {
    RecordCriterion(criterion, record.add_criterion());
  }
  if (candidate.verdict.has_value()) {
    record.set_verdict(std::string(VerdictName(*candidate.verdict)));
  }
  SaveReport(report, record.mutable_report());
  return record;
}

}  // namespace narrow
