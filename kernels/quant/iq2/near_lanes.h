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

NARROW_LANE_FUNCTION float LeastLane(F32 value) {
#if defined(__AVX512F__)
  const __m256 half =
      _mm256_min_ps(_mm512_maskz_extractf32x8_ps(0xff, value, 0),
                    _mm512_maskz_extractf32x8_ps(0xff, value, 1));
#else
  const __m256 half = value;
#endif
  __m128 least =
      _mm_min_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  least = _mm_min_ps(least, _mm_movehl_ps(least, least));
  least = _mm_min_ps(least, _mm_movehdup_ps(least));
  return least[0];
}

// 1, 3 or 5 of the level in the index's field.
NARROW_LANE_FUNCTION F32 Odds(int field) {
  return ToFloat(((LaneNumbers() >> (2 * field)) & 3) * 2 + 1);
}

// A and 2 B of a list's points, by levels.
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
  I32 place = {};
  for (int first = 0; first < list.size; first += kLanes) {
    I32 words = LoadHalves(list.words + first);
    F32 distance = {};
    for (int i = 0; i < kUnit; ++i, words >>= 2) {
      distance += Lookup(shares[i], words & 3);
    }
    const I32 here = LaneNumbers() + first;
    const I32 better = (distance < least) & (here < list.size);
    least = Select(better, distance, least);
    place = SelectInt(better, here, place);
  }
  const I32 candidates =
      SelectInt(least == Splat(LeastLane(least)), place, SplatInt(kMaxList));
  int nearest = kMaxList;
  for (int k = 0; k < kLanes; ++k) {
    nearest = candidates[k] < nearest ? candidates[k] : nearest;
  }
  return nearest;
}

// Lines of a list.
struct Lines {
  alignas(64) float slope[kMaxList];
  alignas(64) float drop[kMaxList];
};

// Who is lowest at a scale.
struct Lowest {
  int n_near;  // points within the margin
  int place;   // one of them
};

NARROW_LANE_FUNCTION F32 HeightAt(F32 slope, F32 drop, float scale) {
  return slope * Splat(scale) - drop;
}

NARROW_LANE_FUNCTION Lowest FindLowest(const Lines& lines, int size,
                                       float scale, float margin, F32 least) {
  const F32 limit = Splat(LeastLane(least) + margin);
  Lowest lowest = {0, 0};
  for (int first = 0; first < size; first += kLanes) {
    const F32 height =
        HeightAt(Load(lines.slope + first), Load(lines.drop + first), scale);
    const uint32_t near = LaneBits(height <= limit);
    if (near != 0) {
      lowest.n_near += __builtin_popcount(near);
      lowest.place = first + __builtin_ctz(near);
    }
  }
  return lowest;
}

// Words of the nearest points for scales[first … last], one by one.
inline __attribute__((noinline)) void ResolveRun(
    const List& list, const UnitView& unit, const Lines& lines,
    const float* scales, int first, int last, Lowest at_end, int32_t* words) {
  for (int c = first; c <= last; ++c) {
    F32 least = Splat(__FLT_MAX__);
    for (int i = 0; i < list.size; i += kLanes) {
      least = Min(least, HeightAt(Load(lines.slope + i), Load(lines.drop + i),
                                  scales[c]));
    }
    const Lowest lowest =
        FindLowest(lines, list.size, scales[c], unit.margin, least);
    if (lowest.n_near != 1) {
      words[c] = list.words[ExactlyNearest(list, unit, scales[c])];
      continue;
    }
    words[c] = list.words[lowest.place];
    if (at_end.n_near == 1 && at_end.place == lowest.place) {
      for (; c <= last; ++c) {
        words[c] = list.words[lowest.place];
      }
    }
  }
}

// The same for all of them at once where one point wins at both ends. Up to
// kLanes words beyond `last` are overwritten.
NARROW_LANE_FUNCTION void FindRun(const List& list, const UnitView& unit,
                                  const LineTables& tables, const float* scales,
                                  int first, int last, int32_t* words) {
  Lines lines;
  const float begin = scales[first];
  const float end = scales[last];
  F32 least_begin = Splat(__FLT_MAX__);
  F32 least_end = least_begin;
  for (int i = 0; i < list.size; i += kLanes) {
    I32 levels = LoadHalves(list.words + i);
    F32 slope = Lookup(tables.slope[0], levels);
    F32 drop = Lookup(tables.drop[0], levels);
#pragma GCC unroll 8
    for (int t = 1; t < kTables; ++t) {
      levels = reinterpret_cast<I32>(AsUint(levels) >> (2 * kFields));
      slope += Lookup(tables.slope[t], levels);
      drop += Lookup(tables.drop[t], levels);
    }
    // What follows the list lies far above.
    drop = Select(LaneNumbers() < list.size - i, drop, Splat(-0x1p120f));
    Store(slope, lines.slope + i);
    Store(drop, lines.drop + i);
    least_begin = Min(least_begin, HeightAt(slope, drop, begin));
    least_end = Min(least_end, HeightAt(slope, drop, end));
  }
  const Lowest at_begin =
      FindLowest(lines, list.size, begin, unit.margin, least_begin);
  const Lowest at_end =
      FindLowest(lines, list.size, end, unit.margin, least_end);
  if (at_begin.n_near == 1 && at_end.n_near == 1 &&
      at_begin.place == at_end.place) {
    const I32 word = SplatInt(list.words[at_begin.place]);
    for (int c = first; c <= last; c += kLanes) {
      StoreInts(word, words + c);
    }
    return;
  }
  ResolveRun(list, unit, lines, scales, first, last, at_end, words);
}

}  // namespace iq2_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ2_NEAR_LANES_H_
