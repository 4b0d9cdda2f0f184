// Draws of tokens from a softmax, for the processor and a card's threads.

#ifndef NARROW_KERNELS_GRADIENTS_DEVICE_DRAW_MATH_H_
#define NARROW_KERNELS_GRADIENTS_DEVICE_DRAW_MATH_H_

#include <cstdint>

#include "kernels/rows/device/row_math.h"

namespace narrow {
namespace gradient_threads {

// Draws at a position; an even number.
inline constexpr int kDraws = 16;
// Probabilities are summed in parts of so many, for draws to pass over.
inline constexpr int64_t kPartTokens = 1024;

// Of draw i. No multiple of Uniform's step, which would be another token's.
NARROW_ROW_FUNCTION uint64_t SeedOfDraw(uint64_t seed, int i) {
  return seed + static_cast<uint64_t>(i) * 0xd1342543de82ef95u;
}

// Uniform in [0, 1), of 53 bits: splitmix64's output function (calibration/
// text/seeded_choice.h) of a counter, so that draws have no order.
NARROW_ROW_FUNCTION double Uniform(uint64_t seed, int64_t token) {
  uint64_t z = seed + (static_cast<uint64_t>(token) + 1) * 0x9e3779b97f4a7c15u;
  for (int round = 0; round < 2; ++round) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
  }
  return static_cast<double>(z >> 11) * 0x1p-53;
}

// The index at which the running sum of n terms passes `target`; `parts` are
// the sums of kPartTokens terms each, term_of(i) is one.
template <typename TermOf>
NARROW_ROW_FUNCTION int32_t Draw(int64_t n, const double* parts,
                                 int64_t n_parts, double target,
                                 const TermOf& term_of) {
  int64_t part = 0;
  while (part + 1 < n_parts && target >= parts[part]) {
    target -= parts[part++];
  }
  int64_t i = part * kPartTokens;
  const int64_t end = i + kPartTokens < n ? i + kPartTokens : n;
  int64_t last = i;  // one that can be drawn, should rounding lead past the end
  for (; i < end; ++i) {
    const float term = term_of(i);
    if (term > 0) {
      last = i;
      target -= static_cast<double>(term);
      if (target < 0) {
        break;
      }
    }
  }
  return static_cast<int32_t>(last);
}

}  // namespace gradient_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_GRADIENTS_DEVICE_DRAW_MATH_H_
