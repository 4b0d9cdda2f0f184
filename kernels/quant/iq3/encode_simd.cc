// Encoders of IQ3_XXS and IQ3_S with candidate scales in the lanes.
//
// For each 4 weights and each candidate scale of their group, ggml rounds to
// levels and, where these are no point of the grid, looks for the nearest
// point of a list. Levels hardly change from one scale to the next, so the
// lists do not either: for a run of scales with the same levels, the same few
// points are compared, a scale a lane. A point's distance is the sum of four
// costs, one of a level in each coordinate; a table has them all, eight rows a
// coordinate. candidates.h shortens the lists.
//
// Every lane does the operations of reference.cc in their order. Blocks with
// numbers for which the shortened lists might not do are left to it.

#include <cstdint>
#include <cstring>

#include "kernels/quant/iq3/candidates.h"
#include "kernels/quant/iq3/fields.h"
#include "kernels/quant/iq3/layout.h"
#include "kernels/quant/iq3/reference.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq3_lanes {
namespace {

using iq3::Candidates;
using iq3::Fields;
using iq3::IQ3_S;
using iq3::IQ3_XXS;
using iq3::kGroup;
using iq3::kGroups;
using iq3::kInGrid;
using iq3::kLevels;
using iq3::kMostWords;
using iq3::kNumbers;
using iq3::kPoint;
using iq3::kPointsPerGroup;
using iq3::kSuperBlock;

// Numbers that the reasoning of candidates.h covers: nothing overflows, and
// scales are precise.
constexpr float kLargestWeight = 0x1p30f;
constexpr float kLargestImportance = 0x1p60f;
constexpr float kLeastMagnitude = 0x1p-30f;

template <class Type>
struct Scan {
  static constexpr int kScales = 2 * Type::kScan + 1;
  static constexpr int kVectors = (kScales + kLanes - 1) / kLanes;
  static constexpr int kPadded = kVectors * kLanes;
};

// 1, 3, … 15 in the low eight lanes, and again.
NARROW_LANE_FUNCTION F32 OddNumbers() {
  return ToFloat(2 * (LaneNumbers() & 7) + 1);
}

NARROW_LANE_FUNCTION F32 Clamp(F32 value, float low, float high) {
  return Min(Max(value, Splat(low)), Splat(high));
}

// One group of 32.
struct Group {
  alignas(64) float x[kGroup];
  alignas(64) float weight[kGroup];
  alignas(64) float metric[kGroup];
  alignas(64) float weighted_x[kGroup];
  uint8_t signs[4];
  float largest;
};

NARROW_LANE_FUNCTION F32 LeastOfAll(F32 value) {
  const I32 lane = LaneNumbers();
  for (int step = kLanes / 2; step > 0; step /= 2) {
    value = Min(value, __builtin_shuffle(value, lane ^ step));
  }
  return value;
}

// The least of each eight lanes, in all of them.
NARROW_LANE_FUNCTION F32 LeastOfEight(F32 value) {
  const I32 lane = LaneNumbers();
  for (int step = 4; step > 0; step /= 2) {
    value = Min(value, __builtin_shuffle(value, lane ^ step));
  }
  return value;
}

// A bit for each weight whose sign has to be wrong, so that each eight have an
// even number of minus signs: see SplitSigns of reference.cc. `least` has bits
// for the weights that matter least among their eight.
NARROW_LANE_FUNCTION uint32_t WrongSigns(uint32_t signs, uint32_t least) {
  constexpr uint32_t kOnes = 0x01010101;
  uint32_t parity = signs ^ signs >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  // The lowest bit of each byte, none of which is zero.
  const uint32_t first = least & ~(least - kOnes);
  return first & (parity & kOnes) * 255;
}

template <class Type>
NARROW_LANE_FUNCTION void LoadGroup(const float* weights,
                                    const float* importance, float variance,
                                    Group* group) {
  uint32_t signs = 0;
  uint32_t least = 0;
  F32 weight[kGroup / kLanes];
  for (int v = 0; v < kGroup / kLanes; ++v) {
    const F32 x = Load(weights + v * kLanes);
    weight[v] = x * x;
    if (importance != nullptr) {
      weight[v] =
          Load(importance + v * kLanes) * Sqrt(Splat(variance) + weight[v]);
    }
    Store(weight[v], group->weight + v * kLanes);
    Store(Sqrt(weight[v]), group->metric + v * kLanes);
    // A zero of either sign is not negative.
    signs |= LaneBits(x < F32{}) << (v * kLanes);
    const F32 matters = weight[v] * x * x;
    least |= LaneBits(matters == LeastOfEight(matters)) << (v * kLanes);
  }
  const uint32_t wrong = Type::kEvenSigns ? WrongSigns(signs, least) : 0;
  signs ^= wrong;
  std::memcpy(group->signs, &signs, sizeof(signs));
  F32 lowest = {};
  for (int v = 0; v < kGroup / kLanes; ++v) {
    F32 x = Abs(Load(weights + v * kLanes));
    if (Type::kEvenSigns) {
      const I32 bits = SplatInt(static_cast<int32_t>(wrong >> (v * kLanes)));
      const I32 top = bits << (31 - LaneNumbers());
      x = AsFloat(AsInt(x) | (top & INT32_MIN));
    }
    Store(x, group->x + v * kLanes);
    Store(weight[v] * x, group->weighted_x + v * kLanes);
    lowest = v == 0 ? -x : Min(lowest, -x);
  }
  group->largest = -LeastOfAll(lowest)[0];
}

// The candidate scales; lanes beyond the last repeat it.
template <class Type>
struct Scales {
  F32 half_inverse[Scan<Type>::kVectors];
  F32 scale[Scan<Type>::kVectors];
};

template <class Type>
NARROW_LANE_FUNCTION void MakeScales(float largest, Scales<Type>* scales) {
  for (int v = 0; v < Scan<Type>::kVectors; ++v) {
    const I32 k = MinInt(LaneNumbers() + (v * kLanes - Type::kScan),
                         SplatInt(Type::kScan));
    const F32 steps =
        static_cast<float>(iq3::kTopLevel) + ToFloat(k) * iq3::kStep;
    const F32 inverse = steps / Splat(largest);
    scales->scale[v] = 1.0f / inverse;
    // A power of two changes no rounding.
    scales->half_inverse[v] = 0.5f * inverse;
  }
}

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
[[gnu::noinline]] I32 NearestExactly(const float* x, const float* metric,
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
  return static_cast<int>(entry >> iq3::kCountShift & iq3::kCountMask);
}

// Bit k: a[k] > b[k].
NARROW_LANE_FUNCTION uint32_t GreaterBits(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
#else
  return LaneBits(a > b);
#endif
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

// The nearest candidates to point p under the scales; `wanted` has a bit for
// each lane that counts.
[[gnu::noinline]] I32 NearestOfRun(const Group& group, const Lines& lines,
                                   int p, F32 scale, uint32_t wanted,
                                   const uint32_t* words, int n_words) {
  const int at = kPoint * p;
  alignas(64) float slopes[kMostWords + kLanes];
  alignas(64) float offsets[kMostWords + kLanes];
  for (int first = 0; first < n_words; first += kLanes) {
    const I32 levels =
        LoadInts(reinterpret_cast<const int32_t*>(words + first));
    F32 slope = Lookup8(lines.slopes[at], levels);
    F32 offset = Lookup8(lines.offsets[at], levels);
    for (int i = 1; i < kPoint; ++i) {
      slope += Lookup8(lines.slopes[at + i], levels >> (8 * i));
      offset += Lookup8(lines.offsets[at + i], levels >> (8 * i));
    }
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

// The nearest candidates to point p under the scales of a vector, for up to
// kRuns runs of up to eight candidates: slot 8 * r + j is for candidate j of
// run r. Runs beyond are left to NearestOfRun. `starts` has a bit for the first
// lane of each run, `numbers` what the candidates of a lane are.
template <int kRuns>
NARROW_LANE_FUNCTION I32 NearestOfLanes(const Candidates& candidates,
                                        const Group& group, const Lines& lines,
                                        int p, F32 scale, uint32_t starts,
                                        uint32_t wanted,
                                        const int32_t* numbers) {
  static_assert(kRuns == 2 || kRuns == 4, "slots of one or two vectors");
  const int at = kPoint * p;
  // Missing runs start beyond the lanes and have any candidates.
  uint32_t left = starts | 0xf << kLanes;
  uint32_t entries[kRuns];
  I32 slot = {};
  for (int r = 0; r < kRuns; ++r) {
    const int start = __builtin_ctz(left);
    left &= left - 1;
    entries[r] = candidates.entries[numbers[start]];
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
    const I32 levels = words[half];
    F32 slope = Lookup8(lines.slopes[at], levels);
    F32 offset = Lookup8(lines.offsets[at], levels);
    for (int i = 1; i < kPoint; ++i) {
      slope += Lookup8(lines.slopes[at + i], levels >> (8 * i));
      offset += Lookup8(lines.offsets[at + i], levels >> (8 * i));
    }
    const __mmask16 present = static_cast<__mmask16>(
        first >> iq3::kBitsShift | second >> iq3::kBitsShift << 8);
    slopes[half] = _mm512_mask_mov_ps(Splat(__builtin_inff()), present, slope);
    offsets[half] = offset;
  }
  Leaders leaders = {
      MultiplyAdd(scale, Lookup32(slopes, slot), Lookup32(offsets, slot)),
      Splat(__builtin_inff()),
      slot,
  };
  const auto compare = [&](int j) {
    const I32 whose = slot + j;
    leaders.Compare(
        MultiplyAdd(scale, Lookup32(slopes, whose), Lookup32(offsets, whose)),
        whose);
  };
  compare(1);
  compare(2);
  compare(3);
  constexpr uint32_t kBeyondFour = 0xf0u << iq3::kBitsShift;
  uint32_t all = 0;
  for (const uint32_t entry : entries) {
    all |= entry;
  }
  if ((all & kBeyondFour) != 0) {
    compare(4);
    compare(5);
    compare(6);
    compare(7);
  }
  I32 nearest = reinterpret_cast<I32>(
      _mm512_permutex2var_epi32(reinterpret_cast<__m512i>(words[0]),
                                reinterpret_cast<__m512i>(leaders.nearest),
                                reinterpret_cast<__m512i>(words[1])));
  // Not a number, if a run has more than eight.
  uint32_t unsure =
      ~GreaterBits(leaders.second - leaders.least, scale * lines.margins[p]);
  left &= 0xffff;
  unsure = (unsure | left | (0 - left)) & wanted;
  while (unsure != 0) {
    // The run of the first such lane.
    const int lane = __builtin_ctz(unsure);
    const uint32_t later = starts & (~1u << lane);
    const uint32_t run = (~0u << lane) & ((later & (0 - later)) - 1) & 0xffff;
    const uint32_t entry = candidates.entries[numbers[lane]];
    const I32 redone = NearestOfRun(group, lines, p, scale, run & wanted,
                                    WordsOf(candidates, entry), CountOf(entry));
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

// What the scan found: the best scale's candidates, if there is one.
struct Best {
  float scale;
  uint32_t words[kPointsPerGroup];
};

// The scale that ggml ends up with, trying one after the other: -1 if none,
// else its number, and the sums' quotient.
template <class Type>
NARROW_LANE_FUNCTION int FindBest(const F32* xq, const F32* qq, float* fit) {
  using S = Scan<Type>;
  alignas(64) float fits[S::kPadded];
  alignas(64) float scores[S::kPadded];
  alignas(64) float squares[S::kPadded];
  alignas(64) float sums[S::kPadded];
  F32 score[S::kVectors];
  F32 highest = {};
  uint32_t unusual = 0;
  for (int v = 0; v < S::kVectors; ++v) {
    const F32 quotient = xq[v] / qq[v];
    score[v] = quotient * xq[v];
    // Lanes beyond the last scale hold what may be anything.
    score[v] = Select(LaneNumbers() < S::kScales - v * kLanes, score[v], F32{});
    highest = Max(score[v], highest);
    const F32 square = xq[v] * xq[v];
    unusual |= GreaterBits(Splat(0x1p-80f), square) |
               GreaterBits(square, Splat(0x1p100f));
    Store(quotient, fits + v * kLanes);
    Store(score[v], scores + v * kLanes);
    Store(square, squares + v * kLanes);
    Store(qq[v], sums + v * kLanes);
  }
  // A score that beats all others by more than rounding can make of it is
  // taken when its turn comes, and none after it.
  const F32 near = LeastOfAll(-highest) * (-1 + 0x1p-16f);
  uint32_t high = 0;
  for (int v = 0; v < S::kVectors; ++v) {
    high |= GreaterBits(score[v], near) << (v * kLanes);
  }
  if (unusual == 0 && high != 0 && (high & (high - 1)) == 0) {
    const int found = __builtin_ctz(high);
    *fit = fits[found];
    return found;
  }
  int found = -1;
  float best = 0;
  for (int k = 0; k < S::kScales; ++k) {
    if (sums[k] > 0 && squares[k] > best * sums[k]) {
      found = k;
      best = scores[k];
      *fit = fits[k];
    }
  }
  return found;
}

template <class Type>
NARROW_LANE_FUNCTION void ScanScales(const Candidates& candidates,
                                     const Group& group, Best* best) {
  using S = Scan<Type>;
  Scales<Type> scales;
  MakeScales(group.largest, &scales);
  alignas(64) float scale[S::kPadded + kLanes];
  for (int v = 0; v < S::kVectors + 1; ++v) {
    Store(scales.scale[v < S::kVectors ? v : 0], scale + v * kLanes);
  }
  Lines lines;
  FillLines(group, &lines);
  alignas(64) int32_t chosen[kPointsPerGroup][S::kPadded + kLanes];
  // Read a little beyond the last, whatever is there.
  alignas(64) int32_t numbers[kPointsPerGroup + 1][S::kPadded];
  std::memset(numbers[kPointsPerGroup], 0, sizeof(numbers[0]));
  uint32_t starts[kPointsPerGroup];
  for (int p = 0; p < kPointsPerGroup; ++p) {
    starts[p] = NumberLevels(scales, group.x + kPoint * p, numbers[p]);
  }
  for (int p = 0; p < kPointsPerGroup; ++p) {
    ChoosePoints<Type>(candidates, group, lines, p, scale, starts[p],
                       numbers[p], chosen[p]);
  }
  F32 xq[S::kVectors] = {};
  F32 qq[S::kVectors] = {};
  const F32 odd = OddNumbers();
  for (int p = 0; p < kPointsPerGroup; ++p) {
    const int at = kPoint * p;
    for (int v = 0; v < S::kVectors; ++v) {
      const I32 words = LoadInts(chosen[p] + v * kLanes);
      for (int i = 0; i < kPoint; ++i) {
        const F32 q = Lookup8(odd, words >> (8 * i));
        xq[v] += Splat(group.weighted_x[at + i]) * q;
        qq[v] += Splat(group.weight[at + i]) * q * q;
      }
    }
  }
  const int found = FindBest<Type>(xq, qq, &best->scale);
  if (found < 0) {
    best->scale = group.largest / iq3::kTopLevel;
    for (int p = 0; p < kPointsPerGroup; ++p) {
      best->words[p] = Type::kRefineAll ? 0 : kInGrid;
    }
    return;
  }
  for (int p = 0; p < kPointsPerGroup; ++p) {
    best->words[p] = static_cast<uint32_t>(chosen[p][found]);
  }
}

// The nearest candidate under one scale: candidates in the lanes.
NARROW_LANE_FUNCTION uint32_t NearestUnder(float scale, const float* x,
                                           const float* metric,
                                           const uint32_t* words, int n_words) {
  if (n_words == 1) {
    return words[0];
  }
  F32 costs[kPoint];
  const F32 values = Splat(scale) * OddNumbers();
  for (int i = 0; i < kPoint; ++i) {
    const F32 miss = values - Splat(x[i]);
    costs[i] = Splat(metric[i]) * miss * miss;
  }
  float least = 0;
  uint32_t nearest = words[0];
  for (int first = 0; first < n_words; first += kLanes) {
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
  }
  return nearest;
}

// As Refine of reference.cc.
template <class Type>
NARROW_LANE_FUNCTION void RefinePoints(const Candidates& candidates,
                                       const Group& group, Best* best) {
  uint32_t all_in_grid = kInGrid;
  for (int p = 0; p < kPointsPerGroup; ++p) {
    all_in_grid &= best->words[p];
  }
  if (all_in_grid != 0 || !(best->scale > 0)) {
    return;
  }
  const float inverse = 1 / best->scale;
  alignas(64) uint8_t levels[kGroup];
  uint32_t border = 0;
  for (int i = 0; i < kGroup; i += kLanes) {
    const F32 level = 0.5f * (Splat(inverse) * Load(group.x + i) - 1.0f);
    const I32 nearest = ClampInt(RoundToInt(level), 0, kLevels - 1);
    StoreBytes(nearest, levels + i);
    // Also what is too far from any level to be rounded properly.
    const F32 miss = Abs(Clamp(level, 0, kLevels - 1) - ToFloat(nearest));
    const I32 clear = miss <= Splat(0.5f - iq3::kBorder);
    border |= LaneBits(~clear) << i;
  }
  for (int p = 0; p < kPointsPerGroup; ++p) {
    if (!Type::kRefineAll && (best->words[p] & kInGrid) != 0) {
      continue;
    }
    const int at = kPoint * p;
    int number = (border >> at & 15) != 0 ? kNumbers : 0;
    for (int i = 0; i < kPoint; ++i) {
      number += levels[at + i] << (3 * i);
    }
    const uint32_t entry = candidates.entries[number];
    best->words[p] = NearestUnder(best->scale, group.x + at, group.metric + at,
                                  WordsOf(candidates, entry), CountOf(entry));
  }
  float xq = 0;
  float qq = 0;
  for (int i = 0; i < kGroup; ++i) {
    const uint32_t level = best->words[i / kPoint] >> (8 * (i % kPoint)) & 7;
    const float q = static_cast<float>(2 * level + 1);
    xq += group.weighted_x[i] * q;
    qq += group.weight[i] * q * q;
  }
  if (qq > 0) {
    best->scale = xq / qq;
  }
}

// Whether the numbers of a block are those of candidates.h.
NARROW_LANE_FUNCTION bool IsOrdinary(const float* weights,
                                     const float* importance) {
  I32 ordinary = SplatInt(-1);
  for (int i = 0; i < kSuperBlock; i += kLanes) {
    ordinary &= Abs(Load(weights + i)) < Splat(kLargestWeight);
    if (importance != nullptr) {
      const F32 value = Load(importance + i);
      ordinary &= (value >= F32{}) & (value < Splat(kLargestImportance));
    }
  }
  return !Any(~ordinary);
}

// False if the block is for the plain code.
template <class Type>
NARROW_LANE_FUNCTION bool EncodeOrdinary(const Candidates& candidates,
                                         const float* weights,
                                         const float* importance,
                                         float variance, uint8_t* bytes) {
  Fields fields = {};
  float scales[kGroups] = {};
  float largest = 0;
  int n_before = 0;
  for (int g = 0; g < kGroups; ++g) {
    Group group;
    LoadGroup<Type>(weights + kGroup * g,
                    importance != nullptr ? importance + kGroup * g : nullptr,
                    variance, &group);
    if (Type::kZeroLimit > 0 ? group.largest < Type::kZeroLimit
                             : group.largest == 0) {
      continue;
    }
    if (group.largest < kLeastMagnitude) {
      return false;
    }
    Best best;
    ScanScales<Type>(candidates, group, &best);
    RefinePoints<Type>(candidates, group, &best);
    const bool negative = best.scale < 0;
    const int at = Type::kClosesGaps ? n_before : g;
    for (int p = 0; p < kPointsPerGroup; ++p) {
      const uint32_t levels = best.words[p];
      const int point =
          candidates.points[(levels & 7) | (levels >> 5 & 0x38) |
                            (levels >> 10 & 0x1c0) | (levels >> 15 & 0xe00)];
      fields.points[kPointsPerGroup * at + p] |=
          static_cast<uint16_t>(point & 255);
      fields.points[kPointsPerGroup * g + p] |=
          static_cast<uint16_t>(point & ~255);
    }
    for (int k = 0; k < 4; ++k) {
      fields.signs[4 * at + k] =
          static_cast<uint8_t>(negative ? ~group.signs[k] : group.signs[k]);
    }
    ++n_before;
    scales[g] = negative ? -best.scale : best.scale;
    largest = largest > scales[g] ? largest : scales[g];
  }
  if (largest > 0) {
    const float d = largest / iq3::kTopScale;
    const F32 inverse = Splat(1 / d);
    F32 scale = {};
    std::memcpy(&scale, scales, sizeof(scales));
    const I32 stored = ClampInt(RoundToInt(0.5f * (inverse * scale - 1.0f)), 0,
                                iq3::kScaleHigh);
    for (int g = 0; g < kGroups; ++g) {
      fields.scales[g] = static_cast<uint8_t>(stored[g]);
    }
    fields.half =
        static_cast<uint16_t>(F16FromFloat(Splat(d * Type::kStretch))[0]);
  } else if (!Type::kClosesGaps) {
    fields = Fields();
  }
  PackFields(Type(), fields, bytes);
  return true;
}

// Twice the mean squares of kLanes blocks, those beyond `n_blocks` the first's.
NARROW_LANE_FUNCTION F32 Variances(const float* weights, int n_blocks) {
  F32 sum = {};
  for (int first = 0; first < kSuperBlock; first += kLanes) {
    F32 x[kLanes];
    LoadBlocks<kLanes>(weights + first, kSuperBlock, n_blocks, x);
    for (int i = 0; i < kLanes; ++i) {
      sum += x[i] * x[i];
    }
  }
  return 2.0f * sum / static_cast<float>(kSuperBlock);
}

template <class Type>
NARROW_LANE_FUNCTION void EncodeRows(const float* weights, int64_t n_rows,
                                     int64_t n_cols, const float* importance,
                                     uint8_t* bytes) {
  const Candidates& candidates = CandidatesOf(Type());
  const int64_t n_blocks = n_rows * (n_cols / kSuperBlock);
  int64_t col = 0;
  F32 variances = {};
  for (int64_t block = 0; block < n_blocks; ++block) {
    const int lane = static_cast<int>(block % kLanes);
    if (lane == 0 && importance != nullptr) {
      const int64_t left = n_blocks - block;
      variances =
          Variances(weights, left < kLanes ? static_cast<int>(left) : kLanes);
    }
    const float* column_weights =
        importance != nullptr ? importance + col : nullptr;
    if (!IsOrdinary(weights, column_weights) ||
        !EncodeOrdinary<Type>(candidates, weights, column_weights,
                              variances[lane], bytes)) {
      EncodeBlock(Type(), weights, column_weights, bytes);
    }
    col = col + kSuperBlock == n_cols ? 0 : col + kSuperBlock;
    weights += kSuperBlock;
    bytes += Type::kBytes;
  }
}

}  // namespace
}  // namespace iq3_lanes

void EncodeIQ3_XXS(const float* weights, int64_t n_rows, int64_t n_cols,
                   const float* importance, uint8_t* bytes) {
  iq3_lanes::EncodeRows<iq3::IQ3_XXS>(weights, n_rows, n_cols, importance,
                                      bytes);
}

void EncodeIQ3_S(const float* weights, int64_t n_rows, int64_t n_cols,
                 const float* importance, uint8_t* bytes) {
  iq3_lanes::EncodeRows<iq3::IQ3_S>(weights, n_rows, n_cols, importance, bytes);
}

}  // namespace NARROW_SIMD
}  // namespace narrow
