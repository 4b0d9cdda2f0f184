// Three numbers are wanted: the factor F of slow frequencies, the context C
// over which turns are counted, and the number of turns H from which on a
// frequency is fast. A frequency that turns t times within C has the divisor
//   1 (t > H),  F (t < 1),  1 / ((1 - s) / F + s), s = (t - 1) / (H - 1).
// F is the largest divisor wherever one frequency is slow. Of the blended
// ones each gives s, which is linear in the frequency, so two of them give H
// and C. With fewer than two, or with none slow, the usual values are tried.
// Every candidate is checked by computing its divisors.
//
// Tested by: llama3_rope_test.cc, over published and odd parameters.

#include "formats/hf_export/llama3_rope.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace narrow {
namespace {

// Divisors are float32 numbers made in five roundings; other programs' powers
// differ in the last place of the frequency.
constexpr double kTolerance = 4e-6;

// Contexts tried where one blended frequency leaves them open.
constexpr int kContexts = 256;

bool Gives(const Llama3RopeInputs& candidate, absl::Span<const float> factors) {
  const std::vector<float> made = Llama3RopeFactors(candidate);
  for (size_t i = 0; i < factors.size(); ++i) {
    if (!(std::abs(made[i] - factors[i]) <= kTolerance * factors[i])) {
      return false;
    }
  }
  return true;
}

// The candidates that follow from the first and the last blended frequency.
void AddSolved(absl::Span<const float> factors, double theta, int64_t dim,
               double factor, std::vector<Llama3RopeInputs>* candidates) {
  const double two_pi = 2 * 3.14159265358979323846;
  std::vector<std::pair<double, double>> blended;  // turns a position, s
  for (size_t i = 0; i < factors.size(); ++i) {
    if (factors[i] > 1 && factors[i] < factor) {
      const double frequency = std::pow(
          theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
      const double s = (1 / double{factors[i]} - 1 / factor) / (1 - 1 / factor);
      blended.emplace_back(frequency / two_pi, s);
    }
  }
  if (blended.empty()) {
    // Between the slowest fast frequency and the fastest slow one.
    const auto slow = std::find_if(factors.begin(), factors.end(),
                                   [](float f) { return f > 1; });
    const double i = static_cast<double>(slow - factors.begin());
    const double fast =
        std::pow(theta, -2.0 * (i - 1) / static_cast<double>(dim)) / two_pi;
    const double context = std::round(
        std::pow(theta, (2.0 * i - 1) / static_cast<double>(dim)) * two_pi);
    candidates->push_back(
        {theta, dim, factor, 1, (1 + fast * context) / 2, context});
    return;
  }
  if (blended.size() == 1) {
    // One equation: every context within its bounds has a number of turns.
    const auto [turns, s] = blended.front();
    const double least = std::ceil(1 / turns);
    const double step = std::pow(theta, 2.0 / static_cast<double>(dim));
    for (int i = 0; i < kContexts; ++i) {
      // Close to the least one, where a small s lies, and over all.
      for (const double context :
           {least + i, std::round(least * (1 + (step - 1) * i / kContexts))}) {
        candidates->push_back(
            {theta, dim, factor, 1, 1 + (context * turns - 1) / s, context});
      }
    }
    return;
  }
  const auto [t1, s1] = blended.front();
  const auto [t2, s2] = blended.back();
  const double slope = (s1 - s2) / (t1 - t2);  // C / (H - 1)
  const double at_zero = s1 - slope * t1;      // -1 / (H - 1)
  if (!(slope > 0 && at_zero < 0)) {
    return;
  }
  const double high = 1 - 1 / at_zero;
  const double context = slope * (high - 1);
  // What people write has few digits; rounding comes with what it costs.
  for (const double unit : {1.0, 0.5, 0.25, 0.1, 0.01, 0.001}) {
    const double rounded = std::round(high / unit) * unit;
    if (rounded > 1) {
      candidates->push_back(
          {theta, dim, factor, 1, rounded, std::round(context / 1024) * 1024});
      candidates->push_back(
          {theta, dim, factor, 1, rounded, std::round(context)});
    }
  }
}

}  // namespace

std::optional<Llama3RopeInputs> FindLlama3Rope(absl::Span<const float> factors,
                                               double theta, int64_t dim) {
  const double largest = *std::max_element(factors.begin(), factors.end());
  std::vector<Llama3RopeInputs> candidates;
  // The largest divisor is the factor only if some frequency is slow.
  for (const double factor : {largest, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0}) {
    if (factor < largest * (1 - kTolerance)) {
      continue;
    }
    for (const double high : {4.0, 2.0, 8.0}) {
      for (int bits = 0; bits <= 22; ++bits) {
        candidates.push_back(
            {theta, dim, factor, 1, high, std::ldexp(1, bits)});
      }
    }
    if (factor > 1) {
      AddSolved(factors, theta, dim, factor, &candidates);
    }
  }
  // 8192, the context of every published model, before all others that fit.
  candidates.insert(candidates.begin(), {theta, dim, largest, 1, 4, 8192});
  for (const Llama3RopeInputs& candidate : candidates) {
    if (candidate.original_context >= 1 && Gives(candidate, factors)) {
      return candidate;
    }
  }
  return std::nullopt;
}

}  // namespace narrow
