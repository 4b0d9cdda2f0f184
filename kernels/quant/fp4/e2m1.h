// E2M1, the four-bit floating-point number of MXFP4 and NVFP4: a sign, two
// bits of exponent, one of mantissa.
//
//   bits 0-2  magnitude:  0  1    2  3    4  5  6  7
//             stands for  0  0.5  1  1.5  2  3  4  6
//   bit 3     sign
//
// Codes are twice the number, so that they are integers.

#ifndef NARROW_KERNELS_QUANT_FP4_E2M1_H_
#define NARROW_KERNELS_QUANT_FP4_E2M1_H_

#include <cmath>
#include <cstdint>

#include "kernels/quant/code_table.h"
#include "kernels/quant/fp4/e2m1_table.h"

namespace narrow {
namespace fp4 {

// All codes, rising.
inline constexpr int8_t kCodes[15] = {-12, -8, -6, -4, -3, -2, -1, 0,
                                      1,   2,  3,  4,  6,  8,  12};
inline constexpr float kCodeUnit = 0.5f;

// REQUIRES: one of kCodes. 0 is stored without a sign.
inline uint8_t NibbleOf(int8_t code) {
  uint8_t nibble = 0;
  while (kCodeOfNibble[nibble] != code) {
    ++nibble;
  }
  return nibble;
}

// ggml's choice: the first nibble whose value, a code times `step`, has the
// least distance to x as floats go. So a middle goes towards zero, a weight
// that is not finite to 0, and one so far beyond the codes that their values
// are lost in rounding to the first that is as near as the last.
inline uint8_t NearestNibble(float x, float step) {
  uint8_t nearest = 0;
  float least = std::fabs(0.0f - x);
  for (uint8_t nibble = 1; nibble < 16; ++nibble) {
    const float miss =
        std::fabs(static_cast<float>(kCodeOfNibble[nibble]) * step - x);
    if (miss < least) {
      nearest = nibble;
      least = miss;
    }
  }
  return nearest;
}

// The code nearest to `target`, without ggml's oddities.
inline int8_t RoundToCode(float target, float step) {
  return kCodes[NearestPlace<int8_t>(kCodes, PositionAmongCodes(target, step))];
}

// The largest magnitude of `n` weights; a NaN has none.
inline float LargestMagnitude(const float* weights, int n) {
  float largest = 0;
  for (int i = 0; i < n; ++i) {
    const float size = std::fabs(weights[i]);
    largest = largest < size ? size : largest;
  }
  return largest;
}

}  // namespace fp4
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_FP4_E2M1_H_
