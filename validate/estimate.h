// Means of dependent and independent samples, with their standard errors.
//
//   Estimate nll = MeanOf(scores.nll);
//   double wide = BlockError(scores.nll, block_sizes);
//
// Two errors of one mean. That of MeanOf holds if the values are independent:
// sqrt((E[x^2] - E[x]^2) / (n - 1)), what llama-perplexity prints. Tokens of
// one window are not independent (a hard passage is hard throughout), and
// BlockError allows for that: it takes the windows as the sample, and the
// mean as a ratio of two of their sums (W. G. Cochran, Sampling Techniques,
// 3rd edition, 1977, section 9A.2, cluster sampling with unequal sizes),
//
//   error^2 = B / (B - 1) * sum_b (sum_i x_bi - n_b * mean)^2 / n^2.
//
// Sums are in double, in the order of the values. Pure functions.

#ifndef NARROW_VALIDATE_ESTIMATE_H_
#define NARROW_VALIDATE_ESTIMATE_H_

#include <cstdint>

#include "absl/types/span.h"

namespace narrow {

struct Estimate {
  double value = 0;
  // Standard error; NaN where one value (or block) leaves it unknown.
  double error = 0;
};

// The mean of `values`. REQUIRES: at least one.
Estimate MeanOf(absl::Span<const double> values);

// Standard error of the mean of `values` when they come in consecutive blocks
// of `block_sizes`. REQUIRES: the sizes sum to values.size().
double BlockError(absl::Span<const double> values,
                  absl::Span<const int64_t> block_sizes);

// A share of `n_hits` in `n`, with the binomial standard error
// sqrt(p (1 - p) / (n - 1)). REQUIRES: n > 0.
Estimate ShareOf(int64_t n_hits, int64_t n);

// exp of an estimate, the error carried to first order.
Estimate ExpOf(const Estimate& log_value);

}  // namespace narrow

#endif  // NARROW_VALIDATE_ESTIMATE_H_
