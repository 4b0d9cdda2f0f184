#include "kernels/linalg/gram.h"

#include <algorithm>

#include "kernels/linalg/tile/tile_kernels.h"
#include "kernels/linalg/tile/tile_shape.h"

namespace narrow {
namespace {

static_assert(kGramBlockRows == kTileDepth, "a block is one chain");

void AddProducts(ThreadPool* pool, const float* left, int64_t n_left,
                 const float* right, int64_t n_right, int64_t n_rows,
                 const float* weights, bool upper, double* sums) {
  if (n_rows <= 0 || n_left <= 0 || n_right <= 0) {
    return;
  }
  const TileKernels& kernels = TileKernelsForCpu();
  ForEachTileOf(pool, n_left, n_right, n_rows, [&](const TilePlace& at) {
    if (upper && at.first_row >= at.first_col + at.n_cols) {
      return;
    }
    TileGram tile;
    tile.m = at.n_rows;
    tile.n = at.n_cols;
    tile.n_rows = n_rows;
    tile.left = left + at.first_row;
    tile.right = right + at.first_col;
    tile.left_stride = n_left;
    tile.right_stride = n_right;
    tile.weights = weights;
    tile.sums = sums + at.first_row * n_right + at.first_col;
    tile.sums_stride = n_right;
    if (upper) {
      tile.diagonal = at.first_row - at.first_col;
    }
    tile.left_scratch = TileScratch<float>(0, AScratchSize(tile.m));
    tile.right_scratch = TileScratch<float>(1, BScratchSize(tile.n));
    kernels.gram(tile);
  });
}

}  // namespace

void AddGram(ThreadPool* pool, const float* rows, int64_t n_rows,
             int64_t n_cols, const float* weights, double* gram) {
  AddProducts(pool, rows, n_cols, rows, n_cols, n_rows, weights, /*upper=*/true,
              gram);
}

void AddCross(ThreadPool* pool, const float* left, int64_t n_left_cols,
              const float* right, int64_t n_right_cols, int64_t n_rows,
              const float* weights, double* cross) {
  AddProducts(pool, left, n_left_cols, right, n_right_cols, n_rows, weights,
              /*upper=*/false, cross);
}

void MirrorUpper(ThreadPool* pool, int64_t n, double* matrix) {
  // Squares, so that both the rows read and those written are in cache.
  constexpr int64_t kSquare = 64;
  const int64_t n_squares = (n + kSquare - 1) / kSquare;
  const auto mirror = [&](int64_t row_square) {
    const int64_t first = row_square * kSquare;
    const int64_t end = std::min(n, first + kSquare);
    for (int64_t col = 0; col < end; col += kSquare) {
      for (int64_t i = first; i < end; ++i) {
        for (int64_t j = col; j < std::min(col + kSquare, i); ++j) {
          matrix[i * n + j] = matrix[j * n + i];
        }
      }
    }
  };
  if (pool != nullptr) {
    pool->ParallelFor(n_squares, mirror);
  } else {
    for (int64_t square = 0; square < n_squares; ++square) {
      mirror(square);
    }
  }
}

}  // namespace narrow
