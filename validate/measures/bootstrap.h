// Errors by resampling whole windows (the block bootstrap: B. Efron, R.
// Tibshirani, An Introduction to the Bootstrap, 1993, sections 6.2, 8.5 and
// 13.3, blocks taken as the sample; percentile intervals).
//
//   Bootstrap bootstrap(sums, seed);
//   bootstrap.Apply([](const WindowSums& s) { return s.divergence / s.n; },
//                   &figures.divergence);
//
// No form of the statistic is assumed, and what tokens of one window have in
// common is kept. The samples follow from the seed alone, the same on every
// machine. Belongs to one thread.

#ifndef NARROW_VALIDATE_MEASURES_BOOTSTRAP_H_
#define NARROW_VALIDATE_MEASURES_BOOTSTRAP_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "validate/measures/figures.h"
#include "validate/measures/paired_scores.h"

namespace narrow {

class Bootstrap {
 public:
  static constexpr int kSamples = 2000;

  // As many windows as there are, drawn with replacement, kSamples times.
  // REQUIRES: at least one window.
  Bootstrap(absl::Span<const WindowSums> windows, uint64_t seed);

  // Sets bootstrap_error, low and high of `figure`; NaN for one window alone,
  // which says nothing of the others.
  void Apply(absl::FunctionRef<double(const WindowSums&)> statistic,
             Figure* figure) const;

 private:
  bool known_;
  std::vector<WindowSums> samples_;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_MEASURES_BOOTSTRAP_H_
