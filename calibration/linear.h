// Linear layers over many rows: tiles of products shared out among threads,
// each handed to the caller while it is in cache.
//
//   Activations x;
//   x.Resize(n_rows, n_cols, matmul.type());
//   ... fill x.row(r), then x.Round(r, rows) for each row ...
//   ForEachTile(&matmul, &pool, x, {w.get()}, [&](size_t, const Tile& t)
//   {...});

#ifndef NARROW_CALIBRATION_LINEAR_H_
#define NARROW_CALIBRATION_LINEAR_H_

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "formats/base/parallel.h"
#include "kernels/matmul/matmul.h"
#include "kernels/rows/rows.h"

namespace narrow {

// Inputs of linear layers: float32, and what the products read.
struct Activations {
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  ProductType type = ProductType::kF32;
  std::vector<float> values;        // [n_rows, n_cols]
  const float* borrowed = nullptr;  // in their place; see Borrow
  std::vector<uint16_t> rounded;    // the same in bfloat16, if the type is that

  // Contents are lost.
  void Resize(int64_t rows, int64_t cols, ProductType product_type);
  // Rows that lie elsewhere, until Resize; they can only be read.
  void Borrow(const float* from, int64_t rows, int64_t cols,
              ProductType product_type);
  float* row(int64_t r) {
    assert(borrowed == nullptr);
    return values.data() + r * n_cols;
  }
  const float* row(int64_t r) const {
    return (borrowed != nullptr ? borrowed : values.data()) + r * n_cols;
  }
  // Must follow the filling of row r.
  void Round(int64_t r, const RowKernels& rows) {
    if (type == ProductType::kBf16) {
      const Activations& self = *this;
      rows.to_bf16(self.row(r), n_cols, rounded.data() + r * n_cols);
    }
  }
};

// Part of a product: values[n_rows, n_cols] of rows and outputs from
// first_row and first_col on.
struct Tile {
  int64_t first_row, n_rows;
  int64_t first_col, n_cols;
  float* values;
};

// Rows of a tile.
inline constexpr int64_t kTileRows = 128;

// The panel's tile of rows [first_row, first_row + n_rows).
void MultiplyRows(Matmul* matmul, const Activations& x, int64_t first_row,
                  int64_t n_rows, const PackedMatrix& matrix, int64_t panel,
                  float* tile);

// Calls `use(i, tile)` for every tile of x times matrices[i], from the pool's
// threads. The tile's memory may be overwritten.
void ForEachTile(Matmul* matmul, ThreadPool* pool, const Activations& x,
                 absl::Span<const PackedMatrix* const> matrices,
                 absl::FunctionRef<void(size_t, const Tile&)> use);

// Calls `use` for the tiles of two matrices of one shape at the same place.
void ForEachTilePair(Matmul* matmul, ThreadPool* pool, const Activations& x,
                     const PackedMatrix& first, const PackedMatrix& second,
                     absl::FunctionRef<void(const Tile&, const Tile&)> use);

// Calls body(r) for each row, several rows a task.
void ForEachRow(ThreadPool* pool, int64_t n_rows,
                absl::FunctionRef<void(int64_t)> body);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_LINEAR_H_
