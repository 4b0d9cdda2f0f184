// The search of groups in lanes for their scale and points: the points of each
// candidate scale, the candidate that fits best, and its points once more.

#ifndef NARROW_KERNELS_QUANT_IQ2_CHOICE_LANES_H_
#define NARROW_KERNELS_QUANT_IQ2_CHOICE_LANES_H_

#include <cstdint>

#include "kernels/quant/iq2/group_lanes.h"
#include "kernels/quant/iq2/near_lanes.h"
#include "kernels/quant/iq2/near_lists.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq2_lanes {

// Bit c: row[c] differs from row[c + 1].
template <int kRows>
NARROW_LANE_FUNCTION uint32_t Changes(const int32_t* row) {
  uint32_t bits = 0;
  for (int c = 0; c < kRows; c += kLanes) {
    const I32 here = LoadInts(row + c);
    const I32 next = LoadInts(row + c + 1);
#if defined(__AVX512F__)
    const uint32_t differ = _mm512_cmpneq_epi32_mask(
        reinterpret_cast<__m512i>(here), reinterpret_cast<__m512i>(next));
#else
    const uint32_t differ = LaneBits(here != next);
#endif
    bits |= differ << c;
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

}  // namespace iq2_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ2_CHOICE_LANES_H_
