// The IQ2 encoders in lanes.
//
// kLanes groups of weights, neighbours in memory, are encoded together. What
// all groups do alike has a group in every lane: weights, signs, levels at
// each candidate scale, the choice of the best, sums. The search for points
// near levels off the grid has the points of a list in the lanes, group by
// group (near_lanes.h). The sums of the candidates have a candidate in each.
// Lanes keep the plain code's order of operations, so bytes are equal.
//
// Blocks with numbers so large, or so far apart, that the plain code's
// rounding overflows are left to it.

#include <cstdint>

#include "kernels/quant/iq2/block.h"
#include "kernels/quant/iq2/near_lanes.h"
#include "kernels/quant/iq2/near_lists.h"
#include "kernels/quant/k/search_lanes.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq2_lanes {
namespace {

using iq2::kScaleHigh;
using iq2::kSuperBlock;
using iq2::kUnits;
using iq2::StoredBlock;

constexpr int WholeSquares(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Numbers beyond these are left to the plain code: weights (in ggml's sense)
// and squares, whose products with each other must not overflow, and
// quotients of a weight and a scale.
constexpr float kLargest = 0x1p60f;
constexpr float kLargestQuotient = 0x1p20f;

// kLanes groups; some lanes may have none and repeat the first.
template <class Type>
struct Batch {
  static constexpr int kSize = Type::kGroup;
  static constexpr int kUnitsHere = kSize / kUnit;
  static constexpr int kCandidates = 2 * Type::kSteps + 1;
  static constexpr int kRows = WholeSquares(kCandidates);
  // Loads and stores reach up to a vector beyond.
  static constexpr int kRowSpace = kRows + kLanes;

  // A group a lane.
  F32 x[kSize];  // magnitudes; with even signs, one a unit may be negative
  F32 weights[kSize];
  I32 signs[kUnitsHere];
  I32 active;  // lanes whose group is not zero
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
NARROW_LANE_FUNCTION void SplitSigns(Batch<Type>* batch) {
  for (int k = 0; k < Batch<Type>::kUnitsHere; ++k) {
    F32* x = batch->x + k * kUnit;
    const F32* w = batch->weights + k * kUnit;
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
    batch->signs[k] = signs;
  }
}

// Weights, signs and what the candidate scales are steps around.
template <class Type>
NARROW_LANE_FUNCTION void Prepare(const float* weights,
                                  const float* const* importance, int n_groups,
                                  F32 variance, Batch<Type>* batch) {
  constexpr int kSize = Batch<Type>::kSize;
  LoadBlocks<kSize>(weights, kSize, n_groups, batch->x);
  if (importance[0] != nullptr) {
    for (int first = 0; first < kSize; first += kLanes) {
      F32 square[kLanes];
      for (int k = 0; k < kLanes; ++k) {
        square[k] = Load(importance[k] + first);
      }
      Transpose(square);
      for (int k = 0; k < kLanes; ++k) {
        const F32 x = batch->x[first + k];
        batch->weights[first + k] = square[k] * Sqrt(variance + x * x);
      }
    }
  } else {
    for (int i = 0; i < kSize; ++i) {
      batch->weights[i] = Splat(0.25f) * variance + batch->x[i] * batch->x[i];
    }
  }
  F32 largest = {};
  I32 usual = SplatInt(-1);
  F32 roots[kSize];
  for (int i = 0; i < kSize; ++i) {
    usual &= batch->weights[i] < Splat(kLargest);
    largest = Max(Abs(batch->x[i]), largest);
    roots[i] = Sqrt(batch->weights[i]);
  }
  usual &= variance < Splat(kLargest);
  SplitSigns(batch);

  F32 top = batch->x[0];
  for (int i = 1; i < kSize; ++i) {
    top = Max(top, batch->x[i]);
  }
  I32 zero = top < Splat(Type::kZeroLimit);
  if (Type::kSearchesTop) {
    I32 codes[kSize];
    batch->scale =
        k_lanes::SearchUnit<kSize, 4>(batch->x, batch->weights, codes);
    top = batch->scale * Splat(3.0f);
    zero |= top <= F32{};
  } else {
    batch->scale = top / Splat(5.0f);
  }
  // (A quotient that is not a number is not usual.)
  usual &= Splat(6.0f) * largest < Splat(kLargestQuotient) * top;
  batch->active = ~zero & usual;
  batch->failed = ~zero & ~usual;
  batch->top = Select(batch->active, top, Splat(1.0f));

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

// Bit c: row[c] differs from row[c + 1].
template <int kRows>
NARROW_LANE_FUNCTION uint32_t Changes(const int32_t* row) {
  uint32_t bits = 0;
  for (int c = 0; c < kRows; c += kLanes) {
    bits |= LaneBits(LoadInts(row + c) != LoadInts(row + c + 1)) << c;
  }
  return bits;
}

// The words of unit k of the group in `lane`, for all candidates.
template <class Type>
NARROW_LANE_FUNCTION void FindWords(const NearLists& lists, int lane, int k,
                                    Batch<Type>* batch) {
  using B = Batch<Type>;
  const int32_t* numbers = batch->row_numbers[k][lane];
  int32_t* words = batch->row_words[lane][k];
  const UnitView unit = {batch->row_x[lane] + k * kUnit,
                         batch->row_roots[lane] + k * kUnit,
                         batch->row_margins[k][lane]};
  const LineTables tables = MakeTables(unit.x, unit.roots);
  const float* scales = batch->row_scales[lane];
  constexpr uint32_t kLast = 1u << (B::kCandidates - 1);
  uint32_t off_grid = 0;
  int first = 0;
  for (uint32_t ends = (Changes<B::kRows>(numbers) & (kLast - 1)) | kLast;
       ends != 0; ends &= ends - 1) {
    const int last = __builtin_ctz(ends);
    const int32_t entry = lists.entries[numbers[last]];
    if (entry >= 0) {
      const I32 word = SplatInt(entry);
      for (int c = first; c <= last; c += kLanes) {
        StoreInts(word, words + c);
      }
    } else {
      off_grid |= (2u << last) - (1u << first);
      const bool whole = NearThreshold(unit.x, scales[first], scales[last]);
      FindRun(ListAt(lists, whole ? lists.whole_entries[numbers[last]] : entry),
              unit, tables, {scales, first, last}, words);
    }
    first = last + 1;
  }
  batch->off_grid[lane][k] = off_grid;
}

// The set lanes of `value`, side by side.
NARROW_LANE_FUNCTION void StoreChosen(I32 value, uint32_t bits, int32_t* to) {
#if defined(__AVX512F__)
  StoreInts(
      reinterpret_cast<I32>(_mm512_maskz_compress_epi32(
          static_cast<__mmask16>(bits), reinterpret_cast<__m512i>(value))),
      to);
#else
  int32_t all[kLanes];
  StoreInts(value, all);
  for (; bits != 0; bits &= bits - 1) {
    *to++ = all[__builtin_ctz(bits)];
  }
#endif
}

// Words of units 2 * pair and 2 * pair + 1 at candidates c and following.
template <class Type>
NARROW_LANE_FUNCTION I32 WordPair(const Batch<Type>& batch, int lane, int pair,
                                  int c) {
  return LoadInts(batch.row_words[lane][2 * pair] + c) |
         LoadInts(batch.row_words[lane][2 * pair + 1] + c) << 16;
}

// Sums of a pair of units for the candidates in the lanes.
template <class Type>
NARROW_LANE_FUNCTION void AddPair(const Batch<Type>& batch, int lane, int pair,
                                  I32 words, F32* sum_qx, F32* sum_q2) {
  const F32 odds = Odds(0);
  U32 left = AsUint(words);
#pragma GCC unroll 16
  for (int i = 2 * pair * kUnit; i < (2 * pair + 2) * kUnit; ++i) {
    const F32 q = Lookup(odds, reinterpret_cast<I32>(left));
    const F32 w = Splat(batch.row_weights[lane][i]);
    *sum_qx += w * Splat(batch.row_x[lane][i]) * q;
    *sum_q2 += w * q * q;
    left >>= 2;
  }
}

// How well the candidates of a lane fit. Candidates that chose as the one
// before are left out where that saves sums.
template <class Type>
NARROW_LANE_FUNCTION void SumCandidates(int lane, Batch<Type>* batch) {
  using B = Batch<Type>;
  constexpr int kPairs = B::kUnitsHere / 2;
  int n = B::kCandidates;
  if constexpr (kPairs == 1) {
    constexpr uint32_t kLast = 1u << (B::kCandidates - 1);
    const int32_t(*words)[B::kRowSpace] = batch->row_words[lane];
    const uint32_t* off = batch->off_grid[lane];
    const uint32_t differs =
        Changes<B::kRows>(words[0]) | Changes<B::kRows>(words[1]) |
        (off[0] ^ (off[0] >> 1)) | (off[1] ^ (off[1] >> 1));
    const uint32_t chosen = (differs & (kLast - 1)) | kLast;
    n = 0;
    int32_t pairs[B::kRowSpace];
    for (int c = 0; c < B::kRows; c += kLanes) {
      const uint32_t bits = (chosen >> c) & ((1u << kLanes) - 1);
      StoreChosen(WordPair(*batch, lane, 0, c), bits, pairs + n);
      StoreChosen(LaneNumbers() + c, bits, batch->choices[lane] + n);
      n += __builtin_popcount(bits);
    }
    for (int c = 0; c < n; c += kLanes) {
      F32 sum_qx = {}, sum_q2 = {};
      AddPair(*batch, lane, 0, LoadInts(pairs + c), &sum_qx, &sum_q2);
      const I32 present = LaneNumbers() < n - c;
      Store(sum_qx, batch->sums_qx[lane] + c);
      Store(Select(present, sum_q2, F32{}), batch->sums_q2[lane] + c);
    }
  } else {
    for (int c = 0; c < n; c += kLanes) {
      F32 sum_qx = {}, sum_q2 = {};
      for (int pair = 0; pair < kPairs; ++pair) {
        AddPair(*batch, lane, pair, WordPair(*batch, lane, pair, c), &sum_qx,
                &sum_q2);
      }
      Store(sum_qx, batch->sums_qx[lane] + c);
      Store(sum_q2, batch->sums_q2[lane] + c);
    }
  }
  batch->n_choices[lane] = n;
}

// The first candidate that none fits better than: its scale, words and, as a
// bit a unit, what was off the grid.
template <class Type>
NARROW_LANE_FUNCTION void ChooseBest(Batch<Type>* batch, uint8_t* off_grid) {
  using B = Batch<Type>;
  int n = 0;
  for (int k = 0; k < kLanes; ++k) {
    n = batch->n_choices[k] > n ? batch->n_choices[k] : n;
  }
  F32 best_score = {};
  I32 best = SplatInt(-1);
  for (int c = 0; c < n; c += kLanes) {
    F32 qx[kLanes], q2[kLanes];
    for (int k = 0; k < kLanes; ++k) {
      const bool present = c < batch->n_choices[k];
      qx[k] = present ? Load(batch->sums_qx[k] + c) : F32{};
      q2[k] = present ? Load(batch->sums_q2[k] + c) : F32{};
    }
    Transpose(qx);
    Transpose(q2);
    for (int k = 0; k < kLanes && c + k < n; ++k) {
      const I32 better = (q2[k] > F32{}) & (qx[k] * qx[k] > best_score * q2[k]);
      const F32 scale = qx[k] / q2[k];
      batch->scale = Select(better, scale, batch->scale);
      best_score = Select(better, scale * qx[k], best_score);
      best = SelectInt(better, SplatInt(c + k), best);
    }
  }
  alignas(64) int32_t words[B::kUnitsHere][kLanes] = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    off_grid[lane] = 0;
    const int choice = best[lane];
    if (choice >= 0) {
      const int c = B::kUnitsHere == 2 ? batch->choices[lane][choice] : choice;
      for (int k = 0; k < B::kUnitsHere; ++k) {
        words[k][lane] = batch->row_words[lane][k][c];
        off_grid[lane] |= ((batch->off_grid[lane][k] >> c) & 1) << k;
      }
    }
  }
  for (int k = 0; k < B::kUnitsHere; ++k) {
    batch->words[k] = LoadInts(words[k]);
  }
}

// Chooses the points off the grid (or all) once more under the scale found.
template <class Type>
NARROW_LANE_FUNCTION void ChooseAgain(const NearLists& lists,
                                      const uint8_t* off_grid,
                                      Batch<Type>* batch) {
  using B = Batch<Type>;
  const I32 positive = batch->active & (batch->scale > F32{});
  const F32 scale = Select(positive, batch->scale, Splat(1.0f));
  const F32 inverse = Splat(1.0f) / scale;
  F32 largest = {};
  for (int i = 0; i < B::kSize; ++i) {
    largest = Max(Abs(batch->x[i]), largest);
  }
  const I32 usual = largest * inverse < Splat(kLargestQuotient);
  batch->failed |= batch->active & ~usual;
  const uint32_t open = LaneBits(positive & usual);
  alignas(64) int32_t words[B::kUnitsHere][kLanes];
  alignas(64) int32_t numbers[B::kUnitsHere][kLanes];
  for (int k = 0; k < B::kUnitsHere; ++k) {
    StoreInts(batch->words[k], words[k]);
    StoreInts(RoundUnit(batch->x + k * kUnit, inverse), numbers[k]);
  }
  alignas(64) int32_t again[kLanes] = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    if (((open >> lane) & 1) == 0) {
      continue;
    }
    for (int k = 0; k < B::kUnitsHere; ++k) {
      if (!Type::kSearchesTop && ((off_grid[lane] >> k) & 1) == 0) {
        continue;
      }
      again[lane] = -1;
      const int32_t entry = lists.entries[numbers[k][lane]];
      if (entry >= 0) {
        words[k][lane] = entry;
        continue;
      }
      const UnitView unit = {batch->row_x[lane] + k * kUnit,
                             batch->row_roots[lane] + k * kUnit, 0};
      const bool whole = NearThreshold(unit.x, scale[lane], scale[lane]);
      const List list =
          ListAt(lists, whole ? lists.whole_entries[numbers[k][lane]] : entry);
      words[k][lane] = list.words[ExactlyNearest(list, unit, scale[lane])];
    }
  }
  F32 sum_qx = {}, sum_q2 = {};
  for (int k = 0; k < B::kUnitsHere; ++k) {
    batch->words[k] = LoadInts(words[k]);
    for (int i = 0; i < kUnit; ++i) {
      const F32 q = ToFloat((((batch->words[k] >> (2 * i)) & 3) << 1) + 1);
      const F32 w = batch->weights[k * kUnit + i];
      sum_qx += w * batch->x[k * kUnit + i] * q;
      sum_q2 += w * q * q;
    }
  }
  batch->scale =
      Select(LoadInts(again) & (sum_q2 > F32{}), sum_qx / sum_q2, batch->scale);
}

// What the batches of a few blocks give, group by group.
struct Fits {
  alignas(64) float scales[kLanes * iq2::kMaxGroups];
  alignas(64) int32_t failed[kLanes * iq2::kMaxGroups];
  uint16_t words[kLanes * kUnits];
  uint8_t signs[kLanes * kUnits];
};

// Groups first … first + n_groups - 1 of `fits`.
template <class Type>
void FitBatch(const NearLists& lists, const float* weights,
              const float* const* importance, int n_groups, F32 variance,
              int first, Fits* fits) {
  using B = Batch<Type>;
  B batch;
  Prepare(weights, importance, n_groups, variance, &batch);
  RoundCandidates(&batch);
  const uint32_t active = LaneBits(batch.active & (LaneNumbers() < n_groups));
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((active >> lane) & 1) {
      for (int k = 0; k < B::kUnitsHere; ++k) {
        FindWords(lists, lane, k, &batch);
      }
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    batch.n_choices[lane] = 0;
    if ((active >> lane) & 1) {
      SumCandidates(lane, &batch);
    }
  }
  uint8_t off_grid[kLanes];
  ChooseBest(&batch, off_grid);
  ChooseAgain(lists, off_grid, &batch);

  const I32 turned = batch.scale < F32{};
  batch.failed |= batch.active & ~(Abs(batch.scale) < Splat(kLargest));
  Store(Select(batch.active, Abs(batch.scale), F32{}), fits->scales + first);
  StoreInts(batch.failed, fits->failed + first);
  for (int k = 0; k < B::kUnitsHere; ++k) {
    const I32 words = batch.words[k] & batch.active;
    const I32 signs = (batch.signs[k] ^ (turned & 255)) & batch.active;
    for (int lane = 0; lane < n_groups; ++lane) {
      const int unit = (first + lane) * B::kUnitsHere + k;
      fits->words[unit] = static_cast<uint16_t>(words[lane]);
      fits->signs[unit] = static_cast<uint8_t>(signs[lane]);
    }
  }
}

// Block b of `fits` to bytes; false: it is one for the plain code.
template <class Type>
NARROW_LANE_FUNCTION bool StoreFit(const NearLists& lists, const Fits& fits,
                                   int b, uint8_t* bytes) {
  constexpr int kGroups = kSuperBlock / Type::kGroup;
  float top = 0;
  int failed = 0;
  for (int g = b * kGroups; g < (b + 1) * kGroups; ++g) {
    top = top > fits.scales[g] ? top : fits.scales[g];
    failed |= fits.failed[g];
  }
  const float d = top / 31;
  const float inverse = 1 / d;
  if (failed != 0 || (top > 0 && !(inverse < 0x1p126f))) {
    return false;
  }
  StoredBlock block = {};
  if (top > 0) {
    block.d =
        static_cast<uint16_t>(F16FromFloat(Splat(d * Type::kScaleShare))[0]);
    uint8_t scales[WholeSquares(iq2::kMaxGroups)];
    for (int g = 0; g < kGroups; g += kLanes) {
      const F32 scale = Load(fits.scales + b * kGroups + g);
      const I32 rounded =
          RoundToInt(Splat(0.5f) * (Splat(inverse) * scale - Splat(1.0f)));
      StoreBytes(ClampInt(rounded, 0, kScaleHigh), scales + g);
    }
    for (int g = 0; g < kGroups; ++g) {
      block.scales[g] = scales[g];
    }
  }
  // Without any scale, free signs and their points are kept all the same.
  if (top > 0 || !Type::kEvenSigns) {
    for (int u = 0; u < kUnits; ++u) {
      const uint16_t word = fits.words[b * kUnits + u];
      block.points[u] = lists.points[lists.numbers4[word & 255] +
                                     81 * lists.numbers4[word >> 8]];
      block.signs[u] = fits.signs[b * kUnits + u];
    }
  }
  StoreBlock(Type(), block, bytes);
  return true;
}

// The mean squares of kLanes blocks, times the type's factor.
template <class Type>
NARROW_LANE_FUNCTION F32 Variances(const float* weights, int n_blocks) {
  F32 sum = {};
  for (int first = 0; first < kSuperBlock; first += kLanes) {
    F32 x[kLanes];
    LoadBlocks<kLanes>(weights + first, kSuperBlock, n_blocks, x);
    for (int i = 0; i < kLanes; ++i) {
      sum += x[i] * x[i];
    }
  }
  return Splat(Type::kVarianceFactor) * sum / Splat(kSuperBlock);
}

// `n_blocks` <= kLanes blocks.
template <class Type>
void EncodeBlocks(const NearLists& lists, const float* weights, int n_blocks,
                  const float* importance, int64_t col, int64_t n_cols,
                  uint8_t* bytes) {
  constexpr int kGroups = kSuperBlock / Type::kGroup;
  alignas(64) float variances[kLanes];
  Store(Variances<Type>(weights, n_blocks), variances);
  Fits fits;
  const float* block_importance[kLanes] = {};
  if (importance != nullptr) {
    for (int b = 0; b < n_blocks; ++b) {
      block_importance[b] = importance + col;
      col = col + kSuperBlock == n_cols ? 0 : col + kSuperBlock;
    }
  }
  for (int first = 0; first < n_blocks * kGroups; first += kLanes) {
    const int left = n_blocks * kGroups - first;
    const int n_groups = left < kLanes ? left : kLanes;
    alignas(64) float variance[kLanes];
    const float* group_importance[kLanes];
    for (int k = 0; k < kLanes; ++k) {
      const int g = first + (k < n_groups ? k : 0);
      variance[k] = variances[g / kGroups];
      group_importance[k] =
          importance == nullptr
              ? nullptr
              : block_importance[g / kGroups] + g % kGroups * Type::kGroup;
    }
    FitBatch<Type>(lists, weights + first * Type::kGroup, group_importance,
                   n_groups, Load(variance), first, &fits);
  }
  for (int b = 0; b < n_blocks; ++b) {
    if (!StoreFit<Type>(lists, fits, b, bytes + b * Type::kBytes)) {
      EncodePlainly(Type(), weights + b * kSuperBlock, block_importance[b],
                    bytes + b * Type::kBytes);
    }
  }
}

template <class Type>
void EncodeRows(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  const NearLists& lists = ListsOf(Type());
  const int64_t n_blocks = n_rows * (n_cols / kSuperBlock);
  for (int64_t b = 0; b < n_blocks; b += kLanes) {
    const int64_t left = n_blocks - b;
    EncodeBlocks<Type>(lists, weights + b * kSuperBlock,
                       left < kLanes ? static_cast<int>(left) : kLanes,
                       importance, b * kSuperBlock % n_cols, n_cols,
                       bytes + b * Type::kBytes);
  }
}

}  // namespace
}  // namespace iq2_lanes

void EncodeIQ2_XXS(const float* weights, int64_t n_rows, int64_t n_cols,
                   const float* importance, uint8_t* bytes) {
  iq2_lanes::EncodeRows<iq2::Iq2Xxs>(weights, n_rows, n_cols, importance,
                                     bytes);
}

void EncodeIQ2_XS(const float* weights, int64_t n_rows, int64_t n_cols,
                  const float* importance, uint8_t* bytes) {
  iq2_lanes::EncodeRows<iq2::Iq2Xs>(weights, n_rows, n_cols, importance, bytes);
}

void EncodeIQ2_S(const float* weights, int64_t n_rows, int64_t n_cols,
                 const float* importance, uint8_t* bytes) {
  iq2_lanes::EncodeRows<iq2::Iq2S>(weights, n_rows, n_cols, importance, bytes);
}

}  // namespace NARROW_SIMD
}  // namespace narrow
