// Tested by: bounds_test, and gate_simulation_test for what is promised.

#include "validate/gate/bounds.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "validate/gate/quantiles.h"

namespace narrow {
namespace {

// What is left of the rate when the errors of the bounds themselves are
// allowed for; see bounds.h.
double RateLeft(double rate, int64_t n) {
  const double windows = static_cast<double>(n);
  return rate * windows / (2 * windows + 80);
}

// The studentized mean T of which Hall's transformation is y. With u = g T / 3
// that is ((1 + u)^3 - 1) / g + g / 6, a cubic that rises everywhere, so T is
// a cube root.
double HallInverse(double y, double skewness, double n) {
  const double a = skewness / (3 * std::sqrt(n));
  if (std::abs(a) < 1e-9) {
    return y;
  }
  const double shifted = y - skewness / (6 * std::sqrt(n));
  return (std::cbrt(1 + 3 * a * shifted) - 1) / a;
}

}  // namespace

ClusterMean MeanOfClusters(absl::Span<const double> sums,
                           absl::Span<const double> sizes) {
  assert(sums.size() == sizes.size() && !sums.empty());
  double total = 0;
  double size = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    total += sums[i];
    size += sizes[i];
  }
  ClusterMean result;
  result.n = static_cast<int64_t>(sums.size());
  result.mean = total / size;
  double squares = 0;
  double cubes = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    const double deviation = sums[i] - sizes[i] * result.mean;
    squares += deviation * deviation;
    cubes += deviation * deviation * deviation;
  }
  const double n = static_cast<double>(result.n);
  if (result.n < 2) {
    result.error = std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  result.error = std::sqrt(squares * n / (n - 1)) / size;
  if (result.n > 2 && squares > 0) {
    result.skewness = std::sqrt(n * (n - 1)) / (n - 2) * (cubes / n) /
                      std::pow(squares / n, 1.5);
  }
  return result;
}

double BoundQuantile(double rate, int64_t n) {
  assert(rate > 0 && rate < 0.5);
  return n < kMinClusters
             ? std::numeric_limits<double>::infinity()
             : -StudentQuantile(RateLeft(rate, n), static_cast<double>(n - 1));
}

double UpperBound(const ClusterMean& mean, double quantile) {
  if (!std::isfinite(quantile) || !std::isfinite(mean.error)) {
    return std::numeric_limits<double>::infinity();
  }
  const double lowest = std::min(
      -quantile,
      HallInverse(-quantile, mean.skewness, static_cast<double>(mean.n)));
  return mean.mean - lowest * mean.error;
}

double LowerBound(const ClusterMean& mean, double quantile) {
  ClusterMean mirrored = mean;
  mirrored.mean = -mean.mean;
  mirrored.skewness = -mean.skewness;
  return -UpperBound(mirrored, quantile);
}

double UpperShareBound(double n_hits, double n, double rate) {
  return n_hits >= n ? 1 : BetaQuantile(1 - rate, n_hits + 1, n - n_hits);
}

double LowerShareBound(double n_hits, double n, double rate) {
  return n_hits <= 0 ? 0 : BetaQuantile(rate, n_hits, n - n_hits + 1);
}

}  // namespace narrow
