// Four-bit codes that stand for numbers of a table, in lanes: for the
// sources of simd_library targets.

#ifndef NARROW_KERNELS_QUANT_NIBBLE_LANES_H_
#define NARROW_KERNELS_QUANT_NIBBLE_LANES_H_

#include <cstdint>

#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {

// Sixteen numbers, one for each value of an index' last four bits.
class Sixteen {
 public:
  // The first `n`; the others are 0.
  template <typename Number>
  NARROW_LANE_FUNCTION static Sixteen Of(const Number* numbers, int n) {
    float padded[16] = {};
    for (int i = 0; i < n; ++i) {
      padded[i] = static_cast<float>(numbers[i]);
    }
    Sixteen table;
    for (int i = 0; i < 16 / kLanes; ++i) {
      table.parts_[i] = Load(padded + i * kLanes);
    }
    return table;
  }

  NARROW_LANE_FUNCTION F32 At(I32 index) const {
#if defined(__AVX512F__)
    return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(index), parts_[0]);
#else
    const auto low = reinterpret_cast<__m256i>(index);
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(parts_[0], low),
                            _mm256_permutevar8x32_ps(parts_[1], low),
                            reinterpret_cast<__m256>(index << 28));
#endif
  }

 private:
  F32 parts_[16 / kLanes];
};

// The same of bytes, for indices 0 … 15.
class SixteenBytes {
 public:
  NARROW_LANE_FUNCTION explicit SixteenBytes(const uint8_t* bytes) {
    for (int i = 0; i < kLanes; i += 4) {
      __builtin_memcpy(reinterpret_cast<char*>(&parts_) + 4 * i, bytes, 16);
    }
  }

  NARROW_LANE_FUNCTION I32 At(I32 index) const {
    // Indices above 127 give 0.
    const I32 low_byte = index | static_cast<int32_t>(0x80808000);
#if defined(__AVX512F__)
    return reinterpret_cast<I32>(
        _mm512_shuffle_epi8(reinterpret_cast<__m512i>(parts_),
                            reinterpret_cast<__m512i>(low_byte)));
#else
    return reinterpret_cast<I32>(
        _mm256_shuffle_epi8(reinterpret_cast<__m256i>(parts_),
                            reinterpret_cast<__m256i>(low_byte)));
#endif
  }

 private:
  I32 parts_;
};

// The numbers for 16 bytes of two nibbles each.
struct NibblePairs {
  __m128i low;
  __m128i high;
};
NARROW_LANE_FUNCTION NibblePairs LookUpNibbles(const int8_t* table,
                                               const uint8_t* bytes) {
  const __m128i numbers =
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  const __m128i pairs =
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  const __m128i nibble = _mm_set1_epi8(15);
  return {_mm_shuffle_epi8(numbers, _mm_and_si128(pairs, nibble)),
          _mm_shuffle_epi8(numbers,
                           _mm_and_si128(_mm_srli_epi16(pairs, 4), nibble))};
}

// Sixteen signed bytes times `step`.
NARROW_LANE_FUNCTION void StoreProducts(__m128i numbers, float step,
                                        float* to) {
#if defined(__AVX512F__)
  Store(ToFloat(reinterpret_cast<I32>(
            _mm512_maskz_cvtepi8_epi32(0xffff, numbers))) *
            step,
        to);
#else
  Store(ToFloat(reinterpret_cast<I32>(_mm256_cvtepi8_epi32(numbers))) * step,
        to);
  Store(ToFloat(reinterpret_cast<I32>(
            _mm256_cvtepi8_epi32(_mm_srli_si128(numbers, 8)))) *
            step,
        to + 8);
#endif
}

}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_NIBBLE_LANES_H_
