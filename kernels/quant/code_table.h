// Rounding to the codes of a small table.

#ifndef NARROW_KERNELS_QUANT_CODE_TABLE_H_
#define NARROW_KERNELS_QUANT_CODE_TABLE_H_

#include "absl/types/span.h"

namespace narrow {

// The place in `codes`, which rise, of the one nearest to `position`. The
// middle between two goes to the upper one; a NaN is above all.
template <typename Code>
int NearestPlace(absl::Span<const Code> codes, float position) {
  int place = 0;
  const int last = static_cast<int>(codes.size()) - 1;
  while (place < last &&
         !(position <
           0.5f * static_cast<float>(codes[place] + codes[place + 1]))) {
    ++place;
  }
  return place;
}

// Where `target` lies among codes worth `step` each.
inline float PositionAmongCodes(float target, float step) {
  return step == 0 ? 0.0f : target / step;
}

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_CODE_TABLE_H_
