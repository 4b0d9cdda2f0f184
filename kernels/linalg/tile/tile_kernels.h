// Products of tiles for each instruction set. All give the same bits.
//
//   const TileKernels& kernels = TileKernelsForCpu();
//   TileProduct<float> tile = ...;
//   tile.a_scratch = TileScratch<float>(0, AScratchSize(tile.m));
//   kernels.product_f32(tile);
//
// Pure functions on memory, safe from any thread.

#ifndef NARROW_KERNELS_LINALG_TILE_TILE_KERNELS_H_
#define NARROW_KERNELS_LINALG_TILE_TILE_KERNELS_H_

#include <cstdint>

#include "kernels/linalg/tile/tile_product.h"

namespace narrow {

struct TileKernels {
  int64_t slab_cols_f32;  // packed columns come in whole slabs of these
  void (*product_f32)(const TileProduct<float>& tile);
  void (*product_f64)(const TileProduct<double>& tile);
  void (*gram)(const TileGram& tile);
  // B[k, n] in either layout to `out`, PackedSize elements.
  void (*pack_f32)(const float* b, int64_t ldb, OperandLayout layout, int64_t n,
                   int64_t k, float* out);

  int64_t PackedSize(int64_t n, int64_t k) const {
    return (n + slab_cols_f32 - 1) / slab_cols_f32 * slab_cols_f32 * k;
  }
  void product(const TileProduct<float>& tile) const { product_f32(tile); }
  void product(const TileProduct<double>& tile) const { product_f64(tile); }
};

const TileKernels& TileKernelsForCpu();

// Elements of scratch for a tile of m rows or n columns.
inline int64_t AScratchSize(int64_t m) {
  return (m + m / 2 + kMaxSlabRows) * kTileDepth;
}
inline int64_t BScratchSize(int64_t n) {
  return (n + kMaxSlabCols) * kTileDepth;
}

// Memory of the calling thread, aligned to 64 bytes, until it next asks for
// the same place, 0 or 1.
void* ThreadTileScratch(int place, int64_t n_bytes);

template <typename T>
T* TileScratch(int place, int64_t n_elements) {
  return static_cast<T*>(
      ThreadTileScratch(place, n_elements * static_cast<int64_t>(sizeof(T))));
}

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_TILE_TILE_KERNELS_H_
