// Cuts a matrix into tiles and shares them out among threads. The cut depends
// on the number of threads; results of the tile kernels do not depend on it.

#ifndef NARROW_KERNELS_LINALG_TILE_TILE_SHAPE_H_
#define NARROW_KERNELS_LINALG_TILE_TILE_SHAPE_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "formats/base/parallel.h"

namespace narrow {

struct TilePlace {
  int64_t first_row, n_rows;
  int64_t first_col, n_cols;
};

// Calls body for every tile of an [m, n] matrix, each of whose elements takes
// k multiply-adds. `pool` may be null.
void ForEachTileOf(ThreadPool* pool, int64_t m, int64_t n, int64_t k,
                   absl::FunctionRef<void(const TilePlace&)> body);

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_TILE_TILE_SHAPE_H_
