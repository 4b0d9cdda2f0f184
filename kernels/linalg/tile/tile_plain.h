// The definition of the tile kernels, for any processor: std::fma, element by
// element.

#ifndef NARROW_KERNELS_LINALG_TILE_TILE_PLAIN_H_
#define NARROW_KERNELS_LINALG_TILE_TILE_PLAIN_H_

#include <cstdint>

#include "kernels/linalg/tile/tile_product.h"

namespace narrow {

inline constexpr int64_t kPlainSlabCols = 16;

void PlainProductF32(const TileProduct<float>& tile);
void PlainProductF64(const TileProduct<double>& tile);
void PlainGram(const TileGram& tile);
void PlainPackF32(const float* b, int64_t ldb, OperandLayout layout, int64_t n,
                  int64_t k, float* out);

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_TILE_TILE_PLAIN_H_
