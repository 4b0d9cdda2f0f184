// The nearest candidates to four weights under many scales, or under one: for
// encode_simd.cc.
//
// Levels hardly change from one candidate scale to the next, so the candidates
// do not either: they are compared for a run of scales with the same levels, a
// scale a lane. With AVX-512, a vector holds several runs.

#ifndef NARROW_KERNELS_QUANT_IQ3_NEAREST_LANES_H_
#define NARROW_KERNELS_QUANT_IQ3_NEAREST_LANES_H_

#include <cstdint>
#include <cstring>

#include "kernels/quant/iq3/candidates.h"
#include "kernels/quant/iq3/group_lanes.h"
#include "kernels/quant/iq3/layout.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq3_lanes {

using iq3::Candidates;
using iq3::kMostWords;
using iq3::kNumbers;

// The numbers of the nearest levels under each scale, as Candidates::entries
// wants them, and bits for the scales whose number is not the one before's.
template <class Type>
NARROW_LANE_FUNCTION uint32_t NumberLevels(const Scales<Type>& scales,
                                           const float* x, int32_t* numbers) {
  uint32_t starts = 0;
  I32 previous = SplatInt(-1);
  for (int v = 0; v < Scan<Type>::kVectors; ++v) {
    F32 number = {};
    F32 furthest = {};
    for (int i = kPoint - 1; i >= 0; --i) {
      const F32 level =
          Clamp(scales.half_inverse[v] * Splat(x[i]) - 0.5f, 0, kLevels - 1);
      const F32 nearest = RoundToFloat(level);
      furthest = Max(furthest, Abs(level - nearest));
      number = number * static_cast<float>(kLevels) + nearest;
    }
    const I32 border = furthest > Splat(0.5f - iq3::kBorder);
    const I32 value = Truncate(number) + (border & kNumbers);
    StoreInts(value, numbers + v * kLanes);
    const I32 lane = LaneNumbers();
    const I32 before = __builtin_shuffle(previous, value, lane + (kLanes - 1));
    starts |= LaneBits(value != before) << (v * kLanes);
    previous = value;
  }
  return starts;
}

// A candidate's distance under scale s, less what all have in common, is s *
// (s * slope + offset), where slope = sum of metric * odd^2, offset = -2 * sum
// of metric * x * odd, odd = 2 * level + 1. That is one operation a candidate,
// and the least is the nearest unless two are so close that rounding decides.
struct Lines {
  // By level, for each weight of the group.
  F32 slopes[kGroup];
  F32 offsets[kGroup];
  // How much further the second nearest must be, for each point, as a
  // multiple of the scale.
  float margins[kPointsPerGroup];
};

// Half a unit in the last place, relative to the largest term, is u = 2^-24.
// With x at most 18 scales and odd at most 15, a distance as ggml rounds it is
// off by at most 2500 u * scale^2 * M, M the sum of the metrics, and a line's
// value by 4600 u * scale * M: for two candidates, 14200 u = 0.87 * 2^-10.
// With metrics so small that products might underflow, nothing is sure.
constexpr float kMargin = 0x1p-10f;
constexpr float kLeastMetrics = 0x1p-50f;

NARROW_LANE_FUNCTION void FillLines(const Group& group, Lines* lines) {
  const F32 odd = OddNumbers();
  const F32 squares = odd * odd;
  const F32 doubles = -2.0f * odd;
  for (int i = 0; i < kGroup; ++i) {
    const F32 metric = Splat(group.metric[i]);
    lines->slopes[i] = metric * squares;
    lines->offsets[i] = (metric * Splat(group.x[i])) * doubles;
  }
  // A weight with the wrong sign may be larger than the largest of the others,
  // if it hardly matters.
  uint32_t larger = 0;
  for (int i = 0; i < kGroup; i += kLanes) {
    larger |= LaneBits(-Load(group.x + i) > Splat(group.largest)) << i;
  }
  for (int p = 0; p < kPointsPerGroup; ++p) {
    const float* metric = group.metric + kPoint * p;
    const float sum = (metric[0] + metric[1]) + (metric[2] + metric[3]);
    lines->margins[p] = sum < kLeastMetrics ? __builtin_inff() : kMargin * sum;
  }
}

NARROW_LANE_FUNCTION F32 MultiplyAdd(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return _mm512_maskz_fmadd_ps(0xffff, a, b, c);
#else
  return _mm256_fmadd_ps(a, b, c);
#endif
}

