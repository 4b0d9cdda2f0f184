// The nearest points of a unit for a whole run of scales, with the points of
// a list in the lanes.
//
// ggml seeks, for each candidate scale s, the point of least distance
//
//   D(s) = sum of r_i (s q_i - x_i)²       q: 1, 3 or 5, r: roots of weights
//        = A s² - 2 B s + C,  A = sum of r q²,  B = sum of r q x.
//
// C is the same for all points, so D decides as f(s) = A s - 2 B does: each
// point is a straight line. A and B are sums over the coordinates of what
// depends on one level, so they come of small tables held in registers, once
// for all candidates that round to the same levels, and so share a list.
//
// The difference of two lines is a line: a point that lies below another at
// both ends of the run does so everywhere between. So a point that wins at
// both ends wins the run, as far as ggml's float sums tell the points apart.
// They do if the lines differ by more than a margin at the ends, for their
// errors are at most 13 u M each, u = 2^-24, M = sum of r (5 s + |x|)²: 6 u of
// a term for its own roundings, 7 u for the additions. Those of f(s) are at
// most 12 u M / s. MarginOf gives 64 u M / s, which is more than twice their
// sum, and a little for numbers near the least of all floats. Points within
// the margin are compared in ggml's own order of operations.

#ifndef NARROW_KERNELS_QUANT_IQ2_NEAR_LANES_H_
#define NARROW_KERNELS_QUANT_IQ2_NEAR_LANES_H_

#include <cstdint>

#include "kernels/quant/iq2/near_lists.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq2_lanes {

using iq2::kLengthBits;
using iq2::kLevels;
using iq2::kListStep;
using iq2::kMaxList;
using iq2::kUnit;
using iq2::NearLists;

// Coordinates that one look-up covers: their two bits each are the index.
inline constexpr int kFields = kLanes == 16 ? 2 : 1;
inline constexpr int kTables = kUnit / kFields;

// Entry index % kLanes of a table.
NARROW_LANE_FUNCTION F32 Lookup(F32 table, I32 index) {
#if defined(__AVX512F__)
  return _mm512_maskz_permutexvar_ps(0xffff, reinterpret_cast<__m512i>(index),
                                     table);
#else
  return _mm256_permutevar8x32_ps(table, reinterpret_cast<__m256i>(index));
#endif
}

