// Eight-bit floats as bit patterns: E4M3 ("fn"), whose values are weights and
// scales, and E8M0, whose values are scales alone.
//
//   E4M3: bits 0-2 mantissa m, bits 3-6 exponent e (bias 7), bit 7 sign
//         e = 0: m/8 * 2^-6, else (1 + m/8) * 2^(e - 7); 0x7f and 0xff are
//         NaN, there are no infinities, the largest is 448
//   E8M0: byte e is 2^(e - 127); 0xff is NaN; no sign, no zero
//
// Conversion to E4M3 rounds to nearest, ties to even, and saturates.

#ifndef NARROW_FORMATS_BASE_FLOAT8_H_
#define NARROW_FORMATS_BASE_FLOAT8_H_

#include <cstdint>

#include "formats/base/float16.h"

namespace narrow {

inline constexpr float kMaxE4M3 = 448.0f;
inline constexpr uint8_t kNaNE8M0 = 0xff;

inline float FloatFromE4M3(uint8_t byte) {
  const uint32_t sign = static_cast<uint32_t>(byte & 0x80) << 24;
  const uint32_t magnitude = byte & 0x7f;
  if (magnitude == 0x7f) {
    return FloatFromBits(sign | 0x7fc00000);
  }
  if (magnitude < 8) {  // subnormal: m * 2^-9
    const float value = static_cast<float>(magnitude) * 0x1p-9f;
    return FloatFromBits(sign | FloatBits(value));
  }
  // Exponent bias 7 -> 127, mantissa 3 -> 23 bits.
  return FloatFromBits(sign | ((magnitude << 20) + (120u << 23)));
}

inline uint8_t E4M3FromFloat(float value) {
  const uint32_t bits = FloatBits(value);
  const uint8_t sign = static_cast<uint8_t>((bits >> 24) & 0x80);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    return sign | 0x7f;
  }
  if (magnitude >= 0x43e00000) {  // 448 and above
    return sign | 0x7e;
  }
  if (magnitude < 0x3c800000) {  // below 2^-6: a multiple of 2^-9
    // 16384 has its last bit at 2^-9, so the sum rounds as we want.
    const float shifted = FloatFromBits(magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (FloatBits(shifted) - 0x46800000));
  }
  const uint32_t rounded = magnitude + 0x7ffff + ((magnitude >> 20) & 1);
  return static_cast<uint8_t>(sign | ((rounded - (120u << 23)) >> 20));
}

inline float FloatFromE8M0(uint8_t byte) {
  if (byte == kNaNE8M0) {
    return FloatFromBits(0x7fc00000);
  }
  // 2^-127 is subnormal.
  return FloatFromBits(byte == 0 ? 0x00400000
                                 : static_cast<uint32_t>(byte) << 23);
}

// The power of two nearest to a positive `value`, by its logarithm rounded
// down unless its mantissa is sqrt(2) or above; NaN for what is not positive.
inline uint8_t E8M0FromFloat(float value) {
  if (!(value > 0) || FloatBits(value) >= 0x7f800000) {
    return kNaNE8M0;
  }
  const uint32_t bits = FloatBits(value);
  if (bits < 0x00800000) {  // below 2^-126
    return bits >= 0x005a827a ? 1 : 0;
  }
  const uint32_t up = (bits & 0x7fffff) >= 0x3504f4 ? 1 : 0;
  const uint32_t byte = (bits >> 23) + up;
  return static_cast<uint8_t>(byte > 254 ? 254 : byte);
}

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_FLOAT8_H_