// The nearest of all candidates as ggml finds it.
[[gnu::noinline]] static I32 NearestExactly(const float* x, const float* metric,
                                            F32 scale, const uint32_t* words,
                                            int n_words) {
  F32 least = {};
  I32 nearest = {};
  for (int j = 0; j < n_words; ++j) {
    F32 distance = {};
    for (int i = 0; i < kPoint; ++i) {
      const uint32_t level = words[j] >> (8 * i) & 7;
      const F32 miss = scale * static_cast<float>(2 * level + 1) - Splat(x[i]);
      const F32 cost = Splat(metric[i]) * miss * miss;
      distance = i == 0 ? cost : distance + cost;
    }
    const I32 closer = j == 0 ? SplatInt(-1) : distance < least;
    nearest =
        SelectInt(closer, SplatInt(static_cast<int32_t>(words[j])), nearest);
    least = Select(closer, distance, least);
  }
  return nearest;
}

NARROW_LANE_FUNCTION const uint32_t* WordsOf(const Candidates& candidates,
                                             uint32_t entry) {
  return candidates.words + (entry & iq3::kFirstMask);
}

NARROW_LANE_FUNCTION int CountOf(uint32_t entry) {
  return static_cast<int>(entry >> iq3::kCountShift & iq3::kCountMask) + 1;
}

// The least values of lines so far.
struct Leaders {
  F32 least;
  F32 second;
  I32 nearest;  // whose least is

  NARROW_LANE_FUNCTION void Compare(F32 value, I32 whose) {
    nearest = SelectInt(value < least, whose, nearest);
    second = Min(second, Max(value, least));
    least = Min(value, least);
  }
};

// The lines of as many candidates as there are lanes.
NARROW_LANE_FUNCTION void LinesOf(const Lines& lines, int p, I32 words,
                                  F32* slope, F32* offset) {
  const int at = kPoint * p;
  *slope = Lookup8(lines.slopes[at], words);
  *offset = Lookup8(lines.offsets[at], words);
  for (int i = 1; i < kPoint; ++i) {
    *slope += Lookup8(lines.slopes[at + i], words >> (8 * i));
    *offset += Lookup8(lines.offsets[at + i], words >> (8 * i));
  }
}

// The nearest candidates to point p under the scales; `wanted` has a bit for
// each lane that counts.
[[gnu::noinline]] static I32 NearestOfRun(const Group& group,
                                          const Lines& lines, int p, F32 scale,
                                          uint32_t wanted,
                                          const uint32_t* words, int n_words) {
  const int at = kPoint * p;
  alignas(64) float slopes[kMostWords + kLanes];
  alignas(64) float offsets[kMostWords + kLanes];
  for (int first = 0; first < n_words; first += kLanes) {
    F32 slope;
    F32 offset;
    LinesOf(lines, p, LoadInts(reinterpret_cast<const int32_t*>(words + first)),
            &slope, &offset);
    // Lanes beyond the last are never the nearest.
    slope =
        Select(LaneNumbers() < n_words - first, slope, Splat(__builtin_inff()));
    Store(slope, slopes + first);
    Store(offset, offsets + first);
  }
  Leaders leaders = {
      MultiplyAdd(scale, Splat(slopes[0]), Splat(offsets[0])),
      Splat(__builtin_inff()),
      SplatInt(static_cast<int32_t>(words[0])),
  };
  const auto compare = [&](int j) {
    leaders.Compare(MultiplyAdd(scale, Splat(slopes[j]), Splat(offsets[j])),
                    SplatInt(static_cast<int32_t>(words[j])));
  };
  compare(1);
  compare(2);
  compare(3);
  for (int j = 4; j < n_words; j += 4) {
    compare(j);
    compare(j + 1);
    compare(j + 2);
    compare(j + 3);
  }
  const uint32_t sure =
      GreaterBits(leaders.second - leaders.least, scale * lines.margins[p]);
  if ((wanted & ~sure) != 0) {
    return NearestExactly(group.x + at, group.metric + at, scale, words,
                          n_words);
  }
  return leaders.nearest;
}

#if defined(__AVX512F__)

// Entries of a table of 32.
NARROW_LANE_FUNCTION F32 Lookup32(const F32* table, I32 index) {
  return _mm512_maskz_permutex2var_ps(
      0xffff, table[0], reinterpret_cast<__m512i>(index), table[1]);
}

