#include "validate/estimate.h"

#include <cassert>
#include <cmath>
#include <limits>

namespace narrow {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

double Mean(absl::Span<const double> values) {
  double sum = 0;
  for (double value : values) {
    sum += value;
  }
  return sum / static_cast<double>(values.size());
}

}  // namespace

Estimate MeanOf(absl::Span<const double> values) {
  assert(!values.empty());
  const double mean = Mean(values);
  if (values.size() < 2) {
    return {mean, kUnknown};
  }
  // Squares of deviations, not the difference of two large sums: never
  // negative, and exactly zero for equal values of zero.
  double squares = 0;
  for (double value : values) {
    squares += (value - mean) * (value - mean);
  }
  const double n = static_cast<double>(values.size());
  return {mean, std::sqrt(squares / n / (n - 1))};
}

double BlockError(absl::Span<const double> values,
                  absl::Span<const int64_t> block_sizes) {
  if (block_sizes.size() < 2) {
    return kUnknown;
  }
  const double mean = Mean(values);
  double squares = 0;
  size_t i = 0;
  for (int64_t size : block_sizes) {
    double deviation = 0;
    for (int64_t k = 0; k < size; ++k, ++i) {
      deviation += values[i] - mean;
    }
    squares += deviation * deviation;
  }
  assert(i == values.size());
  const double n_blocks = static_cast<double>(block_sizes.size());
  return std::sqrt(squares * n_blocks / (n_blocks - 1)) /
         static_cast<double>(values.size());
}

Estimate ShareOf(int64_t n_hits, int64_t n) {
  assert(n > 0);
  const double share = static_cast<double>(n_hits) / static_cast<double>(n);
  if (n < 2) {
    return {share, kUnknown};
  }
  return {share, std::sqrt(share * (1 - share) / static_cast<double>(n - 1))};
}

Estimate ExpOf(const Estimate& log_value) {
  const double value = std::exp(log_value.value);
  return {value, value * log_value.error};
}

}  // namespace narrow
