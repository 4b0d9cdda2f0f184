// Encoders with a block in every lane: where the blocks lie, their weights
// as vectors, and the loop over all. For the sources of simd_library targets.
//
//   ForEachGroup<kBlock, kBytes>(weights, n_rows, n_cols, importance, bytes,
//                                [](const Group& group, uint8_t* out) {
//     F32 x[kBlock];
//     LoadLanes<kBlock>(group.weights, 0, x);     // x[i] lane k: block k
//
// The kLanes blocks of a group are neighbours in memory and thus maybe of
// several rows. A lane without a block repeats the first one, and its result
// is dropped.

#ifndef NARROW_KERNELS_QUANT_BLOCK_LANES_H_
#define NARROW_KERNELS_QUANT_BLOCK_LANES_H_

#include <cstdint>

#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {

// Where the blocks of a group lie.
struct Group {
  int n_blocks;  // 1 … kLanes
  const float* weights[kLanes];
  const float* importance[kLanes];  // all nullptr without
};

// out[i] lane k = blocks[k][first + i] for kSize weights.
template <int kSize>
NARROW_LANE_FUNCTION void LoadLanes(const float* const* blocks, int first,
                                    F32* out) {
  static_assert(kSize % kLanes == 0, "whole squares only");
  for (int i = 0; i < kSize; i += kLanes) {
    F32 square[kLanes];
    for (int k = 0; k < kLanes; ++k) {
      square[k] = Load(blocks[k] + first + i);
    }
    Transpose(square);
    for (int k = 0; k < kLanes; ++k) {
      out[i + k] = square[k];
    }
  }
}

// Lanes in which some of the `n` numbers is infinite or a NaN.
NARROW_LANE_FUNCTION I32 NotFinite(const F32* numbers, int n) {
  I32 greatest = {};
  for (int i = 0; i < n; ++i) {
    greatest = MaxInt(greatest, AsInt(numbers[i]) & 0x7fffffff);
  }
  return greatest >= 0x7f800000;
}

// Calls encode(group, first byte) for all blocks of the rows.
template <int kBlock, int kBytes, class Encode>
NARROW_LANE_FUNCTION void ForEachGroup(const float* weights, int64_t n_rows,
                                       int64_t n_cols, const float* importance,
                                       uint8_t* bytes, const Encode& encode) {
  const int64_t n_blocks = n_rows * (n_cols / kBlock);
  int64_t col = 0;
  for (int64_t block = 0; block < n_blocks; block += kLanes) {
    Group group;
    const int64_t left = n_blocks - block;
    group.n_blocks = left < kLanes ? static_cast<int>(left) : kLanes;
    for (int k = 0; k < kLanes; ++k) {
      const bool present = k < group.n_blocks;
      group.weights[k] =
          present ? weights + (block + k) * kBlock : group.weights[0];
      group.importance[k] = importance == nullptr ? nullptr
                            : present             ? importance + col
                                                  : group.importance[0];
      if (present) {
        col = col + kBlock == n_cols ? 0 : col + kBlock;
      }
    }
    encode(group, bytes + block * kBytes);
  }
}

}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_BLOCK_LANES_H_
