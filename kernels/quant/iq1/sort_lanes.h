// Sorts the weights of a group in each lane, equal ones in their order.
//
// A weight and its place become one double: a float's bits end 29 bits before
// a double's, and the place goes into the lowest five, turned for negative
// numbers, whose bits count backwards. All keys differ, so any sorting network
// gives the one stable order, with a minimum and a maximum for each of its
// comparisons (K. Batcher, Sorting networks and their applications, 1968: the
// odd-even merge).
//
// REQUIRES: finite numbers.

#ifndef NARROW_KERNELS_QUANT_IQ1_SORT_LANES_H_
#define NARROW_KERNELS_QUANT_IQ1_SORT_LANES_H_

#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq1_lanes {

#if defined(__AVX512F__)
typedef __m512d Keys;  // half as many as lanes
#else
typedef __m256d Keys;
#endif

NARROW_LANE_FUNCTION void Exchange(Keys* a, Keys* b) {
  const Keys low = *a;
#if defined(__AVX512F__)
  *a = _mm512_maskz_min_pd(0xff, low, *b);
  *b = _mm512_maskz_max_pd(0xff, low, *b);
#else
  *a = _mm256_min_pd(low, *b);
  *b = _mm256_max_pd(low, *b);
#endif
}

// The keys of place `i` for one half of the lanes.
template <int kHalf>
NARROW_LANE_FUNCTION Keys MakeKeys(F32 x, int i) {
  x += 0.0f;  // -0 equals 0
#if defined(__AVX512F__)
  const __m512d wide = _mm512_maskz_cvtps_pd(
      0xff, _mm256_castsi256_ps(_mm512_maskz_extracti32x8_epi32(
                0xff, _mm512_castps_si512(x), kHalf)));
  const __m512i bits = _mm512_castpd_si512(wide);
  const __m512i place =
      _mm512_mask_blend_epi64(_mm512_movepi64_mask(bits), _mm512_set1_epi64(i),
                              _mm512_set1_epi64(31 - i));
  return _mm512_castsi512_pd(_mm512_or_si512(bits, place));
#else
  const __m256d wide = _mm256_cvtps_pd(_mm256_extractf128_ps(x, kHalf));
  const __m256d place =
      _mm256_blendv_pd(_mm256_castsi256_pd(_mm256_set1_epi64x(i)),
                       _mm256_castsi256_pd(_mm256_set1_epi64x(31 - i)), wide);
  return _mm256_or_pd(wide, place);
#endif
}

// The places in two halves of keys.
NARROW_LANE_FUNCTION I32 Places(Keys low, Keys high) {
#if defined(__AVX512F__)
  const __m512i even = _mm512_castpd_si512(low);
  const __m512i odd = _mm512_castpd_si512(high);
  const __m512i first = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12,
                                         10, 8, 6, 4, 2, 0);
  const __m512i second = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15,
                                          13, 11, 9, 7, 5, 3, 1);
  const I32 bits =
      reinterpret_cast<I32>(_mm512_permutex2var_epi32(even, first, odd));
  const I32 signs =
      reinterpret_cast<I32>(_mm512_permutex2var_epi32(even, second, odd));
#else
  const __m256 a = _mm256_castpd_ps(low);
  const __m256 b = _mm256_castpd_ps(high);
  const auto in_order = [](__m256 mixed) {
    return reinterpret_cast<I32>(
        _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), 0xd8));
  };
  const I32 bits = in_order(_mm256_shuffle_ps(a, b, 0x88));
  const I32 signs = in_order(_mm256_shuffle_ps(a, b, 0xdd));
#endif
  return (bits ^ (signs >> 31)) & 31;
}

// Comparison `kAt` and those behind it, of one merge of the network: kSpan is
// the length of the sorted runs, kStep the distance compared.
template <int kSize, int kSpan, int kStep, int kAt>
NARROW_LANE_FUNCTION void Compare(Keys* keys) {
  if constexpr (kAt + kStep < kSize) {
    constexpr int kFrom = kStep % kSpan;
    constexpr bool kCompared = kAt >= kFrom &&
                               (kAt - kFrom) % (2 * kStep) < kStep &&
                               kAt / (2 * kSpan) == (kAt + kStep) / (2 * kSpan);
    if constexpr (kCompared) {
      Exchange(keys + kAt, keys + kAt + kStep);
    }
    Compare<kSize, kSpan, kStep, kAt + 1>(keys);
  }
}

template <int kSize, int kSpan, int kStep>
NARROW_LANE_FUNCTION void Merge(Keys* keys) {
  if constexpr (kStep >= 1) {
    Compare<kSize, kSpan, kStep, 0>(keys);
    Merge<kSize, kSpan, kStep / 2>(keys);
  }
}

template <int kSize, int kSpan>
NARROW_LANE_FUNCTION void SortKeys(Keys* keys) {
  if constexpr (kSpan < kSize) {
    Merge<kSize, kSpan, kSpan>(keys);
    SortKeys<kSize, 2 * kSpan>(keys);
  }
}

// The numbers in keys, without the places: what those add is rounded away.
NARROW_LANE_FUNCTION F32 Numbers(Keys low, Keys high) {
#if defined(__AVX512F__)
  return _mm512_castsi512_ps(_mm512_inserti64x4(
      _mm512_castsi256_si512(
          _mm256_castps_si256(_mm512_maskz_cvtpd_ps(0xff, low))),
      _mm256_castps_si256(_mm512_maskz_cvtpd_ps(0xff, high)), 1));
#else
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)),
                              _mm256_cvtpd_ps(high), 1);
#endif
}

// order[r]: in each lane, the place of the weight that comes r-th; sorted[r]:
// that weight, 0 for -0.
template <int kSize>
NARROW_LANE_FUNCTION void SortGroups(const F32* x, I32* order, F32* sorted) {
  Keys low[kSize], high[kSize];
  for (int i = 0; i < kSize; ++i) {
    low[i] = MakeKeys<0>(x[i], i);
  }
  SortKeys<kSize, 1>(low);
  for (int i = 0; i < kSize; ++i) {
    high[i] = MakeKeys<1>(x[i], i);
  }
  SortKeys<kSize, 1>(high);
  for (int i = 0; i < kSize; ++i) {
    order[i] = Places(low[i], high[i]);
    sorted[i] = Numbers(low[i], high[i]);
  }
}

}  // namespace iq1_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_SORT_LANES_H_
