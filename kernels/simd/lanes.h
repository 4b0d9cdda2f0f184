// Vectors of as many 32-bit lanes as the instruction set has, so that an
// algorithm is written once and compiled for each.
//
//   namespace narrow {
//   namespace NARROW_SIMD {   // avx2 or avx512, as the compiler's flags say
//   F32 x[32];
//   LoadBlocks<32>(weights, 32, kLanes, x);     // lane = block
//   F32 top = Abs(x[0]);
//   for (int i = 1; i < 32; ++i) top = Max(top, Abs(x[i]));
//
// F32, I32 and U32 are GCC vectors: + - * / & | ^ << >> and comparisons work
// lane by lane, a scalar operand is spread over the lanes, and a comparison
// gives an I32 of 0 and -1 for Select. Each lane computes exactly what scalar
// code with the same operations would, so lanes that hold independent blocks
// give the scalar code's bytes.
//
// Every function is always inlined and stands in the instruction set's own
// namespace: the linker can never put one set's copy into another's code.
// Sources that include this header are targets of simd_library (simd.bzl) and
// include nothing that defines inline functions outside this namespace.

#ifndef NARROW_KERNELS_SIMD_LANES_H_
#define NARROW_KERNELS_SIMD_LANES_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__AVX512F__)
#define NARROW_SIMD avx512
#elif defined(__AVX2__)
#define NARROW_SIMD avx2
#else
#error "lanes.h is for the sources of simd_library"
#endif

#define NARROW_LANE_FUNCTION [[gnu::always_inline]] inline

namespace narrow {
namespace NARROW_SIMD {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#else
inline constexpr int kLanes = 8;
#endif

typedef float F32 __attribute__((vector_size(4 * kLanes)));
typedef int32_t I32 __attribute__((vector_size(4 * kLanes)));
typedef uint32_t U32 __attribute__((vector_size(4 * kLanes)));
// As many 16-bit numbers.
typedef uint16_t U16 __attribute__((vector_size(2 * kLanes)));

// The value in all lanes.
NARROW_LANE_FUNCTION F32 Splat(float value) { return value - F32{}; }
NARROW_LANE_FUNCTION I32 SplatInt(int32_t value) { return value - I32{}; }

// From and to memory of any alignment.
NARROW_LANE_FUNCTION F32 Load(const float* from) {
  F32 value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}
NARROW_LANE_FUNCTION void Store(F32 value, float* to) {
  __builtin_memcpy(to, &value, sizeof(value));
}

// Lane k holds k.
template <int... kLane>
NARROW_LANE_FUNCTION I32 CountLanes(std::integer_sequence<int, kLane...>) {
  return I32{kLane...};
}
NARROW_LANE_FUNCTION I32 LaneNumbers() {
  return CountLanes(std::make_integer_sequence<int, kLanes>());
}

// The same bits as another type.
NARROW_LANE_FUNCTION I32 AsInt(F32 value) {
  return reinterpret_cast<I32>(value);
}
NARROW_LANE_FUNCTION U32 AsUint(I32 value) {
  return reinterpret_cast<U32>(value);
}
NARROW_LANE_FUNCTION F32 AsFloat(I32 bits) {
  return reinterpret_cast<F32>(bits);
}

// `mask` lanes are 0 or -1: `a` where set, else `b`.
NARROW_LANE_FUNCTION F32 Select(I32 mask, F32 a, F32 b) { return mask ? a : b; }
NARROW_LANE_FUNCTION I32 SelectInt(I32 mask, I32 a, I32 b) {
  return mask ? a : b;
}

// Whether any lane of `mask` is set.
NARROW_LANE_FUNCTION bool Any(I32 mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)) != 0;
#else
  return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) != 0;
#endif
}

NARROW_LANE_FUNCTION F32 Abs(F32 value) {
  return AsFloat(AsInt(value) & 0x7fffffff);
}
// `b` where either is a NaN, as in `a < b ? a : b`.
// (Spelled out because GCC 12 compares and selects for the generic form.)
NARROW_LANE_FUNCTION F32 Min(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, a, b);
#else
  return _mm256_min_ps(a, b);
#endif
}
NARROW_LANE_FUNCTION F32 Max(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, a, b);
#else
  return _mm256_max_ps(a, b);
