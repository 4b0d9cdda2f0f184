#include "calibration/linear.h"

#include <algorithm>

namespace narrow {
namespace {

// Working memory of a thread's tile; `which` tells those of a pair apart.
float* TileMemory(int which) {
  static thread_local std::vector<float> memory[2];
  memory[which].resize(static_cast<size_t>(kTileRows * kPanelCols));
  return memory[which].data();
}

}  // namespace

void Activations::Resize(int64_t rows, int64_t cols, ProductType product_type) {
  n_rows = rows;
  n_cols = cols;
  type = product_type;
  borrowed = nullptr;
  values.resize(static_cast<size_t>(rows * cols));
  if (type == ProductType::kBf16) {
    rounded.resize(values.size());
  }
}

void Activations::Borrow(const float* from, int64_t rows, int64_t cols,
                         ProductType product_type) {
  n_rows = rows;
  n_cols = cols;
  type = product_type;
  borrowed = from;
  if (type == ProductType::kBf16) {
    rounded.resize(static_cast<size_t>(rows * cols));
  }
}

void MultiplyRows(Matmul* matmul, const Activations& x, int64_t first_row,
                  int64_t n_rows, const PackedMatrix& matrix, int64_t panel,
                  float* tile) {
  if (x.type == ProductType::kBf16) {
    matmul->Multiply(x.rounded.data() + first_row * x.n_cols, n_rows, matrix,
                     panel, tile);
  } else {
    matmul->Multiply(x.row(first_row), n_rows, matrix, panel, tile);
  }
}

void ForEachTile(Matmul* matmul, ThreadPool* pool, const Activations& x,
                 absl::Span<const PackedMatrix* const> matrices,
                 absl::FunctionRef<void(size_t, const Tile&)> use) {
  // Neighbouring tasks share a panel, which stays in a shared cache.
  const int64_t n_row_tiles = (x.n_rows + kTileRows - 1) / kTileRows;
  int64_t n_panels = 0;
  for (const PackedMatrix* matrix : matrices) {
    n_panels += matrix->n_panels();
  }
  pool->ParallelFor(n_panels * n_row_tiles, [&](int64_t task) {
    int64_t panel = task / n_row_tiles;
    size_t which = 0;
    while (panel >= matrices[which]->n_panels()) {
      panel -= matrices[which++]->n_panels();
    }
    const PackedMatrix& matrix = *matrices[which];
    Tile tile;
    tile.first_row = task % n_row_tiles * kTileRows;
    tile.n_rows = std::min(kTileRows, x.n_rows - tile.first_row);
    tile.first_col = matrix.first_col(panel);
    tile.n_cols = matrix.panel_cols(panel);
    tile.values = TileMemory(0);
    MultiplyRows(matmul, x, tile.first_row, tile.n_rows, matrix, panel,
                 tile.values);
    use(which, tile);
  });
}

void ForEachTilePair(Matmul* matmul, ThreadPool* pool, const Activations& x,
                     const PackedMatrix& first, const PackedMatrix& second,
                     absl::FunctionRef<void(const Tile&, const Tile&)> use) {
  const int64_t n_row_tiles = (x.n_rows + kTileRows - 1) / kTileRows;
  pool->ParallelFor(first.n_panels() * n_row_tiles, [&](int64_t task) {
    const int64_t panel = task / n_row_tiles;
    Tile tiles[2];
    for (int i = 0; i < 2; ++i) {
      const PackedMatrix& matrix = i == 0 ? first : second;
      tiles[i].first_row = task % n_row_tiles * kTileRows;
      tiles[i].n_rows = std::min(kTileRows, x.n_rows - tiles[i].first_row);
      tiles[i].first_col = matrix.first_col(panel);
      tiles[i].n_cols = matrix.panel_cols(panel);
      tiles[i].values = TileMemory(i);
      MultiplyRows(matmul, x, tiles[i].first_row, tiles[i].n_rows, matrix,
                   panel, tiles[i].values);
    }
    use(tiles[0], tiles[1]);
  });
}

void ForEachRow(ThreadPool* pool, int64_t n_rows,
                absl::FunctionRef<void(int64_t)> body) {
  constexpr int64_t kRowsPerTask = 16;
  const int64_t n_tasks = (n_rows + kRowsPerTask - 1) / kRowsPerTask;
  pool->ParallelFor(n_tasks, [&](int64_t task) {
    const int64_t end = std::min(n_rows, (task + 1) * kRowsPerTask);
    for (int64_t r = task * kRowsPerTask; r < end; ++r) {
      body(r);
    }
  });
}

}  // namespace narrow
