// The k-quant encoders with a super-block in every lane: what all types
// share. affine_simd.cc and symmetric_simd.cc choose the scales.
//
// The super-blocks of a group are transposed so that vector i holds weight i
// of each. Scales are searched in that form. What follows is independent from
// weight to weight, so the weights are rounded and packed a block at a time
// from where they lie.

#ifndef NARROW_KERNELS_QUANT_K_ENCODE_LANES_H_
#define NARROW_KERNELS_QUANT_K_ENCODE_LANES_H_

#include <cstdint>
#include <cstring>

#include "kernels/quant/block_lanes.h"
#include "kernels/quant/k/code_planes.h"
#include "kernels/quant/k/plain_calls.h"
#include "kernels/quant/k/sub_scales.h"
#include "kernels/quant/k/super_block.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace k_lanes {

using k_quants::kSuperBlock;
using k_quants::SubScales;

NARROW_LANE_FUNCTION F32 SumOfSquares(const F32* x, int n) {
  F32 sum = {};
  for (int i = 0; i < n; ++i) {
    sum += x[i] * x[i];
  }
  return sum;
}

// What a type's search gives, in lanes.
struct GroupScales {
  F32 d;
  F32 dmin;
  I32 scales[16];
  I32 mins[16];
  I32 failed;  // lanes to be encoded plainly
  // How the search ended in each sub-block, for its codes.
  F32 inverse[16];
  F32 from[16];
};

// Codes of a search that GroupScales does not tell.
struct UnknownCodes {
  static constexpr bool kKnown = false;
  static I32 Code(F32 /*x*/, float /*inverse*/, float /*from*/) {
    return I32{};
  }
};

NARROW_LANE_FUNCTION bool IsZero(const float* numbers, int n) {
  I32 other = {};
  for (int i = 0; i < n; i += kLanes) {
    other |= Load(numbers + i) != F32{};
  }
  return !Any(other);
}

// Rounds a block, lane `lane` of its group, under its stored scales. Where a
// stored scale is zero, ggml keeps the codes of its search: the lowest if the
// weights are zero, else those of SearchCodes. False if these are not known.
template <class Type, int kLow, int kHigh, class SearchCodes>
NARROW_LANE_FUNCTION bool RoundBlock(const float* weights,
                                     const SubScales& stored,
                                     const GroupScales& search, int lane,
                                     uint8_t* codes) {
  constexpr int kSubBlocks = kSuperBlock / Type::kSubBlock;
  bool known = true;
  for (int g = 0; g < kSubBlocks; ++g) {
    const float scale = stored.d * static_cast<float>(stored.scales[g]);
    const float low = stored.dmin * static_cast<float>(stored.mins[g]);
    const int first = g * Type::kSubBlock;
    if (scale == 0) {
      if (IsZero(weights + first, Type::kSubBlock)) {
        std::memset(codes + first, 0, Type::kSubBlock);
        continue;
      }
      known &= SearchCodes::kKnown;
    }
    for (int i = first; i < first + Type::kSubBlock; i += kLanes) {
      const F32 x = Load(weights + i);
      I32 code;
      if (scale == 0) {
        code =
            SearchCodes::Code(x, search.inverse[g][lane], search.from[g][lane]);
      } else {
        code =
            ClampInt(RoundToInt((x + Splat(low)) / Splat(scale)), kLow, kHigh);
      }
      StoreBytes(code - kLow, codes + i);
    }
  }
  return known;
}

template <class Type, int kLow, int kHigh, class SearchCodes>
NARROW_LANE_FUNCTION void StoreGroup(const Group& group,
                                     const GroupScales& scales,
                                     uint8_t* bytes) {
  constexpr int kSubBlocks = kSuperBlock / Type::kSubBlock;
  for (int k = 0; k < group.n_blocks; ++k, bytes += Type::kBytes) {
    bool done = false;
    if (!scales.failed[k]) {
      SubScales block = {};
      block.d = scales.d[k];
      block.dmin = scales.dmin[k];
      for (int g = 0; g < kSubBlocks; ++g) {
        block.scales[g] = scales.scales[g][k];
        block.mins[g] = scales.mins[g][k];
      }
      PackScales(Type(), block, bytes);
      UnpackScales(Type(), bytes, &block);
      uint8_t codes[kSuperBlock];
      done = RoundBlock<Type, kLow, kHigh, SearchCodes>(group.weights[k], block,
                                                        scales, k, codes);
      PackCodes(Type(), codes, bytes);
    }
    if (!done) {
      EncodePlainly(Type(), group.weights[k], group.importance[k], bytes);
    }
  }
}

}  // namespace k_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_K_ENCODE_LANES_H_