#endif
}
NARROW_LANE_FUNCTION I32 MinInt(I32 a, I32 b) { return a < b ? a : b; }
NARROW_LANE_FUNCTION I32 MaxInt(I32 a, I32 b) { return a > b ? a : b; }
NARROW_LANE_FUNCTION I32 ClampInt(I32 value, int32_t low, int32_t high) {
  return MinInt(MaxInt(value, SplatInt(low)), SplatInt(high));
}

// Correctly rounded.
NARROW_LANE_FUNCTION F32 Sqrt(F32 value) {
#if defined(__AVX512F__)
  // Not _mm512_sqrt_ps, in which GCC 12 sees an uninitialised operand.
  return _mm512_maskz_sqrt_ps(0xffff, value);
#else
  return _mm256_sqrt_ps(value);
#endif
}

NARROW_LANE_FUNCTION F32 ToFloat(I32 value) {
  return __builtin_convertvector(value, F32);
}

// Towards zero; INT32_MIN for a NaN and for what an int32 cannot hold.
NARROW_LANE_FUNCTION I32 Truncate(F32 value) {
#if defined(__AVX512F__)
  return reinterpret_cast<I32>(_mm512_cvttps_epi32(value));
#else
  return reinterpret_cast<I32>(_mm256_cvttps_epi32(value));
#endif
}

// To nearest, ties to even, for |value| <= 2^22 - 1. Adding 1.5 * 2^23 leaves
// the integer in the low mantissa bits. Beyond that range and for NaN the
// result is those bits all the same, as in scalar code.
NARROW_LANE_FUNCTION I32 RoundToInt(F32 value) {
  return (AsInt(value + 12582912.0f) & 0x007fffff) - 0x00400000;
}

// The same as floats, of any size; -0 for what is just below 0.
NARROW_LANE_FUNCTION F32 RoundToFloat(F32 value) {
#if defined(__AVX512F__)
  return _mm512_maskz_roundscale_ps(
      0xffff, value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  return _mm256_round_ps(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#endif
}

// Half precision in the low 16 bits of each lane, as F16FromFloat and
// FloatFromF16 of formats/base/float16.h.
NARROW_LANE_FUNCTION I32 F16FromFloat(F32 value) {
#if defined(__AVX512F__)
  const I32 half = reinterpret_cast<I32>(_mm512_cvtepu16_epi32(
      _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
#else
  const I32 half = reinterpret_cast<I32>(
      _mm256_cvtepu16_epi32(_mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT)));
#endif
  // The processor would keep a NaN's payload.
  const I32 nan = ((AsInt(value) >> 16) & 0x8000) | 0x7e00;
  return SelectInt(value != value, nan, half);
}

NARROW_LANE_FUNCTION F32 FloatFromF16(I32 half) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(
      _mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(half)));
#else
  const __m256i packed = _mm256_packus_epi32(reinterpret_cast<__m256i>(half),
                                             _mm256_setzero_si256());
  return _mm256_cvtph_ps(
      _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
#endif
}

// One number.
NARROW_LANE_FUNCTION float ScalarFromF16(uint16_t half) {
  return _cvtsh_ss(half);
}
NARROW_LANE_FUNCTION float ScalarFromF16(const uint8_t* bytes) {
  uint16_t half;
  __builtin_memcpy(&half, bytes, sizeof(half));
  return ScalarFromF16(half);
}

// One round of a transposition: rows a and b, kStep apart, exchange the
// quarter that lies off the diagonal.
template <int kStep, int... kLane>
NARROW_LANE_FUNCTION void ExchangeRows(std::integer_sequence<int, kLane...>,
                                       F32* a, F32* b) {
  const I32 upper = {((kLane & kStep) ? kLanes + kLane - kStep : kLane)...};
  const I32 lower = {((kLane & kStep) ? kLanes + kLane : kLane + kStep)...};
  const F32 old_a = *a;
  *a = __builtin_shuffle(old_a, *b, upper);
  *b = __builtin_shuffle(old_a, *b, lower);
}

template <int kStep>
NARROW_LANE_FUNCTION void TransposeRound(F32* rows) {
  if constexpr (kStep < kLanes) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if ((i & kStep) == 0) {
        ExchangeRows<kStep>(std::make_integer_sequence<int, kLanes>(), rows + i,
                            rows + i + kStep);
      }
    }
    TransposeRound<kStep * 2>(rows);
  }
}

