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
using iq3::kLevelShift;
using iq3::kNumbers;
using iq3::kPoint;
using iq3::kPointsPerGroup;
using iq3::kSuperBlock;

// Numbers that the reasoning of candidates.h covers: nothing overflows, and
// scales are precise.
constexpr float kLargestWeight = 0x1p30f;
constexpr float kLargestImportance = 0x1p60f;
constexpr float kLeastMagnitude = 0x1p-60f;

template <class Type>
struct Scan {
  static constexpr int kScales = 2 * Type::kScan + 1;
  static constexpr int kVectors = (kScales + kLanes - 1) / kLanes;
  static constexpr int kPadded = kVectors * kLanes;
};

// Scales a row of the cost table; a candidate's byte is a row's place / 8.
constexpr int kRow = 32;
static_assert(kRow * sizeof(float) == 8 << kLevelShift, "see Cost");
constexpr int kCosts = kPoint * kLevels * kRow;

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

NARROW_LANE_FUNCTION float LargestOf(const float* values, int n) {
  F32 least = -Load(values);
  for (int i = kLanes; i < n; i += kLanes) {
    least = Min(least, -Load(values + i));
  }
  return -LeastOfAll(least)[0];
}

// See SplitSigns in reference.cc.
NARROW_LANE_FUNCTION void MakeSignsEven(Group* group, const float* matters) {
  for (int k = 0; k < 4; ++k) {
    const uint32_t signs = group->signs[k];
    if (__builtin_parity(signs) == 0) {
      continue;
    }
    int at = 8 * k;
    for (int i = 8 * k + 1; i < 8 * k + 8; ++i) {
      at = matters[i] < matters[at] ? i : at;
    }
    group->x[at] = -group->x[at];
    group->weighted_x[at] = -group->weighted_x[at];
    group->signs[k] = static_cast<uint8_t>(signs ^ 1u << (at - 8 * k));
  }
}

