#include "validate/measures/bootstrap.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "validate/measures/quantile.h"

namespace narrow {
namespace {

// SplitMix64 (G. Steele, D. Lea, C. Flood, Fast Splittable Pseudorandom Number
// Generators, OOPSLA 2014): standard distributions differ between libraries.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // Below n, uniform up to n / 2^32.
  uint64_t Below(uint64_t n) { return (Next() >> 32) * n >> 32; }

 private:
  uint64_t state_;
};

}  // namespace

Bootstrap::Bootstrap(absl::Span<const WindowSums> windows, uint64_t seed)
    : known_(windows.size() > 1) {
  assert(!windows.empty());
  if (!known_) {
    return;
  }
  Random random(seed);
  samples_.resize(kSamples);
  for (WindowSums& sample : samples_) {
    for (size_t i = 0; i < windows.size(); ++i) {
      sample += windows[random.Below(windows.size())];
    }
  }
}

void Bootstrap::Apply(absl::FunctionRef<double(const WindowSums&)> statistic,
                      Figure* figure) const {
  if (!known_) {
    figure->bootstrap_error = figure->low = figure->high =
        std::numeric_limits<double>::quiet_NaN();
    return;
  }
  std::vector<double> values(samples_.size());
  double mean = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = statistic(samples_[i]);
    mean += values[i] / static_cast<double>(values.size());
  }
  double squares = 0;
  for (double value : values) {
    squares += (value - mean) * (value - mean);
  }
  figure->bootstrap_error =
      std::sqrt(squares / static_cast<double>(values.size() - 1));
  std::sort(values.begin(), values.end());
  figure->low = SortedQuantile(values, 0.025);
  figure->high = SortedQuantile(values, 0.975);
}

}  // namespace narrow
