// IEEE half precision and bfloat16, as conversions between bit patterns.
//
// Both round to nearest, ties to even. Bit patterns equal ggml's: a NaN in
// bfloat16 keeps its sign and top mantissa bits and is made quiet; a NaN in
// half precision becomes 0x7e00 with the sign, and back is made quiet, as
// processors do.

#ifndef NARROW_FORMATS_BASE_FLOAT16_H_
#define NARROW_FORMATS_BASE_FLOAT16_H_

#include <cstdint>
#include <cstring>

namespace narrow {

inline uint32_t FloatBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float FloatFromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline float FloatFromBf16(uint16_t bits) {
  return FloatFromBits(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t Bf16FromFloat(float value) {
  const uint32_t bits = FloatBits(value);
  if ((bits & 0x7fffffff) > 0x7f800000) {
    return static_cast<uint16_t>((bits >> 16) | 0x40);
  }
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float FloatFromF16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0x1f) {
    const uint32_t quiet = mantissa != 0 ? 0x400000 : 0;
    return FloatFromBits(sign | 0x7f800000 | quiet | (mantissa << 13));
  }
  if (exponent == 0) {
    // Subnormal: mantissa * 2^-24, exact in float.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return FloatFromBits(sign | FloatBits(magnitude));
  }
  return FloatFromBits(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

inline uint16_t F16FromFloat(float value) {
  const uint32_t bits = FloatBits(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    return sign | 0x7e00;
  }
  if (magnitude >= 0x47800000) {  // 65536 and above, infinity
    return sign | 0x7c00;
  }
  if (magnitude < 0x38800000) {  // below 2^-14: half subnormal or zero
    // Adding 0.5 puts the half's last bit at the float's last bit, so the
    // hardware's own rounding to nearest even does the work.
    const float shifted = FloatFromBits(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (FloatBits(shifted) - 0x3f000000));
  }
  // Rebias by -112 and round the 13 dropped bits; a carry into the exponent
  // is right, up to infinity.
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_FLOAT16_H_
