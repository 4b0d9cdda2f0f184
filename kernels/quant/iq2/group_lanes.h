// Groups of weights in lanes: loading them, splitting off their signs, and
// their levels at all candidate scales.

#ifndef NARROW_KERNELS_QUANT_IQ2_GROUP_LANES_H_
#define NARROW_KERNELS_QUANT_IQ2_GROUP_LANES_H_

#include <cstdint>

#include "kernels/quant/iq2/block.h"
#include "kernels/quant/iq2/near_lanes.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq2_lanes {

constexpr int WholeSquares(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Numbers beyond these are left to the plain code: weights (in ggml's sense)
// and squares, whose products with each other must not overflow, and
// quotients of a weight and a scale.
inline constexpr float kLargest = 0x1p60f;
inline constexpr float kLargestQuotient = 0x1p20f;

// kLanes groups, one a lane; some lanes may have none and repeat the first.
template <class Type>
struct Groups {
  static constexpr int kSize = Type::kGroup;
  static constexpr int kUnitsHere = kSize / kUnit;

  int n;
  F32* x;  // [kSize] magnitudes; with even signs, one a unit may be negative
  F32* weights;  // [kSize]
  I32 signs[kUnitsHere];
  I32 zero;
  I32 usual;
  F32 largest;
  F32 scale;  // where the search begins
  F32 top;    // what the candidates are steps around
};

// The same on their way through the search.
template <class Type>
struct Batch {
  static constexpr int kSize = Type::kGroup;
  static constexpr int kUnitsHere = kSize / kUnit;
  static constexpr int kCandidates = 2 * Type::kSteps + 1;
  static constexpr int kRows = WholeSquares(kCandidates);
  // Loads and stores reach up to a vector beyond.
  static constexpr int kRowSpace = kRows + kLanes;

  // A group a lane.
  const F32* x;
  const F32* weights;
  I32 active;  // lanes whose group is there and not zero
  I32 failed;
  F32 top;
  F32 scale;
  I32 words[kUnitsHere];  // levels chosen

  // A lane a row.
  alignas(64) float row_x[kLanes][kSize];
  alignas(64) float row_roots[kLanes][kSize];
  alignas(64) float row_weights[kLanes][kSize];
  alignas(64) float row_margins[kUnitsHere][kLanes];
  // By candidate.
  alignas(64) float row_scales[kLanes][kRowSpace];
  alignas(64) int32_t row_numbers[kUnitsHere][kLanes][kRowSpace];
  alignas(64) int32_t row_words[kLanes][kUnitsHere][kRowSpace];
  uint32_t off_grid[kLanes][kUnitsHere];  // a bit a candidate
  // The candidates that differ from the one before.
  int n_choices[kLanes];
  alignas(64) int32_t choices[kLanes][kRowSpace];
  alignas(64) float sums_qx[kLanes][kRows];
  alignas(64) float sums_q2[kLanes][kRows];
};

// to[k * stride + i] = from[i] lane k, for whole squares.
template <int kSize>
NARROW_LANE_FUNCTION void StoreRows(const F32* from, float* to, int stride) {
  static_assert(kSize % kLanes == 0, "whole squares only");
  for (int first = 0; first < kSize; first += kLanes) {
    F32 square[kLanes];
    for (int k = 0; k < kLanes; ++k) {
      square[k] = from[first + k];
    }
    Transpose(square);
    for (int k = 0; k < kLanes; ++k) {
      Store(square[k], to + k * stride + first);
    }
  }
}

NARROW_LANE_FUNCTION I32 AddWhere(I32 value, I32 mask, int32_t amount) {
  return value + (mask & SplatInt(amount));
}

// Levels of a unit at 1 / inverse: what is added to the number. ggml rounds
// (inverse x - 1) / 2, ties to even: above 2 makes level 1, from 4 on level 2.
NARROW_LANE_FUNCTION I32 RoundUnit(const F32* x, F32 inverse) {
  I32 number = {};
#pragma GCC unroll 8
  for (int i = 0, place = 1; i < kUnit; ++i, place *= kLevels) {
    const F32 quotient = inverse * x[i];
#if defined(__AVX512F__)
    const __m512i step = _mm512_set1_epi32(place);
    __m512i sum = reinterpret_cast<__m512i>(number);
    sum = _mm512_mask_add_epi32(
        sum, _mm512_cmp_ps_mask(quotient, Splat(2.0f), _CMP_GT_OQ), sum, step);
    sum = _mm512_mask_add_epi32(
        sum, _mm512_cmp_ps_mask(quotient, Splat(4.0f), _CMP_GE_OQ), sum, step);
    number = reinterpret_cast<I32>(sum);
#else
    number = AddWhere(number, quotient > Splat(2.0f), place);
    number = AddWhere(number, quotient >= Splat(4.0f), place);
#endif
  }
  return number;
}

// Where the number of negative weights is odd, the sign of the one that
// matters least is turned.
template <class Type>
NARROW_LANE_FUNCTION void SplitSigns(Groups<Type>* groups) {
  for (int k = 0; k < Groups<Type>::kUnitsHere; ++k) {
    F32* x = groups->x + k * kUnit;
    const F32* w = groups->weights + k * kUnit;
    I32 signs = {};
    I32 odd = {};
    F32 least = w[0] * x[0] * x[0];
    I32 turn = SplatInt(1);
#pragma GCC unroll 8
    for (int i = 0; i < kUnit; ++i) {
      const I32 negative = ~(x[i] >= F32{});
      if (i > 0) {
        const F32 energy = w[i] * x[i] * x[i];
        turn = SelectInt(energy < least, SplatInt(1 << i), turn);
        least = Select(energy < least, energy, least);
      }
      signs = AddWhere(signs, negative, 1 << i);
      odd ^= negative;
      x[i] = AsFloat(AsInt(x[i]) ^ (negative & INT32_MIN));
    }
    if (Type::kEvenSigns) {
      turn &= odd;
      signs ^= turn;
#pragma GCC unroll 8
      for (int i = 0; i < kUnit; ++i) {
        x[i] = AsFloat(AsInt(x[i]) ^ (turn << (31 - i) & INT32_MIN));
      }
    }
    groups->signs[k] = signs;
  }
}

// Weights and signs.
template <class Type>
NARROW_LANE_FUNCTION void LoadGroups(const float* weights,
                                     const float* const* importance,
                                     F32 variance, Groups<Type>* groups) {
  constexpr int kSize = Type::kGroup;
  F32* x = groups->x;
  LoadBlocks<kSize>(weights, kSize, groups->n, x);
  for (int first = 0; first < kSize; first += kLanes) {
    F32 square[kLanes];
    for (int k = 0; k < kLanes && importance[0] != nullptr; ++k) {
      square[k] = Load(importance[k] + first);
    }
    if (importance[0] != nullptr) {
      Transpose(square);
    }
    for (int k = 0; k < kLanes; ++k) {
      const F32 x2 = x[first + k] * x[first + k];
      groups->weights[first + k] = importance[0] != nullptr
                                       ? square[k] * Sqrt(variance + x2)
                                       : Splat(0.25f) * variance + x2;
    }
  }
  groups->largest = F32{};
  groups->usual = variance < Splat(kLargest);
  for (int i = 0; i < kSize; ++i) {
    groups->usual &= groups->weights[i] < Splat(kLargest);
    groups->largest = Max(Abs(x[i]), groups->largest);
  }
  SplitSigns(groups);
  groups->top = x[0];
  for (int i = 1; i < kSize; ++i) {
    groups->top = Max(groups->top, x[i]);
  }
  groups->zero = groups->top < Splat(Type::kZeroLimit);
  groups->scale = groups->top / Splat(5.0f);
}

// Whom the candidates are for, and what depends on their weights alone.
template <class Type>
NARROW_LANE_FUNCTION void Prepare(const Groups<Type>& groups,
                                  Batch<Type>* batch) {
  constexpr int kSize = Type::kGroup;
  batch->x = groups.x;
  batch->weights = groups.weights;
  batch->scale = groups.scale;
  // (A quotient that is not a number is not usual.)
  const I32 usual = groups.usual & (Splat(6.0f) * groups.largest <
                                    Splat(kLargestQuotient) * groups.top);
  batch->active = ~groups.zero & usual & (LaneNumbers() < groups.n);
  batch->failed = ~groups.zero & ~usual;
  batch->top = Select(batch->active, groups.top, Splat(1.0f));

  F32 roots[kSize];
  for (int i = 0; i < kSize; ++i) {
    roots[i] = Sqrt(batch->weights[i]);
  }
  StoreRows<kSize>(batch->x, batch->row_x[0], kSize);
  StoreRows<kSize>(batch->weights, batch->row_weights[0], kSize);
  StoreRows<kSize>(roots, batch->row_roots[0], kSize);
  const F32 high = batch->top / Splat(5 - 0.1f * Type::kSteps - 0.01f);
  const F32 low = batch->top / Splat(5 + 0.1f * Type::kSteps + 0.01f);
  for (int k = 0; k < Batch<Type>::kUnitsHere; ++k) {
    F32 sum_r = {}, sum_rx = {}, sum_rx2 = {};
    for (int i = k * kUnit; i < (k + 1) * kUnit; ++i) {
      const F32 rx = roots[i] * Abs(batch->x[i]);
      sum_r += roots[i];
      sum_rx += rx;
      sum_rx2 += rx * Abs(batch->x[i]);
    }
    Store(MarginOf(sum_r, sum_rx, sum_rx2, high, low), batch->row_margins[k]);
  }
}

// The numbers of all units' levels at all candidates.
template <class Type>
NARROW_LANE_FUNCTION void RoundCandidates(Batch<Type>* batch) {
  using B = Batch<Type>;
  F32 scales[B::kRows];
  F32 numbers[B::kUnitsHere][B::kRows];
  for (int c = 0; c < B::kRows; ++c) {
    const int step = c < B::kCandidates ? c - Type::kSteps : Type::kSteps;
    const F32 inverse = Splat(5 + static_cast<float>(step) * 0.1f) / batch->top;
    scales[c] = Splat(1.0f) / inverse;
    for (int k = 0; k < B::kUnitsHere; ++k) {
      numbers[k][c] = AsFloat(RoundUnit(batch->x + k * kUnit, inverse));
    }
  }
  StoreRows<B::kRows>(scales, batch->row_scales[0], B::kRowSpace);
  for (int k = 0; k < B::kUnitsHere; ++k) {
    StoreRows<B::kRows>(numbers[k],
                        reinterpret_cast<float*>(batch->row_numbers[k][0]),
                        B::kRowSpace);
  }
}

}  // namespace iq2_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ2_GROUP_LANES_H_
