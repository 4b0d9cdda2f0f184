// The vectors of lanes.h with a single lane: what a thread of a card computes,
// compiled by nvcc from the sources whose lanes the processor uses, and, for
// tests, by the host's compiler.
//
// Names, results and bits are those of lanes.h, but that a NaN may have other
// bits (a card makes its own), of which nothing here depends: RoundToInt gives
// 0 for it as for the processor's. On a card Max gives the other number where
// `b` is a NaN, and 0 of both zeros; RoundToFloat is for |value| < 2^22 or what
// is bounded afterwards. The searches ask for no more.
//
// A source includes this before any header of lanes, and lanes.h, whose guard
// is defined here, then adds nothing.

#ifndef NARROW_KERNELS_SIMD_ONE_LANE_H_
#define NARROW_KERNELS_SIMD_ONE_LANE_H_

#if defined(NARROW_KERNELS_SIMD_LANES_H_)
#error "one_lane.h stands in the place of lanes.h"
#endif
#define NARROW_KERNELS_SIMD_LANES_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define NARROW_SIMD one_lane

#if defined(__CUDACC__)
#define NARROW_LANE_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_LANE_FUNCTION [[gnu::always_inline]] inline
#endif

namespace narrow {
namespace NARROW_SIMD {

inline constexpr int kLanes = 1;

// A comparison gives 0 or -1, as in a vector.
struct I32 {
  int32_t v;

  I32() = default;
  NARROW_LANE_FUNCTION constexpr I32(int32_t value) : v(value) {}  // NOLINT
  NARROW_LANE_FUNCTION int32_t operator[](int) const { return v; }

  NARROW_LANE_FUNCTION friend I32 operator+(I32 a, I32 b) { return a.v + b.v; }
  NARROW_LANE_FUNCTION friend I32 operator-(I32 a, I32 b) { return a.v - b.v; }
  NARROW_LANE_FUNCTION friend I32 operator*(I32 a, I32 b) { return a.v * b.v; }
  NARROW_LANE_FUNCTION friend I32 operator&(I32 a, I32 b) { return a.v & b.v; }
  NARROW_LANE_FUNCTION friend I32 operator|(I32 a, I32 b) { return a.v | b.v; }
  NARROW_LANE_FUNCTION friend I32 operator^(I32 a, I32 b) { return a.v ^ b.v; }
  NARROW_LANE_FUNCTION friend I32 operator<<(I32 a, I32 b) {
    return static_cast<int32_t>(static_cast<uint32_t>(a.v) << b.v);
  }
  NARROW_LANE_FUNCTION friend I32 operator>>(I32 a, I32 b) {
    return a.v >> b.v;
  }
  NARROW_LANE_FUNCTION friend I32 operator~(I32 a) { return ~a.v; }
  NARROW_LANE_FUNCTION friend I32 operator-(I32 a) { return -a.v; }
  NARROW_LANE_FUNCTION friend I32 operator<(I32 a, I32 b) {
    return -static_cast<int32_t>(a.v < b.v);
  }
  NARROW_LANE_FUNCTION friend I32 operator>(I32 a, I32 b) { return b < a; }
  NARROW_LANE_FUNCTION friend I32 operator>=(I32 a, I32 b) { return ~(a < b); }
  NARROW_LANE_FUNCTION friend I32 operator<=(I32 a, I32 b) { return ~(b < a); }
  NARROW_LANE_FUNCTION friend I32 operator==(I32 a, I32 b) {
    return -static_cast<int32_t>(a.v == b.v);
  }
  NARROW_LANE_FUNCTION friend I32 operator!=(I32 a, I32 b) { return ~(a == b); }
  NARROW_LANE_FUNCTION I32& operator|=(I32 b) { return *this = *this | b; }
  NARROW_LANE_FUNCTION I32& operator&=(I32 b) { return *this = *this & b; }
  NARROW_LANE_FUNCTION I32& operator+=(I32 b) { return *this = *this + b; }
};

struct F32 {
  float v;

