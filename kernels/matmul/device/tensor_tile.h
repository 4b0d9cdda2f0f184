// A product of bfloat16 matrices on tensor cores, as the work of a block of
// threads: a tile of 128 x 128 of the result.
//
//   out[i, j] = sum over k of left(i, k) * right(j, k) (+ bias[j]) (+ out[i,
//   j])
//
// Stripes of both operands, 32 deep, go through shared memory in kStages
// stages, copied (cp.async) while earlier ones are multiplied. Eight warps
// have 64 x 32 of the tile each, as 4 x 4 fragments of mma.m16n8k16. Float32
// sums; the order inside a fragment is the card's.
//
// An operand lies by depth (neighbours in k are neighbours in memory) or by
// rows, and so does its stripe, in chunks of sixteen bytes:
//
//   by depth: [128 rows][4 chunks of k], chunk c of row i at c ^ (i / 2 % 4)
//   by rows:  [32 k][16 chunks of i],    chunk c of k at c ^ (k % 8)
//
// so that the eight chunks that ldmatrix reads at once lie in different banks.
//
// The code is a template over the block: a card's (warp/card_block.h) or the
// CPU's (warp/host_block.h), barriers, copies and all.

#ifndef NARROW_KERNELS_MATMUL_DEVICE_TENSOR_TILE_H_
#define NARROW_KERNELS_MATMUL_DEVICE_TENSOR_TILE_H_

#include <cstdint>

#include "kernels/matmul/device/tile_threads.h"
#include "kernels/warp/fragments.h"

