// The best way to round a group to three levels, lattice or not: which
// sorted weights get which level, with what shift and scale.

#ifndef NARROW_KERNELS_QUANT_IQ1_SPLIT_SEARCH_H_
#define NARROW_KERNELS_QUANT_IQ1_SPLIT_SEARCH_H_

#include <cstdint>

#include "kernels/quant/iq1/groups.h"

namespace narrow {
namespace iq1 {

// A group's rounding: weight i is about scale * (level - 1 + shift).
struct Split {
  float scale;  // positive, or a NaN if sums overflowed
  int shift;
  uint8_t levels[kMaxGroup];
};

// The split of the greatest gain, (sum of w x q)^2 / (sum of w q^2) for the
// level values q, as ggml's scan finds it. False if there is none, as when all
// of `w` is zero or some of it is a NaN.
bool FindSplit(IQ1_S, const float* x, const float* w, Split* split);
bool FindSplit(IQ1_M, const float* x, const float* w, Split* split);

}  // namespace iq1
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_SPLIT_SEARCH_H_