template <class Type>
NARROW_LANE_FUNCTION void LoadGroup(const float* weights,
                                    const float* importance, float variance,
                                    Group* group) {
  alignas(64) float matters[kGroup];
  uint32_t signs = 0;
  for (int i = 0; i < kGroup; i += kLanes) {
    const F32 x = Load(weights + i);
    F32 weight = x * x;
    if (importance != nullptr) {
      weight = Load(importance + i) * Sqrt(Splat(variance) + weight);
    }
    // A zero of either sign is not negative.
    const I32 negative = x < F32{};
    signs |= LaneBits(negative) << i;
    const F32 magnitude = Select(negative, -x, x);
    Store(magnitude, group->x + i);
    Store(weight, group->weight + i);
    Store(Sqrt(weight), group->metric + i);
    Store(weight * magnitude, group->weighted_x + i);
    Store(weight * x * x, matters + i);
  }
  std::memcpy(group->signs, &signs, sizeof(signs));
  if (Type::kEvenSigns) {
    MakeSignsEven(group, matters);
  }
  group->largest = LargestOf(group->x, kGroup);
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

// costs[level of coordinate i][scale].
template <class Type>
NARROW_LANE_FUNCTION void FillCosts(const Scales<Type>& scales, const float* x,
                                    const float* metric, float* costs) {
  for (int level = 0; level < kLevels; ++level) {
    for (int v = 0; v < Scan<Type>::kVectors; ++v) {
      const F32 value = scales.scale[v] * static_cast<float>(2 * level + 1);
      for (int i = 0; i < kPoint; ++i) {
        const F32 miss = value - Splat(x[i]);
        Store(Splat(metric[i]) * miss * miss,
              costs + (i * kLevels + level) * kRow + v * kLanes);
      }
    }
  }
}

// The distances to a candidate, from the costs of the first scale on.
NARROW_LANE_FUNCTION F32 Distance(const float* costs, const uint32_t* word) {
  const uint8_t* rows = reinterpret_cast<const uint8_t*>(word);
  const uint8_t* table = reinterpret_cast<const uint8_t*>(costs);
  constexpr int kCoordinate = kLevels * kRow * sizeof(float);
  const auto cost = [&](int i) {
    F32 value;
    __builtin_memcpy(&value, table + i * kCoordinate + rows[i] * 8,
                     sizeof(value));
    return value;
  };
  return ((cost(0) + cost(1)) + cost(2)) + cost(3);
}

NARROW_LANE_FUNCTION I32 NearestOf(const float* costs, const uint32_t* words,
                                   int n_words) {
  F32 least = Distance(costs, words);
  I32 nearest = SplatInt(static_cast<int32_t>(words[0]));
  for (int j = 1; j < n_words; ++j) {
    const F32 distance = Distance(costs, words + j);
    nearest = SelectInt(distance < least,
                        SplatInt(static_cast<int32_t>(words[j])), nearest);
    least = Min(distance, least);
  }
  return nearest;
}

// The nearest candidates under each scale.
template <class Type>
NARROW_LANE_FUNCTION void ChoosePoints(const Candidates& candidates,
                                       uint32_t starts, const int32_t* numbers,
                                       const float* costs, int32_t* chosen) {
  int start = 0;
  starts &= starts - 1;  // the first is the start of a run
  for (;;) {
    const int end = starts != 0 ? __builtin_ctz(starts) : Scan<Type>::kScales;
    const uint32_t entry = candidates.entries[numbers[start]];
    const uint32_t* words = candidates.words + (entry & iq3::kFirstMask);
    const int n_words = static_cast<int>(entry >> iq3::kCountShift);
    // What is written beyond `end` is overwritten by the next run.
    for (; start < end; start += kLanes) {
      StoreInts(n_words == 1 ? SplatInt(static_cast<int32_t>(words[0]))
                             : NearestOf(costs + start, words, n_words),
                chosen + start);
    }
    if (starts == 0) {
      break;
    }
    start = end;
    starts &= starts - 1;
  }
}

// What the scan found: the best scale's candidates, if there is one.
struct Best {
  float scale;
  uint32_t words[kPointsPerGroup];
};

template <class Type>
NARROW_LANE_FUNCTION void ScanScales(const Candidates& candidates,
                                     const Group& group, Best* best) {
  using S = Scan<Type>;
  Scales<Type> scales;
  MakeScales(group.largest, &scales);
  // Runs and rows are read and written kLanes at a time.
  alignas(64) int32_t chosen[kPointsPerGroup][S::kPadded + kLanes];
  alignas(64) float costs[kCosts + kLanes];
  F32 xq[S::kVectors] = {};
  F32 qq[S::kVectors] = {};
  const F32 odd = OddNumbers();
  for (int p = 0; p < kPointsPerGroup; ++p) {
    const int at = kPoint * p;
    alignas(64) int32_t numbers[S::kPadded];
    const uint32_t starts = NumberLevels(scales, group.x + at, numbers);
    FillCosts(scales, group.x + at, group.metric + at, costs);
    ChoosePoints<Type>(candidates, starts, numbers, costs, chosen[p]);
    for (int v = 0; v < S::kVectors; ++v) {
      const I32 words = LoadInts(chosen[p] + v * kLanes);
      for (int i = 0; i < kPoint; ++i) {
        const F32 q = Lookup8(odd, words >> (8 * i + kLevelShift));
        xq[v] += Splat(group.weighted_x[at + i]) * q;
        qq[v] += Splat(group.weight[at + i]) * q * q;
      }
    }
  }
  alignas(64) float squares[S::kPadded];
  alignas(64) float scores[S::kPadded];
  alignas(64) float fits[S::kPadded];
  alignas(64) float sums[S::kPadded];
  for (int v = 0; v < S::kVectors; ++v) {
    const F32 fit = xq[v] / qq[v];
    Store(fit, fits + v * kLanes);
    Store(fit * xq[v], scores + v * kLanes);
    Store(xq[v] * xq[v], squares + v * kLanes);
    Store(qq[v], sums + v * kLanes);
  }
  int found = -1;
  float score = 0;
  for (int k = 0; k < S::kScales; ++k) {
    if (sums[k] > 0 && squares[k] > score * sums[k]) {
      found = k;
      score = scores[k];
    }
  }
  if (found < 0) {
    best->scale = group.largest / iq3::kTopLevel;
    for (int p = 0; p < kPointsPerGroup; ++p) {
      best->words[p] = Type::kRefineAll ? 0 : kInGrid;
    }
    return;
  }
  best->scale = fits[found];
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
    levels >>= kLevelShift;
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
                                  candidates.words + (entry & iq3::kFirstMask),
                                  static_cast<int>(entry >> iq3::kCountShift));
  }
  float xq = 0;
  float qq = 0;
  for (int i = 0; i < kGroup; ++i) {
    const uint32_t level =
        best->words[i / kPoint] >> (8 * (i % kPoint) + kLevelShift) & 7;
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
      const uint32_t levels = best.words[p] >> kLevelShift;
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
