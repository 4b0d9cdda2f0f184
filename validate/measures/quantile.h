// Quantiles of a sample, linear between order statistics as numpy and
// llama-perplexity have them.

#ifndef NARROW_VALIDATE_MEASURES_QUANTILE_H_
#define NARROW_VALIDATE_MEASURES_QUANTILE_H_

#include <algorithm>
#include <cassert>
#include <cstddef>

#include "absl/types/span.h"

namespace narrow {

// The value below which `share` of `sorted` lie. REQUIRES: it is sorted and
// not empty; 0 <= share <= 1.
inline double SortedQuantile(absl::Span<const double> sorted, double share) {
  assert(!sorted.empty() && share >= 0 && share <= 1);
  const double place = share * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = place - static_cast<double>(below);
  return sorted[below] + part * (sorted[above] - sorted[below]);
}

}  // namespace narrow

#endif  // NARROW_VALIDATE_MEASURES_QUANTILE_H_