namespace narrow {
namespace tensor_tile {

inline constexpr int kTile = 128;
inline constexpr int kDepth = 32;
inline constexpr int kStages = 4;
inline constexpr int kThreads = 256;
inline constexpr int kWarpRows = 64;
inline constexpr int kWarpCols = 32;
inline constexpr int kRowFragments = kWarpRows / 16;
inline constexpr int kColFragments = kWarpCols / 8;
inline constexpr int kChunkSize = 8;  // numbers

// Some rows of one group: those of a tile.
struct GroupTile {
  int64_t first_row;
  int32_t n_rows;
  int32_t group;
};

// Plain data for a kernel. Without `tiles` one product; with them rows belong
// to groups, each with a right operand of its own (experts).
struct Task {
  tile::Product product;
  const GroupTile* tiles = nullptr;
  int64_t n_tiles = 0;
  // Between the right operands of neighbouring groups, in numbers.
  int64_t right_group = 0;
  // Row i of the left operand is its row gather[i]; nullptr: i. REQUIRES: it
  // lies by depth.
  const int32_t* gather = nullptr;
};

// The part of the result that a block of threads makes.
struct Place {
  int64_t first_row;
  int64_t end_row;
  int64_t first_col;
  const uint16_t* right;
};

struct Stage {
  uint16_t left[kTile * kDepth];
  uint16_t right[kTile * kDepth];
};
struct alignas(128) Stages {
  Stage at[kStages];
};

// Of a thread.
struct State {
  uint32_t left[kRowFragments][warp::kLeftRegisters];
  uint32_t right[kColFragments / 2][2 * warp::kRightRegisters];
  float sums[kRowFragments][kColFragments][warp::kSumRegisters];
};

inline bool LiesByDepth(const tile::Operand& operand) {
  return operand.column == 1;
}

// Whether chunks of an operand begin at multiples of sixteen bytes.
inline bool FitsChunks(const tile::Operand& operand) {
  const int64_t stride = LiesByDepth(operand) ? operand.row : operand.column;
  return (operand.column == 1 || operand.row == 1) &&
         stride % kChunkSize == 0 &&
         reinterpret_cast<uintptr_t>(operand.data) % 16 == 0;
}

// Whether this kernel takes a task; the one of tile_threads.h takes any.
inline bool Fits(const Task& task) {
  const tile::Product& product = task.product;
  return FitsChunks(product.left) && FitsChunks(product.right) &&
         task.right_group % kChunkSize == 0 &&
         (product.n_batch == 1 || (product.left_step % kChunkSize == 0 &&
                                   product.right_step % kChunkSize == 0)) &&
         (task.gather == nullptr || LiesByDepth(task.product.left));
}

inline int64_t NumTiles(int64_t n) { return (n + kTile - 1) / kTile; }
inline int64_t NumBlocks(const Task& task) {
  return (task.tiles != nullptr ? task.n_tiles
                                : NumTiles(task.product.n_rows)) *
         NumTiles(task.product.n_cols);
}

// Blocks that run together share operands: kBand tiles of rows go through all
// columns before the next ones, so that what they read stays in the cache.
inline constexpr int64_t kBand = 8;

NARROW_WARP_FUNCTION Place PlaceOf(const Task& task, int64_t block) {
  const tile::Product& product = task.product;
  const int64_t n_cols = (product.n_cols + kTile - 1) / kTile;
  const int64_t n_rows = task.tiles != nullptr
                             ? task.n_tiles
                             : (product.n_rows + kTile - 1) / kTile;
  const int64_t band = block / (kBand * n_cols);
  const int64_t first = band * kBand;
  const int64_t height = n_rows - first < kBand ? n_rows - first : kBand;
  const int64_t in_band = block - band * kBand * n_cols;
  const int64_t row_tile = first + in_band % height;
  Place place = {row_tile * kTile, product.n_rows, in_band / height * kTile,
                 product.right.data};
  if (task.tiles != nullptr) {
    const GroupTile its = task.tiles[row_tile];
    place.first_row = its.first_row;
    place.end_row = its.first_row + its.n_rows;
    place.right += its.group * task.right_group;
  }
  return place;
}

// Where chunk `chunk` of line `line` lies in a stripe: lines are rows if it
// lies by depth, else depths.
template <bool kByDepth>
NARROW_WARP_FUNCTION int ChunkAt(int line, int chunk) {
  return kByDepth ? (line * (kDepth / kChunkSize) + (chunk ^ (line / 2 % 4))) *
                        kChunkSize
                  : (line * (kTile / kChunkSize) + (chunk ^ (line % 8))) *
                        kChunkSize;
}

NARROW_WARP_FUNCTION int NumbersLeft(int64_t at, int64_t end) {
  return end - at >= kChunkSize ? kChunkSize
         : end > at             ? static_cast<int>(end - at)
                                : 0;
}

// A thread's share of one operand's stripe at depth k; zeros beyond the
// matrix. `stride` is between lines of memory, rows [first, end).
template <bool kByDepth, class Block>
NARROW_BLOCK_FUNCTION void CopyStripe(Block* block, const uint16_t* data,
                                      int64_t stride, const int32_t* gather,
                                      int64_t first, int64_t end, int64_t k,
                                      int64_t depth, int thread,
                                      uint16_t* stripe) {
  constexpr int kPerLine = (kByDepth ? kDepth : kTile) / kChunkSize;
  NARROW_UNROLL
  for (int e = thread; e < kTile * kDepth / kChunkSize; e += kThreads) {
    const int line = e / kPerLine;
    const int chunk = e % kPerLine;
    const int64_t row = kByDepth ? first + line : first + chunk * kChunkSize;
    const int64_t at = kByDepth ? k + chunk * kChunkSize : k + line;
    const bool inside = row < end && at < depth;
    const int n = !inside    ? 0
                  : kByDepth ? NumbersLeft(at, depth)
                             : NumbersLeft(row, end);
    int64_t from = 0;  // read by nobody where n is 0
    if (inside) {
      from = kByDepth ? (gather != nullptr ? gather[row] : row) * stride + at
                      : at * stride + row;
    }
    block->Copy(data + from, n * static_cast<int>(sizeof(uint16_t)),
                stripe + ChunkAt<kByDepth>(line, chunk));
  }
}

template <bool kLeftByDepth, bool kRightByDepth, class Block>
NARROW_BLOCK_FUNCTION void CopyStage(Block* block, const Task& task,
                                     const Place& place, int64_t step,
                                     Stages* stages) {
  const tile::Product& product = task.product;
  Stage* stage = &stages->at[step % kStages];
  const int64_t k = step * kDepth;
  block->EachThread([&](int thread) {
    CopyStripe<kLeftByDepth>(
        block, product.left.data,
        kLeftByDepth ? product.left.row : product.left.column, task.gather,
        place.first_row, place.end_row, k, product.depth, thread, stage->left);
    CopyStripe<kRightByDepth>(
        block, place.right,
        kRightByDepth ? product.right.row : product.right.column, nullptr,
        place.first_col, product.n_cols, k, product.depth, thread,
        stage->right);
  });
}

// Where a warp's part of the tile begins.
NARROW_WARP_FUNCTION int WarpRow(int warp) {
  return warp / (kTile / kWarpCols) * kWarpRows;
}
NARROW_WARP_FUNCTION int WarpCol(int warp) {
  return warp % (kTile / kWarpCols) * kWarpCols;
}

// The line that a lane names to ldmatrix: rows [row, row + 16) and depths
// [k, k + 16) are four matrices of 8 x 8. Registers of a left fragment go
// through its rows first, those of two right ones through their depths.
template <bool kByDepth>
NARROW_WARP_FUNCTION int LineOf(int lane, int row, int k, bool rows_first) {
  const int matrix = lane / 8;
  const int row_half = rows_first ? matrix % 2 : matrix / 2;
  const int k_half = rows_first ? matrix / 2 : matrix % 2;
  return kByDepth ? ChunkAt<true>(row + 8 * row_half + lane % 8,
                                  k / kChunkSize + k_half)
                  : ChunkAt<false>(k + 8 * k_half + lane % 8,
                                   row / kChunkSize + row_half);
}

template <bool kLeftByDepth, bool kRightByDepth, class Warp>
NARROW_BLOCK_FUNCTION void MultiplyStage(const Stage& stage, Warp warp) {
  const int row = WarpRow(warp.index());
  const int col = WarpCol(warp.index());
  NARROW_UNROLL
  for (int k = 0; k < kDepth; k += 16) {
    NARROW_UNROLL
    for (int m = 0; m < kRowFragments; ++m) {
      warp.template LoadMatrices<!kLeftByDepth>(
          [&](int lane) {
            return stage.left +
                   LineOf<kLeftByDepth>(lane, row + 16 * m, k, true);
          },
          [m](State& state) { return state.left[m]; });
    }
    NARROW_UNROLL
    for (int n = 0; n < kColFragments; n += 2) {
      warp.template LoadMatrices<!kRightByDepth>(
          [&](int lane) {
            return stage.right +
                   LineOf<kRightByDepth>(lane, col + 8 * n, k, false);
          },
          [n](State& state) { return state.right[n / 2]; });
    }
    NARROW_UNROLL
    for (int m = 0; m < kRowFragments; ++m) {
      NARROW_UNROLL
      for (int n = 0; n < kColFragments; ++n) {
        warp.Multiply([m, n](State& state) { return state.sums[m][n]; },
                      [m](State& state) { return state.left[m]; },
                      [n](State& state) {
                        return state.right[n / 2] +
                               n % 2 * warp::kRightRegisters;
                      });
      }
    }
  }
}

template <class Warp>
NARROW_BLOCK_FUNCTION void StoreSums(const tile::Product& product,
                                     const Place& place, Warp warp) {
  const int64_t first_row = place.first_row + WarpRow(warp.index());
  const int64_t first_col = place.first_col + WarpCol(warp.index());
  warp.Each([&](int lane, State& state) {
    NARROW_UNROLL
    for (int m = 0; m < kRowFragments; ++m) {
      NARROW_UNROLL
      for (int n = 0; n < kColFragments; ++n) {
        NARROW_UNROLL
        for (int r = 0; r < warp::kSumRegisters; ++r) {
          const int64_t row = first_row + 16 * m + warp::SumRow(lane, r);
          const int64_t col = first_col + 8 * n + warp::SumCol(lane, r);
          if (row < place.end_row && col < product.n_cols) {
            float sum = state.sums[m][n][r];
            if (product.accumulate) {
              sum += product.out[row * product.out_row + col];
            }
            tile::StoreElement(product, row, col, sum);
          }
        }
      }
    }
  });
}

// One tile. Stage s % kStages holds the stripes of step s; when step s is
// multiplied, those of the next kStages - 2 are on their way.
template <bool kLeftByDepth, bool kRightByDepth, class Block>
NARROW_BLOCK_FUNCTION void RunTile(const Task& task, const Place& place,
                                   Stages* stages, Block* block) {
  block->EachWarp([](auto warp) {
    warp.Each([](int, State& state) {
      NARROW_UNROLL
      for (int m = 0; m < kRowFragments; ++m) {
        NARROW_UNROLL
        for (int n = 0; n < kColFragments; ++n) {
          NARROW_UNROLL
          for (int r = 0; r < warp::kSumRegisters; ++r) {
            state.sums[m][n][r] = 0;
          }
        }
      }
    });
  });
  const int64_t n_steps = (task.product.depth + kDepth - 1) / kDepth;
  for (int64_t step = 0; step < kStages - 1; ++step) {
    if (step < n_steps) {
      CopyStage<kLeftByDepth, kRightByDepth>(block, task, place, step, stages);
    }
    block->Commit();
  }
  for (int64_t step = 0; step < n_steps; ++step) {
    // This step's copies have landed, for all threads; and all have finished
    // the step whose stage is written next.
    block->template Wait<kStages - 2>();
    block->Sync();
    const int64_t next = step + kStages - 1;
    if (next < n_steps) {
      CopyStage<kLeftByDepth, kRightByDepth>(block, task, place, next, stages);
    }
    block->Commit();
    block->EachWarp([&](auto warp) {
      MultiplyStage<kLeftByDepth, kRightByDepth>(stages->at[step % kStages],
                                                 warp);
    });
  }
  block->EachWarp([&](auto warp) { StoreSums(task.product, place, warp); });
}

}  // namespace tensor_tile
}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_TENSOR_TILE_H_
