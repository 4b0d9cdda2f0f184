// The IQ1 encoders with a block in every lane.
//
// kLanes blocks, neighbours in memory and thus maybe of several rows, are
// transposed so that vector i holds weight i of each. What is one chain of
// operations for a block, its sums and its sorted groups, is done in that
// form; the search for a near point of an octet has lanes of its own. A lane
// without a block repeats the first one, and its result is dropped.

#include <cstdint>

#include "kernels/quant/iq1/fields.h"
#include "kernels/quant/iq1/groups.h"
#include "kernels/quant/iq1/near_lists.h"
#include "kernels/quant/iq1/near_search_lanes.h"
#include "kernels/quant/iq1/plain_calls.h"
#include "kernels/quant/iq1/split_lanes.h"
#include "kernels/quant/iq1/split_search.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq1_lanes {
namespace {

using iq1::Groups;
using iq1::kBlock;
using iq1::kOctets;
using iq1::NearLists;

struct Blocks {
  int n;  // 1 … kLanes
  const float* weights[kLanes];
  const float* importance[kLanes];  // all nullptr without
};

// What is found for all blocks.
template <class Type>
struct Found {
  static constexpr int kGroups = kBlock / Type::kGroup;
  F32 x[kBlock];
  float w[kLanes][kBlock];
  F32 scales[kGroups];
  I32 shifts[kGroups];
  I32 levels[kOctets];  // of points, two bits each
  I32 failed;           // lanes to be encoded plainly
};

// out[i] lane k = rows[k][first + i].
template <int kSize>
NARROW_LANE_FUNCTION void LoadLanes(const float* const* rows, int first,
                                    F32* out) {
  for (int i = 0; i < kSize; i += kLanes) {
    F32 square[kLanes];
    for (int k = 0; k < kLanes; ++k) {
      square[k] = Load(rows[k] + first + i);
    }
    Transpose(square);
    for (int k = 0; k < kLanes; ++k) {
      out[i + k] = square[k];
    }
  }
}

// Weights in lanes, and what each counts; as WeighBlock of the reference.
template <class Type>
NARROW_LANE_FUNCTION void WeighBlocks(const Blocks& blocks,
                                      Found<Type>* found) {
  LoadLanes<kBlock>(blocks.weights, 0, found->x);
  F32 squares = {};
  I32 greatest = {};
  for (int i = 0; i < kBlock; ++i) {
    squares += found->x[i] * found->x[i];
    greatest = MaxInt(greatest, AsInt(found->x[i]) & 0x7fffffff);
  }
  found->failed = greatest >= 0x7f800000;
  const F32 variance = squares * 2.0f / static_cast<float>(kBlock);
  for (int k = 0; k < kLanes; ++k) {
    const float* row = blocks.weights[k];
    const float* importance = blocks.importance[k];
    I32 bad = {};
    for (int i = 0; i < kBlock; i += kLanes) {
      const F32 x = Load(row + i);
      F32 w = x * x;
      if (importance != nullptr) {
        w = Load(importance + i) * Sqrt(Splat(variance[k]) + w);
      }
      bad |= ~((w >= F32{}) & (w < Splat(FLT_MAX)));
      Store(w, found->w[k] + i);
    }
    if (Any(bad)) {
      found->failed[k] = -1;
    }
  }
}

template <class Type>
NARROW_LANE_FUNCTION I32 IsDown(I32 shift, int octet) {
  return Type::kShifts == 2 || octet == 1 ? (shift & 1) != 0 : (shift & 2) != 0;
}

// Splits as numbers in memory.
template <class Type>
struct ScalarSplits {
  static constexpr int kGroupOctets = Type::kGroup / kOctet;
  float scale[kLanes];
  int32_t shift[kLanes];
  int32_t levels[kGroupOctets][kLanes];  // later those of the points
  int32_t orderly[kGroupOctets][kLanes];

