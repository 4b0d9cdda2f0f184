// From scores of tokens to perplexity, and from the scores of two models of
// the same tokens to what the second lost.
//
//   PerplexitySummary a = Summarize(reference);
//   PerplexitySummary b = Summarize(candidate);
//   PairedSummary loss = Compare(reference, candidate);
//
// Two models find the same tokens easy and hard, so their difference is known
// far better than either perplexity: its error is that of the differences
// token by token, which is llama.cpp's propagation with the covariance. Every
// error is given in two forms, over tokens and over windows; see estimate.h.

#ifndef NARROW_VALIDATE_SUMMARY_H_
#define NARROW_VALIDATE_SUMMARY_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "validate/estimate.h"
#include "validate/score_text.h"

namespace narrow {

// An estimate whose error is known in both forms.
struct BlockEstimate {
  double value = 0;
  double error = 0;         // tokens taken as independent
  double window_error = 0;  // windows taken as independent
};

struct WindowSummary {
  int64_t n_scored = 0;
  double mean_nll = 0;
  // Of this window and all before it, as llama-perplexity prints them.
  double running_perplexity = 0;
};

struct PerplexitySummary {
  int64_t n_scored = 0;
  BlockEstimate mean_nll;  // in nats
  BlockEstimate perplexity;
  Estimate top_share;  // of tokens that were the most probable one
  std::vector<WindowSummary> windows;
};

// Of the KL divergence token by token.
struct DivergenceSummary {
  BlockEstimate mean;
  // Linear between order statistics, as numpy and llama-perplexity have it.
  double median = 0;
  double p90 = 0;
  double p95 = 0;
  double p99 = 0;
  double p999 = 0;
  double maximum = 0;
};

struct PairedSummary {
  BlockEstimate mean_nll_difference;    // candidate - reference
  BlockEstimate perplexity_ratio;       // candidate / reference
  BlockEstimate perplexity_difference;  // candidate - reference
  // Of positions where both models have the same most probable token.
  Estimate same_top_share;
  // KL divergence in nats, where it was measured.
  std::optional<DivergenceSummary> divergence;
};

// REQUIRES: at least one score.
PerplexitySummary Summarize(const TextScores& scores);

// REQUIRES: both are of the same text and windows; candidate.divergences are
// there for all scored tokens or for none.
PairedSummary Compare(const TextScores& reference, const TextScores& candidate);

}  // namespace narrow

#endif  // NARROW_VALIDATE_SUMMARY_H_
