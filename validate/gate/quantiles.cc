#include "validate/gate/quantiles.h"

#include <cassert>
#include <cmath>

namespace narrow {
namespace {

// The continued fraction of the incomplete beta function, by the modified
// Lentz method. Converges fast for x < (a + 1) / (a + b + 2).
double BetaFraction(double x, double a, double b) {
  constexpr double kTiny = 1e-300;  // stands in for a zero denominator
  constexpr double kEnough = 1e-15;
  constexpr int kMaxTerms = 10000;  // about sqrt(max(a, b)) are needed
  const auto away = [](double value) {
    return std::abs(value) < kTiny ? kTiny : value;
  };
  double c = 1;
  double d = 1 / away(1 - (a + b) * x / (a + 1));
  double fraction = d;
  for (int m = 1; m <= kMaxTerms; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away(1 + even * d);
    c = away(1 + even / c);
    fraction *= d * c;
    const double odd =
        -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away(1 + odd * d);
    c = away(1 + odd / c);
    fraction *= d * c;
    if (std::abs(d * c - 1) < kEnough) {
      break;
    }
  }
  return fraction;
}

}  // namespace

double BetaProbability(double x, double a, double b) {
  assert(a > 0 && b > 0);
  if (x <= 0) {
    return 0;
  }
  if (x >= 1) {
    return 1;
  }
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
               a * std::log(x) + b * std::log1p(-x));
  return x < (a + 1) / (a + b + 2) ? front * BetaFraction(x, a, b) / a
                                   : 1 - front * BetaFraction(1 - x, b, a) / b;
}

// Newton's steps for ln P as a function of ln x, which is nearly a line where
// x is small; what leaves the bracket is replaced by its middle.
double BetaQuantile(double share, double a, double b) {
  assert(share > 0 && share < 1);
  const double log_share = std::log(share);
  const double log_norm = std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b);
  double low = -1;  // of ln x
  while (std::log(BetaProbability(std::exp(low), a, b)) > log_share) {
    low *= 2;
  }
  double high = 0;
  double at = low;
  for (int i = 0; i < 200; ++i) {
    const double x = std::exp(at);
    const double probability = BetaProbability(x, a, b);
    const double miss = std::log(probability) - log_share;
    (miss < 0 ? low : high) = at;
    const double slope =
        std::exp(log_norm + a * at + (b - 1) * std::log1p(-x)) / probability;
    double next = at - miss / slope;
    if (!(next > low && next < high)) {
      next = 0.5 * (low + high);
    }
    const double step = std::abs(next - at);
    at = next;
    if (step < 1e-14 * (1 + std::abs(at))) {
      break;
    }
  }
  return std::exp(at);
}

// t^2 / (freedom + t^2) is beta(1/2, freedom/2), and 1 less that is
// beta(freedom/2, 1/2), which keeps its digits in the far tail.
double StudentQuantile(double share, double freedom) {
  assert(share > 0 && share < 1 && freedom > 0);
  if (share == 0.5) {
    return 0;
  }
  const double tail = share < 0.5 ? share : 1 - share;
  const double rest = BetaQuantile(2 * tail, 0.5 * freedom, 0.5);
  const double t = std::sqrt(freedom * (1 - rest) / rest);
  return share < 0.5 ? -t : t;
}

}  // namespace narrow