// A square of kLanes rows, in place.
NARROW_LANE_FUNCTION void Transpose(F32* rows) { TransposeRound<1>(rows); }

// out[i] lane k = from[k * stride + i], for kSize values of each of
// `n_blocks` <= kLanes blocks; the lanes beyond repeat the first block.
template <int kSize>
NARROW_LANE_FUNCTION void LoadBlocks(const float* from, ptrdiff_t stride,
                                     int n_blocks, F32* out) {
  static_assert(kSize % kLanes == 0, "whole squares only");
  for (int first = 0; first < kSize; first += kLanes) {
    F32 rows[kLanes];
    for (int k = 0; k < kLanes; ++k) {
      rows[k] = Load(from + (k < n_blocks ? k * stride : 0) + first);
    }
    Transpose(rows);
    for (int i = 0; i < kLanes; ++i) {
      out[first + i] = rows[i];
    }
  }
}

// Lane k of `words`, kSize words little-endian, to to + k * stride, for
// k < n_blocks.
template <int kSize>
NARROW_LANE_FUNCTION void StoreBlocks(const I32* words, int n_blocks,
                                      uint8_t* to, ptrdiff_t stride) {
  for (int k = 0; k < n_blocks; ++k) {
    uint32_t block[kSize];
    for (int i = 0; i < kSize; ++i) {
      block[i] = reinterpret_cast<const uint32_t*>(&words[i])[k];
    }
    __builtin_memcpy(to + k * stride, block, sizeof(block));
  }
}

// The low 16 bits of lane k to to + k * stride, for k < n_blocks.
NARROW_LANE_FUNCTION void StoreHalves(I32 halves, int n_blocks, uint8_t* to,
                                      ptrdiff_t stride) {
  for (int k = 0; k < n_blocks; ++k) {
    const uint16_t half = static_cast<uint16_t>(halves[k]);
    __builtin_memcpy(to + k * stride, &half, sizeof(half));
  }
}

// kLanes bytes, each as the number in a lane.
NARROW_LANE_FUNCTION I32 LoadBytes(const uint8_t* from) {
#if defined(__AVX512F__)
  return reinterpret_cast<I32>(_mm512_maskz_cvtepu8_epi32(
      0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#else
  return reinterpret_cast<I32>(_mm256_cvtepu8_epi32(
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#endif
}

// The same of signed bytes.
NARROW_LANE_FUNCTION I32 LoadSignedBytes(const uint8_t* from) {
#if defined(__AVX512F__)
  return reinterpret_cast<I32>(_mm512_maskz_cvtepi8_epi32(
      0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#else
  return reinterpret_cast<I32>(_mm256_cvtepi8_epi32(
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#endif
}

// Lanes of 0 … 255 as bytes.
NARROW_LANE_FUNCTION void StoreBytes(I32 value, uint8_t* to) {
#if defined(__AVX512F__)
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(to),
      _mm512_maskz_cvtepi32_epi8(0xffff, reinterpret_cast<__m512i>(value)));
#else
  const __m256i all = reinterpret_cast<__m256i>(value);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(all),
                                         _mm256_extracti128_si256(all, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to),
                   _mm_packus_epi16(words, words));
#endif
}

// Integers from and to memory of any alignment.
NARROW_LANE_FUNCTION I32 LoadInts(const int32_t* from) {
  I32 value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}
NARROW_LANE_FUNCTION void StoreInts(I32 value, int32_t* to) {
  __builtin_memcpy(to, &value, sizeof(value));
}

// Bit k: whether lane k of `mask` is set.
NARROW_LANE_FUNCTION uint32_t LaneBits(I32 mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask));
#else
  return static_cast<uint32_t>(
      _mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
#endif
}

// Entries of a table of 8, which is repeated where there are more lanes. The
// low three bits of an index count.
NARROW_LANE_FUNCTION F32 Lookup8(F32 table, I32 index) {
#if defined(__AVX512F__)
  return _mm512_maskz_permutexvar_ps(0xffff, reinterpret_cast<__m512i>(index),
                                     table);
#else
  return _mm256_permutevar8x32_ps(table, reinterpret_cast<__m256i>(index));
#endif
}

}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_SIMD_LANES_H_
