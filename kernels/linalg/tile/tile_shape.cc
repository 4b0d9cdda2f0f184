#include "kernels/linalg/tile/tile_shape.h"

#include <algorithm>

namespace narrow {
namespace {

// Packed to a block's depth (tile_simd.cc), rows and columns take some 450 KB
// each of the second cache.
constexpr int64_t kTileRows = 448;
constexpr int64_t kTileCols = 512;
// Narrower tiles spend too much of their time on packing.
constexpr int64_t kMinTileRows = 56;
// Tiles a thread, so that threads end together.
constexpr int64_t kTilesPerThread = 3;
// Multiply-adds below which waking other threads takes longer.
constexpr int64_t kMinParallelWork = int64_t{1} << 18;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void ForEachTileOf(ThreadPool* pool, int64_t m, int64_t n, int64_t k,
                   absl::FunctionRef<void(const TilePlace&)> body) {
  const int64_t n_threads =
      pool == nullptr || m * n * k < kMinParallelWork ? 1 : pool->n_threads();
  // Both cuts are even, columns in whole slabs.
  const int64_t n_col_tiles = CeilDivide(n, kTileCols);
  const int64_t tile_cols = CeilDivide(CeilDivide(n, n_col_tiles), 32) * 32;
  int64_t n_row_tiles = CeilDivide(m, kTileRows);
  if (n_threads > 1) {
    const int64_t wanted = CeilDivide(kTilesPerThread * n_threads, n_col_tiles);
    n_row_tiles =
        std::max(n_row_tiles, std::min(wanted, CeilDivide(m, kMinTileRows)));
  }
  const int64_t tile_rows = CeilDivide(m, n_row_tiles);
  const auto run = [&](int64_t task) {
    TilePlace at;
    at.first_row = task % n_row_tiles * tile_rows;
    at.n_rows = std::min(tile_rows, m - at.first_row);
    at.first_col = task / n_row_tiles * tile_cols;
    at.n_cols = std::min(tile_cols, n - at.first_col);
    if (at.n_rows > 0 && at.n_cols > 0) {
      body(at);
    }
  };
  const int64_t n_tasks = n_row_tiles * n_col_tiles;
  if (n_threads > 1) {
    pool->ParallelFor(n_tasks, run);
  } else {
    for (int64_t task = 0; task < n_tasks; ++task) {
      run(task);
    }
  }
}

}  // namespace narrow
