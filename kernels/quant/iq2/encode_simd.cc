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
#include "kernels/quant/iq2/choice_lanes.h"
#include "kernels/quant/iq2/group_lanes.h"
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

// What the batches of a few blocks give, group by group.
struct Fits {
  alignas(64) float scales[kLanes * iq2::kMaxGroups];
  alignas(64) int32_t failed[kLanes * iq2::kMaxGroups];
  uint16_t words[kLanes * kUnits];
  uint8_t signs[kLanes * kUnits];
};

// Groups `first` and following of `fits`.
template <class Type>
void FitBatch(const NearLists& lists, const Groups<Type>& groups, int first,
              Fits* fits) {
  using B = Batch<Type>;
  B batch;
  Prepare(groups, &batch);
  RoundCandidates(&batch);
  const uint32_t active = LaneBits(batch.active);
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
    const I32 signs = (groups.signs[k] ^ (turned & 255)) & batch.active;
    for (int lane = 0; lane < groups.n; ++lane) {
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

// Batches whose tops are searched for together.
template <class Type>
constexpr int SideBySide() {
  return Type::kSearchesTop ? 4 : 1;
}

template <class Type>
NARROW_LANE_FUNCTION void SearchTops(const F32* x, const F32* w,
                                     Groups<Type>* sides) {
  constexpr int kSideBySide = SideBySide<Type>();
  I32 codes[kSideBySide * Type::kGroup];
  F32 units[kSideBySide];
  k_lanes::SearchUnits<Type::kGroup, 4, kSideBySide>(x, w, codes, units);
  for (int side = 0; side < kSideBySide; ++side) {
    sides[side].scale = units[side];
    sides[side].top = units[side] * Splat(3.0f);
    sides[side].zero |= sides[side].top <= F32{};
  }
}

// `n_blocks` <= kLanes blocks.
template <class Type>
void EncodeBlocks(const NearLists& lists, const float* weights, int n_blocks,
                  const float* importance, int64_t col, int64_t n_cols,
                  uint8_t* bytes) {
  constexpr int kGroups = kSuperBlock / Type::kGroup;
  constexpr int kSideBySide = SideBySide<Type>();
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
  const int n = n_blocks * kGroups;
  for (int first = 0; first < n; first += kLanes * kSideBySide) {
    F32 x[kSideBySide * Type::kGroup];
    F32 w[kSideBySide * Type::kGroup];
    Groups<Type> sides[kSideBySide] = {};
    int n_sides = 0;
    for (int side = 0; side < kSideBySide; ++side) {
      const int at = first + side * kLanes;
      Groups<Type>& groups = sides[side];
      groups.n = n - at < kLanes ? n - at : kLanes;
      groups.x = x + side * Type::kGroup;
      groups.weights = w + side * Type::kGroup;
      if (groups.n <= 0) {
        // The search below takes no harm from what the first side has.
        for (int i = 0; i < Type::kGroup; ++i) {
          groups.x[i] = x[i];
          groups.weights[i] = w[i];
        }
        continue;
      }
      ++n_sides;
      alignas(64) float variance[kLanes];
      const float* group_importance[kLanes];
      for (int k = 0; k < kLanes; ++k) {
        const int g = at + (k < groups.n ? k : 0);
        variance[k] = variances[g / kGroups];
        group_importance[k] =
            importance == nullptr
                ? nullptr
                : block_importance[g / kGroups] + g % kGroups * Type::kGroup;
      }
      LoadGroups(weights + at * Type::kGroup, group_importance, Load(variance),
                 &groups);
    }
    if (Type::kSearchesTop) {
      SearchTops(x, w, sides);
    }
    for (int side = 0; side < n_sides; ++side) {
      FitBatch(lists, sides[side], first + side * kLanes, &fits);
    }
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
