// What comparing a candidate with its reference comes to, over some windows
// of one text: plain values, the same figures as llama-perplexity's
// --kl-divergence table.
//
//   Comparison figures = ...;
//   figures.divergence.value;                    // mean KL, nats
//   figures.divergence_quantiles.at(kQuantileMedian);

#ifndef NARROW_VALIDATE_MEASURES_FIGURES_H_
#define NARROW_VALIDATE_MEASURES_FIGURES_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace narrow {

// A measured number with its standard errors, each NaN where it is unknown.
struct Figure {
  double value = 0;
  double error = 0;         // tokens taken as independent, as llama.cpp does
  double window_error = 0;  // windows taken as independent (estimate.h)
  // From resampling whole windows (bootstrap.h): the standard error, and the
  // ends of a two-sided 95 % interval.
  double bootstrap_error = 0;
  double low = 0;
  double high = 0;
};

// Shares of the tokens that lie below a quantile; linear between order
// statistics, as numpy and llama-perplexity have it.
inline constexpr std::array<double, 13> kQuantileShares = {
    0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1};
inline constexpr size_t kQuantileMinimum = 0;
inline constexpr size_t kQuantileMedian = 6;
inline constexpr size_t kQuantile90 = 8;
inline constexpr size_t kQuantile95 = 9;
inline constexpr size_t kQuantile99 = 10;
inline constexpr size_t kQuantile999 = 11;
inline constexpr size_t kQuantileMaximum = 12;

// One value a share of kQuantileShares.
using Quantiles = std::array<double, kQuantileShares.size()>;

struct Comparison {
  int64_t n_windows = 0;
  int64_t n_tokens = 0;  // scored

  Figure perplexity;            // the candidate's
  Figure reference_perplexity;  // on the same tokens
  // Of the two models' log-probabilities of the right token.
  double log_correlation = 0;
  Figure log_ratio;   // ln (candidate's / reference's), nats a token
  Figure ratio;       // candidate's / reference's
  Figure difference;  // candidate's - reference's

  // KL divergence of the candidate from the reference, nats a token.
  Figure divergence;
  Quantiles divergence_quantiles = {};

  // Change of the probability of the right token, candidate's - reference's,
  // as a share (0.01 is what llama-perplexity prints as 1 %).
  Figure delta_p;
  Quantiles delta_p_quantiles = {};
  Figure rms_delta_p;

  // Share of positions where both have the same most probable token.
  Figure same_top;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_MEASURES_FIGURES_H_
