// The best of the points near an octet's levels, kLanes points at a time.
//
// A coordinate costs one of three numbers, so the 24 costs of an octet are
// computed once and looked up by two bits of a point's levels. Every point's
// costs are added in the reference's order.

#ifndef NARROW_KERNELS_QUANT_IQ1_NEAR_SEARCH_LANES_H_
#define NARROW_KERNELS_QUANT_IQ1_NEAR_SEARCH_LANES_H_

#include <cfloat>
#include <cstdint>

#include "kernels/quant/iq1/groups.h"
#include "kernels/quant/iq1/near_lists.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq1_lanes {

// The entry of `costs` that the low two bits of each lane choose; costs are
// repeated for each four lanes.
NARROW_LANE_FUNCTION F32 Lookup4(F32 costs, I32 index) {
#if defined(__AVX512F__)
  return _mm512_maskz_permutevar_ps(0xffff, costs,
                                    reinterpret_cast<__m512i>(index));
#else
  return _mm256_permutevar_ps(costs, reinterpret_cast<__m256i>(index));
#endif
}

// Four numbers for each four lanes.
NARROW_LANE_FUNCTION F32 Repeat4(__m128 numbers) {
#if defined(__AVX512F__)
  return _mm512_maskz_broadcast_f32x4(0xffff, numbers);
#else
  return _mm256_broadcast_ps(&numbers);
#endif
}

NARROW_LANE_FUNCTION I32 LoadWords(const uint16_t* from) {
#if defined(__AVX512F__)
  return reinterpret_cast<I32>(_mm512_maskz_cvtepu16_epi32(
      0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#else
  return reinterpret_cast<I32>(_mm256_cvtepu16_epi32(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#endif
}

// The least lane.
NARROW_LANE_FUNCTION float LeastLane(F32 values) {
#if defined(__AVX512F__)
  const __m256 half =
      _mm256_min_ps(_mm512_castps512_ps256(values),
                    _mm256_castsi256_ps(_mm512_maskz_extracti32x8_epi32(
                        0xff, _mm512_castps_si512(values), 1)));
#else
  const __m256 half = values;
#endif
  __m128 least =
      _mm_min_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  least = _mm_min_ps(least, _mm_movehl_ps(least, least));
  least = _mm_min_ss(least, _mm_movehdup_ps(least));
  return _mm_cvtss_f32(least);
}

// Whether octets in lanes are orderly, as of NearLists.
NARROW_LANE_FUNCTION I32 IsOrderly(I32 levels, const F32* x, const F32* w,
                                   F32 scale, I32 down) {
  const F32 low =
      scale * Select(down, Splat(iq1::kDown[0]), Splat(iq1::kUp[0]));
  const F32 middle =
      scale * Select(down, Splat(iq1::kDown[1]), Splat(iq1::kUp[1]));
  const F32 high =
      scale * Select(down, Splat(iq1::kDown[2]), Splat(iq1::kUp[2]));
  I32 orderly = SplatInt(-1);
  for (int i = 0; i < iq1::kOctet; ++i) {
    const F32 miss_low = low - x[i];
    const F32 miss_middle = middle - x[i];
    const F32 miss_high = high - x[i];
    const F32 error_low = w[i] * miss_low * miss_low;
    const F32 error_middle = w[i] * miss_middle * miss_middle;
    const F32 error_high = w[i] * miss_high * miss_high;
    // 00: low <= middle <= high; 01: middle <= both; 10: high <= middle <= low.
    const I32 is_high = (levels & (2 << (2 * i))) != 0;
    const I32 is_low = (levels & (3 << (2 * i))) == 0;
    const I32 low_last = error_middle <= error_low;
    const I32 high_last = error_middle <= error_high;
    const I32 low_first = error_low <= error_middle;
    const I32 high_first = error_high <= error_middle;
    orderly &= SelectInt(is_low, low_first, low_last) &
               SelectInt(is_high, high_first, high_last);
  }
  return orderly;
}

// The costs of an octet's coordinates, each for Lookup4, by the reference's
// operations; x and w are the octet's, q the values of the levels.
NARROW_LANE_FUNCTION void MakeCosts(const float* x, const float* w, float scale,
                                    const float* q, F32* costs) {
  const __m256 eight_x = _mm256_loadu_ps(x);
  const __m256 eight_w = _mm256_loadu_ps(w);
  __m256 of_level[3];
  for (int level = 0; level < 3; ++level) {
    const __m256 miss =
        _mm256_sub_ps(_mm256_set1_ps(scale * q[level]), eight_x);
    of_level[level] = _mm256_mul_ps(_mm256_mul_ps(eight_w, miss), miss);
  }
  // Transposed; what stands at level 3 is not looked up.
  const __m256 low01 = _mm256_unpacklo_ps(of_level[0], of_level[1]);
  const __m256 high01 = _mm256_unpackhi_ps(of_level[0], of_level[1]);
  const __m256 low2 = _mm256_unpacklo_ps(of_level[2], of_level[2]);
  const __m256 high2 = _mm256_unpackhi_ps(of_level[2], of_level[2]);
  const __m256 pairs[4] = {_mm256_shuffle_ps(low01, low2, 0x44),
                           _mm256_shuffle_ps(low01, low2, 0xee),
                           _mm256_shuffle_ps(high01, high2, 0x44),
                           _mm256_shuffle_ps(high01, high2, 0xee)};
  for (int i = 0; i < 4; ++i) {
    costs[i] = Repeat4(_mm256_castps256_ps128(pairs[i]));
    costs[4 + i] = Repeat4(_mm256_extractf128_ps(pairs[i], 1));
  }
}

// The errors of kLanes points; FLT_MAX if it is no less.
NARROW_LANE_FUNCTION F32 PointErrors(const uint16_t* levels, const F32* costs) {
  const I32 packed = LoadWords(levels);
  F32 error = Lookup4(costs[0], packed);
  for (int i = 1; i < iq1::kOctet; ++i) {
    error += Lookup4(costs[i], packed >> (2 * i));
  }
  return Min(error, Splat(FLT_MAX));
}

// The levels of the first of a list of kNearStep points whose error is least.
NARROW_LANE_FUNCTION int NearestOfFew(const uint16_t* list, const F32* costs) {
  constexpr int kVectors = iq1::kNearStep / kLanes;
  F32 errors[kVectors];
  for (int k = 0; k < kVectors; ++k) {
    errors[k] = PointErrors(list + k * kLanes, costs);
  }
  const F32 least = Splat(LeastLane(Min(errors[0], errors[kVectors - 1])));
  uint32_t places = 0;
  for (int k = 0; k < kVectors; ++k) {
    places |= LaneBits(errors[k] == least) << (k * kLanes);
  }
  return list[__builtin_ctz(places)];
}

// Of `n` points.
NARROW_LANE_FUNCTION int NearestOfMany(const uint16_t* list, int n,
                                       const F32* costs) {
  F32 least = Splat(FLT_MAX);
  I32 places = {};
  for (int k = 0; k < n; k += kLanes) {
    const F32 errors = PointErrors(list + k, costs);
    places = SelectInt(errors < least, SplatInt(k), places);
    least = Min(errors, least);
  }
  // The first place of the least error.
  uint32_t lanes = LaneBits(least == Splat(LeastLane(least)));
  int best = n;
  for (; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const int place = places[lane] + lane;
    best = place < best ? place : best;
  }
  return list[best];
}

}  // namespace iq1_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_NEAR_SEARCH_LANES_H_
