// Encoders of IQ3_XXS and IQ3_S, a group at a time with its candidate scales
// in the lanes.
//
// For each 4 weights and each candidate scale of their group, ggml rounds to
// levels and, where these are no point of the grid, looks for the nearest
// point of a list: nearest_lanes.h, whose lists candidates.h shortens. Each
// lane then does the sums of reference.cc in their order. Blocks with numbers
// for which the shortened lists might not do are left to it.

#include <cstdint>
#include <cstring>

#include "kernels/quant/iq3/candidates.h"
#include "kernels/quant/iq3/fields.h"
#include "kernels/quant/iq3/group_lanes.h"
#include "kernels/quant/iq3/layout.h"
#include "kernels/quant/iq3/nearest_lanes.h"
#include "kernels/quant/iq3/reference.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq3_lanes {
namespace {

using iq3::Fields;
using iq3::kGroups;
using iq3::kInGrid;
using iq3::kSuperBlock;

// Numbers that the reasoning of candidates.h and nearest_lanes.h covers: sums
// and distances are finite, scales are precise.
constexpr float kLargestWeight = 0x1p30f;
constexpr float kLargestImportance = 0x1p40f;
constexpr float kLeastMagnitude = 0x1p-30f;

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
  alignas(64) int32_t numbers[kPointsPerGroup][S::kPadded];
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