  NARROW_LANE_FUNCTION void Set(const SplitLanes<Type>& split, const F32* x,
                                const F32* w) {
    Store(split.scale, scale);
    StoreInts(split.shift, shift);
    for (int o = 0; o < kGroupOctets; ++o) {
      StoreInts(split.levels[o], levels[o]);
      StoreInts(IsOrderly(split.levels[o], x + o * kOctet, w + o * kOctet,
                          split.scale, IsDown<Type>(split.shift, o)),
                orderly[o]);
    }
  }
  // No scale, and point 0, whose levels are all 0.
  NARROW_LANE_FUNCTION void Clear(int lane) {
    scale[lane] = 0;
    shift[lane] = 0;
    for (int o = 0; o < kGroupOctets; ++o) {
      levels[o][lane] = 0;
    }
  }
};

// The plain search in one lane.
template <class Type>
NARROW_LANE_FUNCTION void FindSplitPlainly(const float* x, const float* w,
                                           int lane,
                                           ScalarSplits<Type>* splits) {
  iq1::Split plain;
  if (!FindSplit(Type(), x, w, &plain)) {
    splits->Clear(lane);
    return;
  }
  splits->scale[lane] = plain.scale;
  splits->shift[lane] = plain.shift;
  for (int o = 0; o < Type::kGroup / kOctet; ++o) {
    int packed = 0;
    for (int i = 0; i < kOctet; ++i) {
      packed |= plain.levels[kOctet * o + i] << (2 * i);
    }
    splits->levels[o][lane] = packed;
    splits->orderly[o][lane] = 0;
  }
}

// Value of a level of an octet, by the packed levels of its point.
NARROW_LANE_FUNCTION F32 LevelValue(I32 packed, int i, I32 down) {
  const F32 up = Lookup4(Repeat4(_mm_set_ps(0.0f, kUp[2], kUp[1], kUp[0])),
                         packed >> (2 * i));
  return up - Select(down, Splat(0.25f), F32{});
}

// Fits group `g` of all blocks.
template <class Type>
NARROW_LANE_FUNCTION void FitGroup(const Blocks& blocks, const NearLists& near,
                                   int g, Found<Type>* found) {
  constexpr int kSize = Type::kGroup;
  constexpr int kGroupOctets = kSize / kOctet;
  const int first = g * kSize;
  const F32* x = found->x + first;
  const float* rows[kLanes];
  for (int k = 0; k < kLanes; ++k) {
    rows[k] = found->w[k];
  }
  F32 w[kSize];
  LoadLanes<kSize>(rows, first, w);
  F32 largest = Abs(x[0]);
  for (int i = 1; i < kSize; ++i) {
    largest = Max(largest, Abs(x[i]));
  }

  SplitLanes<Type> split;
  FindSplits<Type>(x, w, &split);
  ScalarSplits<Type> scalar;
  scalar.Set(split, x, w);
  // (A lane that fails needs no search.)
  const I32 idle =
      found->failed | (largest < Splat(Type::kZeroLimit)) | split.none;
  for (uint32_t lanes = LaneBits(split.failed & ~idle); lanes != 0;
       lanes &= lanes - 1) {
    const int k = __builtin_ctz(lanes);
    FindSplitPlainly<Type>(blocks.weights[k] + first, found->w[k] + first, k,
                           &scalar);
  }
  for (uint32_t lanes = LaneBits(idle); lanes != 0; lanes &= lanes - 1) {
    scalar.Clear(__builtin_ctz(lanes));
  }
  // Octets that are no points, those with a short list and others. (Found
  // beforehand, as branches would often be mispredicted.)
  struct {
    int32_t first;
    int16_t n;
    uint8_t octet;
    uint8_t lane;
  } sought[2][kGroupOctets * kLanes + 1];
  int n_sought[2] = {};
  int32_t inexact[kLanes] = {};
  for (int o = 0; o < kGroupOctets; ++o) {
    for (int k = 0; k < blocks.n; ++k) {
      const NearLists::Entry entry = near.Find(scalar.levels[o][k]);
      const bool orderly = scalar.orderly[o][k] != 0;
      const int32_t first_point = orderly ? entry.first : entry.first_whole;
      const int16_t n = orderly ? entry.n : entry.n_whole;
      __builtin_prefetch(near.levels + first_point);
      const int many = n > iq1::kNearStep;
      const int32_t is_sought = entry.n != 0;
      sought[many][n_sought[many]] = {first_point, n, static_cast<uint8_t>(o),
                                      static_cast<uint8_t>(k)};
      n_sought[many] += is_sought;
      inexact[k] |= -is_sought;
    }
  }
  for (int many = 0; many < 2; ++many) {
    for (int i = 0; i < n_sought[many]; ++i) {
      const int o = sought[many][i].octet;
      const int k = sought[many][i].lane;
      F32 costs[kOctet];
      MakeCosts(blocks.weights[k] + first + o * kOctet,
                found->w[k] + first + o * kOctet, scalar.scale[k],
                Type::IsDown(scalar.shift[k], o) ? kDown : kUp, costs);
      const uint16_t* list = near.levels + sought[many][i].first;
      scalar.levels[o][k] = many ? NearestOfMany(list, sought[many][i].n, costs)
                                 : NearestOfFew(list, costs);
    }
  }

  const F32 scale = Load(scalar.scale);
  found->shifts[g] = LoadInts(scalar.shift);
  F32 code_x = {};
  F32 code_square = {};
  for (int o = 0; o < kGroupOctets; ++o) {
    const I32 packed = LoadInts(scalar.levels[o]);
    found->levels[first / kOctet + o] = packed;
    const I32 down = IsDown<Type>(found->shifts[g], o);
    for (int i = 0; i < kOctet; ++i) {
      const F32 q = LevelValue(packed, i, down);
      const int k = o * kOctet + i;
      code_x += w[k] * q * x[k];
      code_square += w[k] * q * q;
    }
  }
  const I32 solvable =
      LoadInts(inexact) & (code_x > F32{}) & (code_square > F32{});
  found->scales[g] = Select(solvable, code_x / code_square, scale);
}

// The factor that a block's scale is fitted with again after all is rounded;
// `unit` is what it is without.
NARROW_LANE_FUNCTION F32 FitBlock(const Found<IQ1_S>& /*found*/,
                                  const I32* /*scales*/, F32 unit) {
  return unit;
}

NARROW_LANE_FUNCTION F32 FitBlock(const Found<IQ1_M>& found, const I32* scales,
                                  F32 unit) {
  const float* rows[kLanes];
  for (int k = 0; k < kLanes; ++k) {
    rows[k] = found.w[k];
  }
  F32 code_x = {};
  F32 code_square = {};
  for (int g = 0; g < Found<IQ1_M>::kGroups; ++g) {
    F32 w[IQ1_M::kGroup];
    LoadLanes<IQ1_M::kGroup>(rows, g * IQ1_M::kGroup, w);
    const F32 times = ToFloat(2 * scales[g] + 1);
    for (int o = 0; o < 2; ++o) {
      const I32 packed = found.levels[2 * g + o];
      const I32 down = IsDown<IQ1_M>(found.shifts[g], o);
      for (int i = 0; i < kOctet; ++i) {
        const F32 q = LevelValue(packed, i, down) * times;
        const F32 wq = w[o * kOctet + i] * q;
        code_x += wq * found.x[g * IQ1_M::kGroup + o * kOctet + i];
        code_square += wq * q;
      }
    }
  }
  return Select(code_square > F32{}, code_x / code_square, unit);
}

template <class Type>
void EncodeGroupOfBlocks(const Blocks& blocks, uint8_t* bytes) {
  constexpr int kGroups = kBlock / Type::kGroup;
  const NearLists& near = iq1::Iq1NearLists();
  Found<Type> found;
  WeighBlocks<Type>(blocks, &found);
  F32 largest = {};
  for (int g = 0; g < kGroups; ++g) {
    FitGroup<Type>(blocks, near, g, &found);
    largest = Max(largest, found.scales[g]);
  }
  const I32 zero = largest == F32{};
  const F32 unit = largest / 15.0f;
  const F32 inverse = 1.0f / unit;
  I32 scales[kGroups];
  for (int g = 0; g < kGroups; ++g) {
    scales[g] = ClampInt(RoundToInt(0.5f * (inverse * found.scales[g] - 1.0f)),
                         0, iq1::kScaleHigh);
    scales[g] = SelectInt(zero, I32{}, scales[g]);
    found.shifts[g] = SelectInt(zero, I32{}, found.shifts[g]);
  }
  const F32 d =
      Select(zero, F32{}, FitBlock(found, scales, unit) * Type::kFactor);
  for (int k = 0; k < blocks.n; ++k, bytes += Type::kBytes) {
    // A scale that is no number is one that ggml refuses.
    if (found.failed[k] || !(largest[k] >= 0 && largest[k] <= FLT_MAX)) {
      EncodePlainly(Type(), blocks.weights[k], blocks.importance[k], bytes);
      continue;
    }
    Groups groups;
    groups.d = d[k];
    for (int g = 0; g < kGroups; ++g) {
      groups.scales[g] = scales[g][k];
      groups.shifts[g] = found.shifts[g][k];
    }
    for (int o = 0; o < kOctets; ++o) {
      groups.points[o] =
          static_cast<uint16_t>(near.Find(found.levels[o][k]).first);
    }
    StoreGroups(Type(), groups, bytes);
  }
}

template <class Type>
NARROW_LANE_FUNCTION void EncodeRows(const float* weights, int64_t n_rows,
                                     int64_t n_cols, const float* importance,
                                     uint8_t* bytes) {
  const int64_t n_blocks = n_rows * (n_cols / kBlock);
  int64_t col = 0;
  for (int64_t block = 0; block < n_blocks; block += kLanes) {
    Blocks blocks;
    const int64_t left = n_blocks - block;
    blocks.n = left < kLanes ? static_cast<int>(left) : kLanes;
    for (int k = 0; k < kLanes; ++k) {
      const bool present = k < blocks.n;
      blocks.weights[k] =
          present ? weights + (block + k) * kBlock : blocks.weights[0];
      blocks.importance[k] = importance == nullptr ? nullptr
                             : present             ? importance + col
                                                   : blocks.importance[0];
      if (present) {
        col = col + kBlock == n_cols ? 0 : col + kBlock;
      }
    }
    EncodeGroupOfBlocks<Type>(blocks, bytes + block * Type::kBytes);
  }
}

}  // namespace
}  // namespace iq1_lanes

void EncodeIQ1_S(const float* weights, int64_t n_rows, int64_t n_cols,
                 const float* importance, uint8_t* bytes) {
  iq1_lanes::EncodeRows<iq1::IQ1_S>(weights, n_rows, n_cols, importance, bytes);
}

void EncodeIQ1_M(const float* weights, int64_t n_rows, int64_t n_cols,
                 const float* importance, uint8_t* bytes) {
  iq1_lanes::EncodeRows<iq1::IQ1_M>(weights, n_rows, n_cols, importance, bytes);
}

}  // namespace NARROW_SIMD
}  // namespace narrow
