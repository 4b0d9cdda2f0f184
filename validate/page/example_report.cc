#include "validate/page/example_report.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace narrow {
namespace {

constexpr int kLayers = 18;
constexpr double kReference = 14.2431;

Figure Measured(double value, double error) {
  return {value,
          error,
          1.2 * error,
          1.2 * error,
          value - 2.4 * error,
          value + 2.4 * error};
}

Comparison Figures(double divergence) {
  Comparison figures;
  figures.n_windows = 20;
  figures.n_tokens = 5100;
  const double ratio = std::exp(1.4 * divergence);
  figures.perplexity = Measured(kReference * ratio, 0.3);
  figures.reference_perplexity = Measured(kReference, 0.29);
  figures.ratio = Measured(ratio, 0.02 * std::sqrt(divergence));
  figures.log_ratio = Measured(std::log(ratio), 0.02 * std::sqrt(divergence));
  figures.difference =
      Measured(kReference * (ratio - 1), 0.3 * std::sqrt(divergence));
  figures.divergence = Measured(divergence, 0.04 * divergence);
  figures.divergence_quantiles.fill(3 * divergence);
  figures.rms_delta_p = Measured(0.2 * std::sqrt(divergence), 0.001);
  figures.same_top = Measured(1 - 0.5 * std::sqrt(divergence), 0.004);
  return figures;
}

WeightErrors Weights(double error, int64_t bytes) {
  WeightErrors errors;
  for (int i = -1; i <= kLayers; ++i) {
    LayerError layer;
    layer.name = i < 0          ? "token_embd"
                 : i == kLayers ? "output"
                                : absl::StrCat(i);
    layer.layer = i == kLayers ? -1 : i;
    const double here = error * (1 + 0.3 * std::sin(i)) * (i < 0 ? 0.5 : 1);
    layer.sums = {13400000, bytes / (kLayers + 2), here * here, 1};
    errors.layers.push_back(layer);
    errors.all.Add(layer.sums);
  }
  return errors;
}

CriterionVerdict Judged(Criterion criterion, const std::string& domain,
                        double limit, double value, Verdict verdict) {
  CriterionVerdict one;
  one.criterion = criterion;
  one.domain = domain;
  one.limit = limit;
  one.value = value;
  one.pass_bound = value + 0.1 * std::abs(value);
  one.fail_bound = value - 0.1 * std::abs(value);
  one.verdict = verdict;
  one.n_used = 20;
  if (verdict == Verdict::kUndecided) {
    one.n_needed = 137;
  }
  return one;
}

TaskReport Hellaswag(size_t n_candidates,
                     const std::vector<std::string>& candidates) {
  TaskReport task;
  task.name = task.layout = "hellaswag";
  task.files = {"hellaswag_val.jsonl"};
  task.n_in_files = 10042;
  task.n_questions = 400;
  for (size_t i = 0; i <= n_candidates; ++i) {
    TaskModelReport model;
    model.path = i == 0 ? "original" : candidates[i - 1];
    TaskMetric metric;
    metric.name = "acc_norm";
    metric.n_right = 150 - 4 * static_cast<int64_t>(i);
    metric.value = static_cast<double>(metric.n_right) / 400;
    metric.error = 0.024;
    metric.low = metric.value - 0.047;
    metric.high = metric.value + 0.047;
    if (i > 0) {
      metric.paired = PairedTaskMetric{{-0.01 * static_cast<double>(i), 0.008},
                                       9 + 4 * static_cast<int64_t>(i),
                                       9,
                                       0.2 / static_cast<double>(i)};
    }
    model.metrics.push_back(metric);
    task.models.push_back(model);
  }
  return task;
}

}  // namespace

ValidationReport ExampleReport(const std::vector<std::string>& candidates,
                               bool gate) {
  ValidationReport report;
  report.original.path = "models/gemma-3-270m";
  report.original.hash = std::string(64, 'a');
  report.original.tensor_bytes = 536196096;
  report.original.n_weights = 268098176;
  report.domains.resize(2);
  report.domains[0] = {
      "wiki", {"wiki.test.raw"}, std::string(64, 'b'), 1290590, 287000, 20,
      true};
  report.domains[1] = {
      "code", {"code.txt"}, std::string(64, 'c'), 400000, 98000, 20, true};
  for (size_t i = 0; i < candidates.size(); ++i) {
    const double step = static_cast<double>(i / 2 * 2) + 0.02 * (i % 2);
    CandidateReport candidate;
    candidate.model.path = candidates[i];
    candidate.model.hash = std::string(64, 'd');
    candidate.model.n_weights = report.original.n_weights;
    candidate.model.tensor_bytes =
        static_cast<int64_t>(285e6 * std::exp(-0.1 * step));
    const double divergence =
        0.0004 * std::exp(5 * step / static_cast<double>(candidates.size()));
    candidate.domains = {{"wiki", Figures(divergence), {}, {}, {}},
                         {"code", Figures(1.5 * divergence), {}, {}, {}}};
    candidate.overall = Figures(1.2 * divergence);
    candidate.weights =
        Weights(std::sqrt(divergence), candidate.model.tensor_bytes);
    if (gate) {
      const Verdict verdict = i % 3 == 0   ? Verdict::kPass
                              : i % 3 == 1 ? Verdict::kUndecided
                                           : Verdict::kFail;
      candidate.criteria = {
          Judged(Criterion::kDivergence, "wiki", 0.05, divergence, verdict),
          Judged(Criterion::kTaskDelta, "hellaswag", -0.01, -0.004,
                 Verdict::kPass)};
      candidate.verdict = verdict;
      report.verdict =
          report.verdict ? Worse(*report.verdict, verdict) : verdict;
    }
    report.candidates.push_back(std::move(candidate));
  }
  if (gate) {
    report.limits.max_divergence = 0.05;
    report.limits.min_task_delta = -0.01;
  }
  report.tasks = {Hellaswag(candidates.size(), candidates)};
  return report;
}

}  // namespace narrow
