// The conversions that ggml's arithmetic rests on, with a defined result
// where the language leaves it open, and half-precision fields in bytes.

#ifndef NARROW_KERNELS_QUANT_NUMBERS_H_
#define NARROW_KERNELS_QUANT_NUMBERS_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "formats/base/float16.h"

namespace narrow {

inline constexpr float kMaxHalf = 65504.0f;

// Towards zero; INT32_MIN, as x86 gives, for a NaN and for what an int32
// cannot hold. A block of subnormal weights can get there: the reciprocal of
// its scale is infinite.
inline int32_t TruncateToInt(float value) {
  const bool fits = value >= -0x1p31f && value < 0x1p31f;
  return fits ? static_cast<int32_t>(value) : INT32_MIN;
}

// To nearest, ties to even, for |value| <= 2^22 - 1: adding 1.5 * 2^23 leaves
// the integer in the low mantissa bits. Beyond that and for a NaN the result is
// those bits all the same, as in ggml.
inline int32_t RoundToInt(float value) {
  return static_cast<int32_t>(FloatBits(value + 12582912.0f) & 0x007fffff) -
         0x00400000;
}

inline uint16_t LoadHalfBits(const uint8_t* bytes) {
  return static_cast<uint16_t>(bytes[0] | (bytes[1] << 8));
}
inline float LoadHalf(const uint8_t* bytes) {
  return FloatFromF16(LoadHalfBits(bytes));
}
inline void StoreHalf(float value, uint8_t* bytes) {
  const uint16_t half = F16FromFloat(value);
  bytes[0] = static_cast<uint8_t>(half);
  bytes[1] = static_cast<uint8_t>(half >> 8);
}
inline bool HalfIsFinite(const uint8_t* bytes) {
  return (LoadHalfBits(bytes) & 0x7c00) != 0x7c00;
}

// The nearest finite value that a half-precision field can hold; 0 for NaN.
inline float LegalHalf(float value) {
  if (std::isnan(value)) {
    return 0.0f;
  }
  const float clamped = std::fmin(std::fmax(value, -kMaxHalf), kMaxHalf);
  return FloatFromF16(F16FromFloat(clamped));
}

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_NUMBERS_H_
