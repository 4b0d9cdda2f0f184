#include "validate/tasks/task_statistics.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace narrow {

Interval WilsonInterval(int64_t n_hits, int64_t n, double z) {
  assert(n > 0);
  const double count = static_cast<double>(n);
  const double share = static_cast<double>(n_hits) / count;
  const double z2 = z * z / count;
  const double middle = share + z2 / 2;
  const double half =
      z * std::sqrt(share * (1 - share) / count + z2 / (4 * count));
  return {std::max(0.0, (middle - half) / (1 + z2)),
          std::min(1.0, (middle + half) / (1 + z2))};
}

double McNemarExact(int64_t n_lost, int64_t n_gained) {
  const int64_t n = n_lost + n_gained;
  const int64_t fewer = std::min(n_lost, n_gained);
  // Terms as logarithms, since 2^-n has no double for n above 1074; from the
  // largest downwards until the rest does not count.
  const double log_half = std::log(0.5);
  const auto log_term = [&](int64_t k) {
    return std::lgamma(static_cast<double>(n + 1)) -
           std::lgamma(static_cast<double>(k + 1)) -
           std::lgamma(static_cast<double>(n - k + 1)) +
           static_cast<double>(n) * log_half;
  };
  double tail = 0;
  for (int64_t k = fewer; k >= 0; --k) {
    const double term = std::exp(log_term(k));
    tail += term;
    if (term < tail * 1e-18) {
      break;
    }
  }
  return std::min(1.0, 2 * tail);
}

}  // namespace narrow