// kLanes 16-bit numbers.
NARROW_LANE_FUNCTION I32 LoadHalves(const uint16_t* from) {
#if defined(__AVX512F__)
  return reinterpret_cast<I32>(_mm512_maskz_cvtepu16_epi32(
      0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#else
  return reinterpret_cast<I32>(_mm256_cvtepu16_epi32(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#endif
}

// Bit k: whether lane k of a is at most that of b. (GCC 12 makes a vector of
// the comparison's mask first if asked in the generic way.)
NARROW_LANE_FUNCTION uint32_t BitsAtMost(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
#else
  return static_cast<uint32_t>(
      _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LE_OQ)));
#endif
}

// The least lanes of a and of b, in lanes 0 and 1.
NARROW_LANE_FUNCTION __m128 LeastLanes(F32 a, F32 b) {
#if defined(__AVX512F__)
  const __m256 half_a = _mm256_min_ps(_mm512_maskz_extractf32x8_ps(0xff, a, 0),
                                      _mm512_maskz_extractf32x8_ps(0xff, a, 1));
  const __m256 half_b = _mm256_min_ps(_mm512_maskz_extractf32x8_ps(0xff, b, 0),
                                      _mm512_maskz_extractf32x8_ps(0xff, b, 1));
#else
  const __m256 half_a = a;
  const __m256 half_b = b;
#endif
  const __m128 four_a = _mm_min_ps(_mm256_castps256_ps128(half_a),
                                   _mm256_extractf128_ps(half_a, 1));
  const __m128 four_b = _mm_min_ps(_mm256_castps256_ps128(half_b),
                                   _mm256_extractf128_ps(half_b, 1));
  const __m128 both = _mm_min_ps(_mm_unpacklo_ps(four_a, four_b),
                                 _mm_unpackhi_ps(four_a, four_b));
  return _mm_min_ps(both, _mm_movehl_ps(both, both));
}

NARROW_LANE_FUNCTION float LeastLane(F32 value) {
  return LeastLanes(value, value)[0];
}

// 1, 3 or 5 of the level in the index's field.
NARROW_LANE_FUNCTION F32 Odds(int field) {
  return ToFloat(((LaneNumbers() >> (2 * field)) & 3) * 2 + 1);
}

// A and 2 B of a list's points, by levels. What fills a list up has a fourth
// level, and its line lies far above.
struct LineTables {
  F32 slope[kTables];
  F32 drop[kTables];
};

NARROW_LANE_FUNCTION LineTables MakeTables(const float* x, const float* roots) {
  LineTables tables;
#pragma GCC unroll 8
  for (int t = 0; t < kTables; ++t) {
#pragma GCC unroll 2
    for (int field = 0; field < kFields; ++field) {
      const F32 q = Odds(field);
      const int i = t * kFields + field;
      const F32 rq = Splat(roots[i]) * q;
      const F32 slope = rq * q;
      const F32 drop = rq * Splat(2 * x[i]);
      tables.slope[t] = field == 0 ? slope : tables.slope[t] + slope;
      tables.drop[t] = field == 0 ? drop : tables.drop[t] + drop;
    }
  }
  tables.drop[0] =
      Select((LaneNumbers() & 3) == 3, Splat(-0x1p120f), tables.drop[0]);
  return tables;
}

// What ggml may confuse, see above. Lanes are units: sums of r, r |x|, r x²;
// `high`, `low`: the range of scales.
NARROW_LANE_FUNCTION F32 MarginOf(F32 sum_r, F32 sum_rx, F32 sum_rx2, F32 high,
                                  F32 low) {
  const F32 tiny = Splat(0x1p-120f);
  return Splat(0x1p-18f) *
         (Splat(25.0f) * high * sum_r + Splat(10.0f) * sum_rx +
          (sum_rx2 + tiny) / low + tiny);
}

// More points than this for each scale are compared with points in the lanes,
// fewer with scales.
inline constexpr int kManyPoints = 2;

// One unit: eight numbers each, and its margin.
struct UnitView {
  const float* x;
  const float* roots;
  float margin;
};

struct List {
  const uint16_t* words;
  int size;
};

NARROW_LANE_FUNCTION List ListAt(const NearLists& lists, int32_t entry) {
  const uint32_t bits = static_cast<uint32_t>(entry) & 0x7fffffff;
  return {lists.words + (bits >> kLengthBits) * kListStep,
          static_cast<int>(bits & ((1 << kLengthBits) - 1))};
}

// The place of the nearest point in ggml's own arithmetic: the first of the
// least. REQUIRES: distances below FLT_MAX.
inline __attribute__((noinline)) int ExactlyNearest(const List& list,
                                                    const UnitView& unit,
                                                    float scale) {
  F32 shares[kUnit];
  for (int i = 0; i < kUnit; ++i) {
    const F32 miss = Splat(scale) * Odds(0) - Splat(unit.x[i]);
    shares[i] = Splat(unit.roots[i]) * miss * miss;
  }
  // Levels are two bits and a look-up takes four: repeated by Odds, which
  // looks at the low field alone.
  F32 least = Splat(__FLT_MAX__);
  F32 place = {};
  for (int first = 0; first < list.size; first += kLanes) {
    U32 words = AsUint(LoadHalves(list.words + first));
    F32 distance = {};
#pragma GCC unroll 8
    for (int i = 0; i < kUnit; ++i, words >>= 2) {
      distance += Lookup(shares[i], reinterpret_cast<I32>(words & 3));
    }
    const I32 here = LaneNumbers() + first;
    const I32 better = (distance < least) & (here < list.size);
    least = Select(better, distance, least);
    place = Select(better, ToFloat(here), place);
  }
  const I32 nearest = least == Splat(LeastLane(least));
  return static_cast<int>(
      LeastLane(Select(nearest, place, Splat(static_cast<float>(kMaxList)))));
}

// Lines of a list.
struct Lines {
  alignas(64) float slope[kMaxList];
  alignas(64) float drop[kMaxList];
};

NARROW_LANE_FUNCTION F32 HeightAt(F32 slope, F32 drop, F32 scale) {
#if defined(__AVX512F__)
  return _mm512_maskz_fmsub_ps(0xffff, slope, scale, drop);
#else
  return _mm256_fmsub_ps(slope, scale, drop);
#endif
}

NARROW_LANE_FUNCTION F32 LookupAll(const F32* tables, I32 levels) {
  F32 pairs[kTables / 2];
#pragma GCC unroll 4
  for (int t = 0; t < kTables; t += 2) {
    const U32 even = AsUint(levels) >> (2 * kFields * t);
    pairs[t / 2] =
        Lookup(tables[t], reinterpret_cast<I32>(even)) +
        Lookup(tables[t + 1], reinterpret_cast<I32>(even >> (2 * kFields)));
  }
  F32 sum = pairs[0] + pairs[1];
  if constexpr (kTables == 8) {
    sum += pairs[2] + pairs[3];
  }
  return sum;
}

// The lines of kLanes points.
NARROW_LANE_FUNCTION void FindLines(const LineTables& tables,
                                    const uint16_t* words, F32* slope,
                                    F32* drop) {
  const I32 levels = LoadHalves(words);
  *slope = LookupAll(tables.slope, levels);
  *drop = LookupAll(tables.drop, levels);
}

// A run of candidates whose levels are the same.
struct Run {
  const float* scales;
  int first, last;
};

// Points of a list that may be the nearest, in its order. Beyond the last,
// the first is repeated.
struct Few {
  int size;
  int32_t words[kMaxList + 2 * kLanes];
};

// Point p is left out if it lies more than the margin above the lowest one at
// the first scale, b, and at the last, e, and above both at a place between.
// Then it lies above b from the first to that place, and above e from there
// on. (Any place will do; where b and e cross leaves out most.)
NARROW_LANE_FUNCTION void FindFew(const List& list, const UnitView& unit,
                                  const Lines& lines, const Run& run,
                                  float least_first, float least_last,
                                  Few* few) {
  const float first = run.scales[run.first];
  const float last = run.scales[run.last];
  int begin = 0;
  int end = 0;
  for (int i = (list.size - 1) / kLanes * kLanes; i >= 0; i -= kLanes) {
    const F32 slope = Load(lines.slope + i);
    const F32 drop = Load(lines.drop + i);
    const uint32_t at_first =
        BitsAtMost(HeightAt(slope, drop, Splat(first)), Splat(least_first));
    const uint32_t at_last =
        BitsAtMost(HeightAt(slope, drop, Splat(last)), Splat(least_last));
    begin = at_first != 0 ? i + __builtin_ctz(at_first) : begin;
    end = at_last != 0 ? i + __builtin_ctz(at_last) : end;
  }
  float between = (lines.drop[begin] - lines.drop[end]) /
                  (lines.slope[begin] - lines.slope[end]);
  between = between < first ? between : first;
  between = between > last ? between : last;
  const float height = between * lines.slope[begin] - lines.drop[begin];
  const float other = between * lines.slope[end] - lines.drop[end];
  const F32 limit_first = Splat(least_first + unit.margin);
  const F32 limit_last = Splat(least_last + unit.margin);
  const F32 limit_between =
      Splat((height > other ? height : other) + 1.25f * unit.margin);
  few->size = 0;
  for (int i = 0; i < list.size; i += kLanes) {
    const F32 slope = Load(lines.slope + i);
    const F32 drop = Load(lines.drop + i);
    uint32_t near =
        BitsAtMost(HeightAt(slope, drop, Splat(first)), limit_first) |
        BitsAtMost(HeightAt(slope, drop, Splat(last)), limit_last) |
        BitsAtMost(HeightAt(slope, drop, Splat(between)), limit_between);
#if defined(__AVX512F__)
    const __m512i words = reinterpret_cast<__m512i>(LoadHalves(list.words + i));
    StoreInts(reinterpret_cast<I32>(_mm512_maskz_compress_epi32(
                  static_cast<__mmask16>(near), words)),
              few->words + few->size);
    few->size += __builtin_popcount(near);
#else
    for (; near != 0; near &= near - 1) {
      few->words[few->size++] = list.words[i + __builtin_ctz(near)];
    }
#endif
  }
  StoreInts(SplatInt(few->words[0]), few->words + few->size);
}

// The nearest of a few points in ggml's arithmetic, scales in the lanes.
NARROW_LANE_FUNCTION I32 ExactlyNearestOf(const Few& few, const UnitView& unit,
                                          F32 scale) {
  const F32 levels[4] = {scale, scale * Splat(3.0f), scale * Splat(5.0f)};
  F32 least = Splat(__builtin_inff());
  I32 nearest = {};
  // Several at a time: a loop's end that cannot be foreseen costs more.
  constexpr int kAtOnce = kLanes / 4;
  for (int first = 0; first < few.size; first += kAtOnce) {
#pragma GCC unroll 4
    for (int j = first; j < first + kAtOnce; ++j) {
      const uint32_t word = static_cast<uint32_t>(few.words[j]);
      F32 distance = {};
#pragma GCC unroll 8
      for (int i = 0; i < kUnit; ++i) {
        const F32 miss = levels[word >> (2 * i) & 3] - Splat(unit.x[i]);
        distance += Splat(unit.roots[i]) * miss * miss;
      }
      const I32 closer = distance < least;
      least = Select(closer, distance, least);
      nearest =
          SelectInt(closer, SplatInt(static_cast<int32_t>(word)), nearest);
    }
  }
  return nearest;
}

// Words of the nearest points for a run of which the lines alone do not tell
// them.
inline __attribute__((noinline)) void Resolve(
    const List& list, const UnitView& unit, const Lines& lines, const Run& run,
    float least_first, float least_last, int32_t* words) {
  Few few;
  FindFew(list, unit, lines, run, least_first, least_last, &few);
  if (few.size == 1) {
    for (int c = run.first; c <= run.last; c += kLanes) {
      StoreInts(SplatInt(few.words[0]), words + c);
    }
    return;
  }
  const int n_scales = run.last - run.first + 1;
  if (few.size > kManyPoints * n_scales && list.size <= kListStep) {
    for (int c = run.first; c <= run.last; ++c) {
      words[c] = list.words[ExactlyNearest(list, unit, run.scales[c])];
    }
    return;
  }
  for (int c = run.first; c <= run.last; c += kLanes) {
    StoreInts(ExactlyNearestOf(few, unit, Load(run.scales + c)), words + c);
  }
}

// Words of the nearest points for a run, from a list that is longer than a
// step.
inline __attribute__((noinline)) void FindRunOfLong(const List& list,
                                                    const UnitView& unit,
                                                    const LineTables& tables,
                                                    const Run& run,
                                                    int32_t* words) {
  const F32 first = Splat(run.scales[run.first]);
  const F32 last = Splat(run.scales[run.last]);
  Lines lines;
  F32 least_first = Splat(__FLT_MAX__);
  F32 least_last = least_first;
  for (int i = 0; i < list.size; i += kLanes) {
    F32 slope, drop;
    FindLines(tables, list.words + i, &slope, &drop);
    Store(slope, lines.slope + i);
    Store(drop, lines.drop + i);
    least_first = Min(least_first, HeightAt(slope, drop, first));
    least_last = Min(least_last, HeightAt(slope, drop, last));
  }
  const __m128 least = LeastLanes(least_first, least_last);
  Resolve(list, unit, lines, run, least[0], least[1], words);
}

// Vectors of a step.
inline constexpr int kWays = kListStep / kLanes;

struct Step {
  F32 slope[kWays];
  F32 drop[kWays];

  // Bit k: whether line k is at most at a height.
  NARROW_LANE_FUNCTION uint32_t Below(const F32* heights, float limit) const {
    uint32_t bits = 0;
#pragma GCC unroll 2
    for (int way = 0; way < kWays; ++way) {
      bits |= BitsAtMost(heights[way], Splat(limit)) << (way * kLanes);
    }
    return bits;
  }
  NARROW_LANE_FUNCTION void Heights(float scale, F32* heights) const {
#pragma GCC unroll 2
    for (int way = 0; way < kWays; ++way) {
      heights[way] = HeightAt(slope[way], drop[way], Splat(scale));
    }
  }
};

// Words of the nearest points for all scales of a run. Up to kLanes words
// beyond the last are overwritten. For lists of one step, as most are, there
// is no branch that depends on the lines but to the rare hard cases: a wrong
// guess would wait for all of this.
NARROW_LANE_FUNCTION void FindRun(const List& list, const UnitView& unit,
                                  const LineTables& tables, const Run& run,
                                  int32_t* words) {
  if (list.size > kListStep) {
    FindRunOfLong(list, unit, tables, run, words);
    return;
  }
  const float first = run.scales[run.first];
  const float last = run.scales[run.last];
  Step step;
  Lines lines;
#pragma GCC unroll 2
  for (int way = 0; way < kWays; ++way) {
    FindLines(tables, list.words + way * kLanes, step.slope + way,
              step.drop + way);
    Store(step.slope[way], lines.slope + way * kLanes);
    Store(step.drop[way], lines.drop + way * kLanes);
  }
  F32 at_first[kWays], at_last[kWays], at_crossing[kWays];
  step.Heights(first, at_first);
  step.Heights(last, at_last);
  const __m128 least = LeastLanes(Min(at_first[0], at_first[kWays - 1]),
                                  Min(at_last[0], at_last[kWays - 1]));
  const uint32_t near_first = step.Below(at_first, least[0] + unit.margin);
  const uint32_t near_last = step.Below(at_last, least[1] + unit.margin);
  // (Bit 15 is there for numbers that are not.)
  const int begin = __builtin_ctz(near_first | 1 << 15);
  const int end = __builtin_ctz(near_last | 1 << 15);

  // Where one point, `begin`, is lowest at the first scale and another, `end`,
  // at the last, they cross in between, and if no third line passes below that
  // crossing, none does anywhere in the run. Twice the margin's errors are in
  // the difference and in the crossing.
  const float margin = 1.25f * unit.margin;
  const float slope = lines.slope[begin] - lines.slope[end];
  const float drop = lines.drop[begin] - lines.drop[end];
  const float crossing = drop / slope;
  const float height = crossing * lines.slope[begin] - lines.drop[begin];
  const float other = crossing * lines.slope[end] - lines.drop[end];
  step.Heights(crossing, at_crossing);
  const uint32_t near_crossing =
      step.Below(at_crossing, (height > other ? height : other) + margin);
  const I32 begin_word = SplatInt(list.words[begin]);
  const I32 end_word = SplatInt(list.words[end]);
  uint32_t unsure = 0;
  for (int c = run.first; c <= run.last; c += kLanes) {
    const F32 above = HeightAt(Splat(slope), Splat(drop), Load(run.scales + c));
    StoreInts(SelectInt(above < F32{}, begin_word, end_word), words + c);
    const uint32_t inside = (2u << (run.last - c < 31 ? run.last - c : 30)) - 1;
    unsure |= BitsAtMost(Abs(above), Splat(margin)) & inside;
  }
  const bool crossed = static_cast<int>(crossing < first) &
                       static_cast<int>(crossing > last) &
                       static_cast<int>(unsure == 0) &
                       static_cast<int>(__builtin_popcount(near_crossing) == 2);
  const bool sure =
      static_cast<int>((near_first & (near_first - 1)) == 0) &
      static_cast<int>((near_last & (near_last - 1)) == 0) &
      static_cast<int>((near_first != 0) & (near_last != 0)) &
      (static_cast<int>(begin == end) | static_cast<int>(crossed));
  if (!sure) {
    Resolve(list, unit, lines, run, least[0], least[1], words);
  }
}

// Whether a weight lies so near to 2 or 4 scales that rounding decides on
// which side; at either of two scales.
NARROW_LANE_FUNCTION bool NearThreshold(const float* x, float a, float b) {
#if defined(__AVX512F__)
  const __m512 half = _mm512_maskz_broadcast_f32x8(0xffff, _mm256_loadu_ps(x));
  const F32 scale = _mm512_mask_blend_ps(0xff, Splat(a), Splat(b));
  return BitsAtMost(Abs(Abs(half - scale * Splat(3.0f)) - scale),
                    scale * Splat(0x1p-14f)) != 0;
#else
  const F32 all = Load(x);
  return Any((Abs(Abs(all - Splat(3 * a)) - Splat(a)) < Splat(a * 0x1p-14f)) |
             (Abs(Abs(all - Splat(3 * b)) - Splat(b)) < Splat(b * 0x1p-14f)));
#endif
}

}  // namespace iq2_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ2_NEAR_LANES_H_
