#include "validate/summary.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace narrow {
namespace {

BlockEstimate MeanOfBlocks(absl::Span<const double> values,
                           absl::Span<const int64_t> block_sizes) {
  const Estimate mean = MeanOf(values);
  return {mean.value, mean.error, BlockError(values, block_sizes)};
}

BlockEstimate ExpOf(const BlockEstimate& log_value) {
  const double value = std::exp(log_value.value);
  return {value, value * log_value.error, value * log_value.window_error};
}

std::vector<WindowSummary> SummarizeWindows(const TextScores& scores) {
  std::vector<WindowSummary> windows;
  size_t i = 0;
  double total = 0;
  for (int64_t n_scored : scores.window_sizes) {
    double sum = 0;
    for (int64_t k = 0; k < n_scored; ++k, ++i) {
      sum += scores.nll[i];
      total += scores.nll[i];
    }
    windows.push_back({n_scored, sum / static_cast<double>(n_scored),
                       std::exp(total / static_cast<double>(i))});
  }
  return windows;
}

// To first order the difference of perplexities moves with
// P_c * nll_c - P_r * nll_r, so its error is that of the mean of these.
BlockEstimate PerplexityDifference(const TextScores& reference,
                                   const TextScores& candidate) {
  const double p_reference = std::exp(MeanOf(reference.nll).value);
  const double p_candidate = std::exp(MeanOf(candidate.nll).value);
  std::vector<double> parts(reference.nll.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i] = p_candidate * candidate.nll[i] - p_reference * reference.nll[i];
  }
  BlockEstimate difference = MeanOfBlocks(parts, reference.window_sizes);
  difference.value = p_candidate - p_reference;
  return difference;
}

double Percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = place - static_cast<double>(below);
  return sorted[below] + part * (sorted[above] - sorted[below]);
}

DivergenceSummary SummarizeDivergences(const TextScores& candidate) {
  DivergenceSummary summary;
  summary.mean = MeanOfBlocks(candidate.divergences, candidate.window_sizes);
  std::vector<double> sorted = candidate.divergences;
  std::sort(sorted.begin(), sorted.end());
  summary.median = Percentile(sorted, 0.5);
  summary.p90 = Percentile(sorted, 0.9);
  summary.p95 = Percentile(sorted, 0.95);
  summary.p99 = Percentile(sorted, 0.99);
  summary.p999 = Percentile(sorted, 0.999);
  summary.maximum = sorted.back();
  return summary;
}

}  // namespace

PerplexitySummary Summarize(const TextScores& scores) {
  PerplexitySummary summary;
  summary.n_scored = scores.nll.size();
  summary.mean_nll = MeanOfBlocks(scores.nll, scores.window_sizes);
  summary.perplexity = ExpOf(summary.mean_nll);
  summary.top_share =
      ShareOf(std::count(scores.is_top.begin(), scores.is_top.end(), true),
              summary.n_scored);
  summary.windows = SummarizeWindows(scores);
  return summary;
}

PairedSummary Compare(const TextScores& reference,
                      const TextScores& candidate) {
  assert(reference.window_sizes == candidate.window_sizes);
  const size_t n = reference.nll.size();
  std::vector<double> differences(n);
  int64_t n_same_top = 0;
  for (size_t i = 0; i < n; ++i) {
    differences[i] = candidate.nll[i] - reference.nll[i];
    n_same_top += candidate.top_tokens[i] == reference.top_tokens[i];
  }
  PairedSummary summary;
  summary.mean_nll_difference =
      MeanOfBlocks(differences, reference.window_sizes);
  summary.perplexity_ratio = ExpOf(summary.mean_nll_difference);
  summary.perplexity_difference = PerplexityDifference(reference, candidate);
  summary.same_top_share = ShareOf(n_same_top, n);
  if (!candidate.divergences.empty()) {
    summary.divergence = SummarizeDivergences(candidate);
  }
  return summary;
}

}  // namespace narrow
