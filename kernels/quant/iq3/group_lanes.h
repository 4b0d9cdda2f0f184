// A group of 32 weights and its candidate scales in lanes, for encode_simd.cc.

#ifndef NARROW_KERNELS_QUANT_IQ3_GROUP_LANES_H_
#define NARROW_KERNELS_QUANT_IQ3_GROUP_LANES_H_

#include <cstdint>
#include <cstring>

#include "kernels/quant/iq3/layout.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq3_lanes {

using iq3::kGroup;
using iq3::kLevels;
using iq3::kPoint;
using iq3::kPointsPerGroup;

template <class Type>
struct Scan {
  static constexpr int kScales = 2 * Type::kScan + 1;
  static constexpr int kVectors = (kScales + kLanes - 1) / kLanes;
  static constexpr int kPadded = kVectors * kLanes;
};

// 1, 3, … 15 in the low eight lanes, and again.
NARROW_LANE_FUNCTION F32 OddNumbers() {
  return ToFloat(2 * (LaneNumbers() & 7) + 1);
}

NARROW_LANE_FUNCTION F32 Clamp(F32 value, float low, float high) {
  return Min(Max(value, Splat(low)), Splat(high));
}

// Bit k: a[k] > b[k].
NARROW_LANE_FUNCTION uint32_t GreaterBits(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
#else
  return LaneBits(a > b);
#endif
}

// One group of 32.
struct Group {
  alignas(64) float x[kGroup];
  alignas(64) float weight[kGroup];
  alignas(64) float metric[kGroup];
  alignas(64) float weighted_x[kGroup];
  uint8_t signs[4];
  float largest;
};

NARROW_LANE_FUNCTION F32 LeastOfAll(F32 value) {
  const I32 lane = LaneNumbers();
  for (int step = kLanes / 2; step > 0; step /= 2) {
    value = Min(value, __builtin_shuffle(value, lane ^ step));
  }
  return value;
}

// The least of each eight lanes, in all of them.
NARROW_LANE_FUNCTION F32 LeastOfEight(F32 value) {
  const I32 lane = LaneNumbers();
  for (int step = 4; step > 0; step /= 2) {
    value = Min(value, __builtin_shuffle(value, lane ^ step));
  }
  return value;
}

// A bit for each weight whose sign has to be wrong, so that each eight have an
// even number of minus signs: see SplitSigns of reference.cc. `least` has bits
// for the weights that matter least among their eight.
NARROW_LANE_FUNCTION uint32_t WrongSigns(uint32_t signs, uint32_t least) {
  constexpr uint32_t kOnes = 0x01010101;
  uint32_t parity = signs ^ signs >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  // The lowest bit of each byte, none of which is zero.
  const uint32_t first = least & ~(least - kOnes);
  return first & (parity & kOnes) * 255;
}

template <class Type>
NARROW_LANE_FUNCTION void LoadGroup(const float* weights,
                                    const float* importance, float variance,
                                    Group* group) {
  uint32_t signs = 0;
  uint32_t least = 0;
  F32 weight[kGroup / kLanes];
  for (int v = 0; v < kGroup / kLanes; ++v) {
    const F32 x = Load(weights + v * kLanes);
    weight[v] = x * x;
    if (importance != nullptr) {
      weight[v] =
          Load(importance + v * kLanes) * Sqrt(Splat(variance) + weight[v]);
    }
    Store(weight[v], group->weight + v * kLanes);
    Store(Sqrt(weight[v]), group->metric + v * kLanes);
    // A zero of either sign is not negative.
    signs |= LaneBits(x < F32{}) << (v * kLanes);
    const F32 matters = weight[v] * x * x;
    least |= LaneBits(matters == LeastOfEight(matters)) << (v * kLanes);
  }
  const uint32_t wrong = Type::kEvenSigns ? WrongSigns(signs, least) : 0;
  signs ^= wrong;
  std::memcpy(group->signs, &signs, sizeof(signs));
  F32 lowest = {};
  for (int v = 0; v < kGroup / kLanes; ++v) {
    F32 x = Abs(Load(weights + v * kLanes));
    if (Type::kEvenSigns) {
      const I32 bits = SplatInt(static_cast<int32_t>(wrong >> (v * kLanes)));
      const I32 top = bits << (31 - LaneNumbers());
      x = AsFloat(AsInt(x) | (top & INT32_MIN));
    }
    Store(x, group->x + v * kLanes);
    Store(weight[v] * x, group->weighted_x + v * kLanes);
    lowest = v == 0 ? -x : Min(lowest, -x);
  }
  group->largest = -LeastOfAll(lowest)[0];
}

// The candidate scales; lanes beyond the last repeat it.
template <class Type>
struct Scales {
  F32 half_inverse[Scan<Type>::kVectors];
  F32 scale[Scan<Type>::kVectors];
};

template <class Type>
NARROW_LANE_FUNCTION void MakeScales(float largest, Scales<Type>* scales) {
  for (int v = 0; v < Scan<Type>::kVectors; ++v) {
    const I32 k = MinInt(LaneNumbers() + (v * kLanes - Type::kScan),
                         SplatInt(Type::kScan));
    const F32 steps =
        static_cast<float>(iq3::kTopLevel) + ToFloat(k) * iq3::kStep;
    const F32 inverse = steps / Splat(largest);
    scales->scale[v] = 1.0f / inverse;
    // A power of two changes no rounding.
    scales->half_inverse[v] = 0.5f * inverse;
  }
}

}  // namespace iq3_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ3_GROUP_LANES_H_
