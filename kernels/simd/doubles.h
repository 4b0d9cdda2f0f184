// Vectors of 64-bit lanes beside those of lanes.h, and fused multiply-adds of
// both, for the sources of simd_library.
//
//   F64 sum = Fma(Spread(&a[k]), Load(b + k * kDoubleLanes), sum);
//
// As in lanes.h, every function is always inlined, stands in the instruction
// set's own namespace, and computes in each lane what scalar code would.

#ifndef NARROW_KERNELS_SIMD_DOUBLES_H_
#define NARROW_KERNELS_SIMD_DOUBLES_H_

#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {

inline constexpr int kDoubleLanes = kLanes / 2;

typedef double F64 __attribute__((vector_size(8 * kDoubleLanes)));
typedef int64_t I64 __attribute__((vector_size(8 * kDoubleLanes)));

// The vector of a scalar type.
template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef F32 Type;
  static constexpr int kCount = kLanes;
};
template <>
struct VectorOf<double> {
  typedef F64 Type;
  static constexpr int kCount = kDoubleLanes;
};

// From and to memory of any alignment.
NARROW_LANE_FUNCTION F64 Load(const double* from) {
  F64 value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}
NARROW_LANE_FUNCTION void Store(F64 value, double* to) {
  __builtin_memcpy(to, &value, sizeof(value));
}

// The number at `from` in all lanes.
NARROW_LANE_FUNCTION F32 Spread(const float* from) { return *from - F32{}; }
NARROW_LANE_FUNCTION F64 Spread(const double* from) { return *from - F64{}; }

// a * b + c, rounded once.
NARROW_LANE_FUNCTION F32 Fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#else
  return _mm256_fmadd_ps(a, b, c);
#endif
}
NARROW_LANE_FUNCTION F64 Fma(F64 a, F64 b, F64 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#else
  return _mm256_fmadd_pd(a, b, c);
#endif
}

// kDoubleLanes floats in memory, as doubles.
NARROW_LANE_FUNCTION F64 LoadWide(const float* from) {
#if defined(__AVX512F__)
  return _mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(from));
#else
  return _mm256_cvtps_pd(_mm_loadu_ps(from));
#endif
}

// One round of a transposition, as in lanes.h.
template <int kStep, int... kLane>
NARROW_LANE_FUNCTION void ExchangeRows(std::integer_sequence<int, kLane...>,
                                       F64* a, F64* b) {
  const I64 upper = {
      ((kLane & kStep) ? kDoubleLanes + kLane - kStep : kLane)...};
  const I64 lower = {
      ((kLane & kStep) ? kDoubleLanes + kLane : kLane + kStep)...};
  const F64 old_a = *a;
  *a = __builtin_shuffle(old_a, *b, upper);
  *b = __builtin_shuffle(old_a, *b, lower);
}

template <int kStep>
NARROW_LANE_FUNCTION void TransposeRound(F64* rows) {
  if constexpr (kStep < kDoubleLanes) {
#pragma GCC unroll 8
    for (int i = 0; i < kDoubleLanes; ++i) {
      if ((i & kStep) == 0) {
        ExchangeRows<kStep>(std::make_integer_sequence<int, kDoubleLanes>(),
                            rows + i, rows + i + kStep);
      }
    }
    TransposeRound<kStep * 2>(rows);
  }
}

// A square of kDoubleLanes rows, in place.
NARROW_LANE_FUNCTION void Transpose(F64* rows) { TransposeRound<1>(rows); }

}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_SIMD_DOUBLES_H_