NARROW_LANE_FUNCTION __m256i Load32Bytes(const uint32_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

// Compares the candidates of a run from the ninth on; `run` has its lanes.
NARROW_LANE_FUNCTION void CompareBeyondEight(const Lines& lines, int p,
                                             F32 scale, uint32_t run,
                                             const uint32_t* words, int n_words,
                                             Leaders* leaders) {
  for (int first = 0; first < n_words; first += kLanes) {
    F32 slope;
    F32 offset;
    LinesOf(lines, p, LoadInts(reinterpret_cast<const int32_t*>(words + first)),
            &slope, &offset);
    const int n = n_words - first < kLanes ? n_words - first : kLanes;
    slope = Select(LaneNumbers() < n, slope, Splat(__builtin_inff()));
    const auto compare = [&](int j) {
      const __m512i whose = reinterpret_cast<__m512i>(SplatInt(j));
      const F32 value =
          MultiplyAdd(scale, _mm512_maskz_permutexvar_ps(0xffff, whose, slope),
                      _mm512_maskz_permutexvar_ps(0xffff, whose, offset));
      leaders->Compare(_mm512_mask_mov_ps(Splat(__builtin_inff()),
                                          static_cast<__mmask16>(run), value),
                       SplatInt(static_cast<int32_t>(words[first + j])));
    };
    for (int j = 0; j < n; j += 4) {
      compare(j);
      compare(j + 1);
      compare(j + 2);
      compare(j + 3);
    }
  }
}

// The nearest candidates to point p under the scales of a vector, for up to
// kRuns runs: slot 8 * r + j is for candidate j of run r. Runs beyond are left
// to NearestOfRun. `starts` has a bit for the first lane of each run, `numbers`
// what the candidates of a lane are.
template <int kRuns>
NARROW_LANE_FUNCTION I32 NearestOfLanes(const Candidates& candidates,
                                        const Group& group, const Lines& lines,
                                        int p, F32 scale, uint32_t starts,
                                        uint32_t wanted,
                                        const int32_t* numbers) {
  static_assert(kRuns == 2 || kRuns == 4, "slots of one or two vectors");
  // Missing runs start beyond the lanes.
  uint32_t left = starts | 0xf << kLanes;
  uint32_t entries[kRuns];
  I32 slot = {};
  for (int r = 0; r < kRuns; ++r) {
    const int start = __builtin_ctz(left);
    left &= left - 1;
    // Levels 0 for a missing run: few candidates.
    entries[r] = candidates.entries[start < kLanes ? numbers[start] : 0];
    if (r > 0) {
      slot = reinterpret_cast<I32>(_mm512_mask_add_epi32(
          reinterpret_cast<__m512i>(slot),
          static_cast<__mmask16>(0xffffu << start),
          reinterpret_cast<__m512i>(slot), _mm512_set1_epi32(8)));
    }
  }
  I32 words[2] = {};
  F32 slopes[2] = {};
  F32 offsets[2] = {};
  for (int half = 0; half < kRuns / 2; ++half) {
    const uint32_t first = entries[2 * half];
    const uint32_t second = entries[2 * half + 1];
    words[half] = reinterpret_cast<I32>(_mm512_inserti64x4(
        _mm512_castsi256_si512(Load32Bytes(WordsOf(candidates, first))),
        Load32Bytes(WordsOf(candidates, second)), 1));
    F32 slope;
    LinesOf(lines, p, words[half], &slope, &offsets[half]);
    const __mmask16 present = static_cast<__mmask16>(
        first >> iq3::kBitsShift | second >> iq3::kBitsShift << 8);
    slopes[half] = _mm512_mask_mov_ps(Splat(__builtin_inff()), present, slope);
  }
  Leaders leaders = {
      MultiplyAdd(scale, Lookup32(slopes, slot), Lookup32(offsets, slot)),
      Splat(__builtin_inff()),
      slot,
  };
#pragma GCC unroll 8
  for (int j = 1; j < 8; ++j) {
    const I32 whose = slot + j;
    leaders.Compare(
        MultiplyAdd(scale, Lookup32(slopes, whose), Lookup32(offsets, whose)),
        whose);
  }
  leaders.nearest = reinterpret_cast<I32>(
      _mm512_permutex2var_epi32(reinterpret_cast<__m512i>(words[0]),
                                reinterpret_cast<__m512i>(leaders.nearest),
                                reinterpret_cast<__m512i>(words[1])));
  uint32_t beyond = 0;
  for (int r = 0; r < kRuns; ++r) {
    beyond |= static_cast<uint32_t>((entries[r] & iq3::kBeyondEight) != 0) << r;
  }
  // One at most, mostly.
  for (; beyond != 0; beyond &= beyond - 1) {
    const int r = __builtin_ctz(beyond);
    CompareBeyondEight(lines, p, scale, LaneBits((slot >> 3) == r),
                       WordsOf(candidates, entries[r]) + 8,
                       CountOf(entries[r]) - 8, &leaders);
  }
  I32 nearest = leaders.nearest;
  uint32_t unsure =
      ~GreaterBits(leaders.second - leaders.least, scale * lines.margins[p]);
  // All lanes from the first run without slots on.
  left &= 0xffff;
  left |= 0 - left;
  unsure = (unsure | left) & wanted;
  while (unsure != 0) {
    // The run of the first such lane.
    const int lane = __builtin_ctz(unsure);
    const uint32_t later = starts & (~1u << lane);
    const uint32_t run = (~0u << lane) & ((later & (0 - later)) - 1) & 0xffff;
    const uint32_t entry = candidates.entries[numbers[lane]];
    const uint32_t* run_words = WordsOf(candidates, entry);
    const I32 redone =
        (left >> lane & 1) != 0
            ? NearestOfRun(group, lines, p, scale, run & wanted, run_words,
                           CountOf(entry))
            : NearestExactly(group.x + kPoint * p, group.metric + kPoint * p,
                             scale, run_words, CountOf(entry));
    nearest = reinterpret_cast<I32>(_mm512_mask_mov_epi32(
        reinterpret_cast<__m512i>(nearest), static_cast<__mmask16>(run),
        reinterpret_cast<__m512i>(redone)));
    unsure &= ~run;
  }
  return nearest;
}

#endif

// The nearest candidates to point p under each scale; `starts` has a bit for
// the first scale of each run, `numbers` what the run's candidates are.
template <class Type>
NARROW_LANE_FUNCTION void ChoosePoints(const Candidates& candidates,
                                       const Group& group, const Lines& lines,
                                       int p, const float* scales,
                                       uint32_t starts, const int32_t* numbers,
                                       int32_t* chosen) {
  constexpr int kScales = Scan<Type>::kScales;
#if defined(__AVX512F__)
  for (int first = 0; first < kScales; first += kLanes) {
    const uint32_t wanted =
        kScales - first >= kLanes ? 0xffff : (1u << (kScales - first)) - 1;
    // A few lanes have few runs.
    constexpr int kLastRuns = kScales % kLanes < 5 ? 2 : 4;
    const uint32_t in_vector = (starts >> first & 0xffff) | 1;
    const F32 scale = Load(scales + first);
    const I32 nearest =
        first + kLanes < kScales
            ? NearestOfLanes<4>(candidates, group, lines, p, scale, in_vector,
                                wanted, numbers + first)
            : NearestOfLanes<kLastRuns>(candidates, group, lines, p, scale,
                                        in_vector, wanted, numbers + first);
    StoreInts(nearest, chosen + first);
  }
#else
  // The lanes beyond the last scale may be left out below.
  StoreInts(I32{}, chosen + Scan<Type>::kPadded - kLanes);
  int start = 0;
  do {
    starts &= starts - 1;
    const int end = starts != 0 ? __builtin_ctz(starts) : kScales;
    const uint32_t entry = candidates.entries[numbers[start]];
    const uint32_t* words = WordsOf(candidates, entry);
    const int n_words = CountOf(entry);
    // What is written beyond `end`, the next run overwrites.
    for (; start < end; start += kLanes) {
      const uint32_t wanted =
          end - start >= kLanes ? 0xff : (1u << (end - start)) - 1;
      StoreInts(n_words == 1
                    ? SplatInt(static_cast<int32_t>(words[0]))
                    : NearestOfRun(group, lines, p, Load(scales + start),
                                   wanted, words, n_words),
                chosen + start);
    }
    start = end;
  } while (starts != 0);
#endif
}

// The nearest candidate under one scale: candidates in the lanes.
NARROW_LANE_FUNCTION uint32_t NearestUnder(float scale, const float* x,
                                           const float* metric,
                                           const uint32_t* words, int n_words) {
  F32 costs[kPoint];
  const F32 values = Splat(scale) * OddNumbers();
  for (int i = 0; i < kPoint; ++i) {
    const F32 miss = values - Splat(x[i]);
    costs[i] = Splat(metric[i]) * miss * miss;
  }
  float least = 0;
  uint32_t nearest = 0;
  int first = 0;
  // (No branch that depends on the candidates, but for the few long lists.)
  do {
    I32 levels;
    __builtin_memcpy(&levels, words + first, sizeof(levels));
    F32 distance = Lookup8(costs[0], levels);
    for (int i = 1; i < kPoint; ++i) {
      distance += Lookup8(costs[i], levels >> (8 * i));
    }
    distance = Select(LaneNumbers() < n_words - first, distance,
                      Splat(__builtin_inff()));
    const F32 least_here = LeastOfAll(distance);
    if (first == 0 || least_here[0] < least) {
      least = least_here[0];
      nearest = words[first + __builtin_ctz(LaneBits(distance == least_here))];
    }
    first += kLanes;
  } while (first < n_words);
  return nearest;
}

}  // namespace iq3_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ3_NEAREST_LANES_H_