  F32() = default;
  NARROW_LANE_FUNCTION constexpr F32(float value) : v(value) {}  // NOLINT
  NARROW_LANE_FUNCTION float operator[](int) const { return v; }

  NARROW_LANE_FUNCTION friend F32 operator+(F32 a, F32 b) { return a.v + b.v; }
  NARROW_LANE_FUNCTION friend F32 operator-(F32 a, F32 b) { return a.v - b.v; }
  NARROW_LANE_FUNCTION friend F32 operator*(F32 a, F32 b) { return a.v * b.v; }
  NARROW_LANE_FUNCTION friend F32 operator/(F32 a, F32 b) { return a.v / b.v; }
  NARROW_LANE_FUNCTION friend F32 operator-(F32 a) { return -a.v; }
  NARROW_LANE_FUNCTION friend I32 operator<(F32 a, F32 b) {
    return -static_cast<int32_t>(a.v < b.v);
  }
  NARROW_LANE_FUNCTION friend I32 operator>(F32 a, F32 b) { return b < a; }
  NARROW_LANE_FUNCTION friend I32 operator<=(F32 a, F32 b) {
    return -static_cast<int32_t>(a.v <= b.v);
  }
  NARROW_LANE_FUNCTION friend I32 operator>=(F32 a, F32 b) { return b <= a; }
  NARROW_LANE_FUNCTION friend I32 operator==(F32 a, F32 b) {
    return -static_cast<int32_t>(a.v == b.v);
  }
  NARROW_LANE_FUNCTION friend I32 operator!=(F32 a, F32 b) { return ~(a == b); }
  NARROW_LANE_FUNCTION F32& operator+=(F32 b) { return *this = *this + b; }
  NARROW_LANE_FUNCTION F32& operator-=(F32 b) { return *this = *this - b; }
  NARROW_LANE_FUNCTION F32& operator*=(F32 b) { return *this = *this * b; }
};

NARROW_LANE_FUNCTION F32 Splat(float value) { return value; }
NARROW_LANE_FUNCTION I32 SplatInt(int32_t value) { return value; }

NARROW_LANE_FUNCTION F32 Load(const float* from) { return *from; }
NARROW_LANE_FUNCTION void Store(F32 value, float* to) { *to = value.v; }

NARROW_LANE_FUNCTION I32 AsInt(F32 value) {
#if defined(__CUDA_ARCH__)
  return __float_as_int(value.v);
#else
  int32_t bits;
  std::memcpy(&bits, &value.v, sizeof(bits));
  return bits;
#endif
}
NARROW_LANE_FUNCTION F32 AsFloat(I32 bits) {
#if defined(__CUDA_ARCH__)
  return __int_as_float(bits.v);
#else
  float value;
  std::memcpy(&value, &bits.v, sizeof(value));
  return value;
#endif
}

NARROW_LANE_FUNCTION F32 Select(I32 mask, F32 a, F32 b) {
  return mask.v != 0 ? a.v : b.v;
}
NARROW_LANE_FUNCTION I32 SelectInt(I32 mask, I32 a, I32 b) {
  return mask.v != 0 ? a.v : b.v;
}
NARROW_LANE_FUNCTION bool Any(I32 mask) { return mask.v != 0; }

NARROW_LANE_FUNCTION F32 Abs(F32 value) { return fabsf(value.v); }
// (Not fminf, for which -0 is below 0: minima are stored.)
NARROW_LANE_FUNCTION F32 Min(F32 a, F32 b) { return a.v < b.v ? a.v : b.v; }
NARROW_LANE_FUNCTION F32 Max(F32 a, F32 b) {
#if defined(__CUDA_ARCH__)
  return fmaxf(a.v, b.v);
#else
  return a.v > b.v ? a.v : b.v;
#endif
}
NARROW_LANE_FUNCTION I32 MinInt(I32 a, I32 b) { return a.v < b.v ? a.v : b.v; }
NARROW_LANE_FUNCTION I32 MaxInt(I32 a, I32 b) { return a.v > b.v ? a.v : b.v; }
NARROW_LANE_FUNCTION I32 ClampInt(I32 value, int32_t low, int32_t high) {
  return MinInt(MaxInt(value, low), high);
}

NARROW_LANE_FUNCTION F32 Sqrt(F32 value) { return sqrtf(value.v); }
NARROW_LANE_FUNCTION F32 ToFloat(I32 value) {
  return static_cast<float>(value.v);
}

NARROW_LANE_FUNCTION I32 Truncate(F32 value) {
  const bool fits = value.v >= -0x1p31f && value.v < 0x1p31f;
  return fits ? static_cast<int32_t>(value.v) : INT32_MIN;
}

// (A card's NaN has mantissa bits that the processor's has not.)
NARROW_LANE_FUNCTION I32 RoundToInt(F32 value) {
  const F32 sum = value + 12582912.0f;
  const I32 integer = (AsInt(sum) & 0x007fffff) - 0x00400000;
#if defined(__CUDA_ARCH__)
  return sum.v != sum.v ? 0 : integer.v;
#else
  return integer;
#endif
}

// By the same sum: two additions are cheaper on a card than its rounding.
NARROW_LANE_FUNCTION F32 RoundToFloat(F32 value) {
  return (value + 12582912.0f) - 12582912.0f;
}

// As F16FromFloat and FloatFromF16 of formats/base/float16.h.
NARROW_LANE_FUNCTION I32 F16FromFloat(F32 value) {
  const uint32_t bits = static_cast<uint32_t>(AsInt(value).v);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    return static_cast<int32_t>(sign | 0x7e00);
  }
  if (magnitude >= 0x47800000) {
    return static_cast<int32_t>(sign | 0x7c00);
  }
  if (magnitude < 0x38800000) {
    const F32 shifted = AsFloat(static_cast<int32_t>(magnitude)) + 0.5f;
    return static_cast<int32_t>(sign) | (AsInt(shifted).v - 0x3f000000);
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return static_cast<int32_t>(sign | ((rounded - 0x38000000) >> 13));
}

NARROW_LANE_FUNCTION F32 FloatFromF16(I32 half) {
  const int32_t sign = (half.v & 0x8000) << 16;
  const int32_t exponent = (half.v >> 10) & 0x1f;
  const int32_t mantissa = half.v & 0x3ff;
  if (exponent == 0x1f) {
    return AsFloat(sign | 0x7f800000 | (mantissa != 0 ? 0x400000 : 0) |
                   (mantissa << 13));
  }
  if (exponent == 0) {
    const F32 magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return AsFloat(sign | AsInt(magnitude).v);
  }
  return AsFloat(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

NARROW_LANE_FUNCTION float ScalarFromF16(const uint8_t* bytes) {
  return FloatFromF16(bytes[0] | (bytes[1] << 8)).v;
}

// The one block from memory, and words and halves to it.
template <int kSize>
NARROW_LANE_FUNCTION void LoadBlocks(const float* from, ptrdiff_t /*stride*/,
                                     int /*n_blocks*/, F32* out) {
  for (int i = 0; i < kSize; ++i) {
    out[i] = from[i];
  }
}
template <int kSize>
NARROW_LANE_FUNCTION void StoreBlocks(const I32* words, int /*n_blocks*/,
                                      uint8_t* to, ptrdiff_t /*stride*/) {
  // Bytes: a block may begin anywhere.
  for (int i = 0; i < kSize; ++i) {
    for (int b = 0; b < 4; ++b) {
      to[4 * i + b] = static_cast<uint8_t>(words[i].v >> (8 * b));
    }
  }
}
NARROW_LANE_FUNCTION void StoreHalves(I32 halves, int /*n_blocks*/, uint8_t* to,
                                      ptrdiff_t /*stride*/) {
  to[0] = static_cast<uint8_t>(halves.v);
  to[1] = static_cast<uint8_t>(halves.v >> 8);
}

}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_SIMD_ONE_LANE_H_
