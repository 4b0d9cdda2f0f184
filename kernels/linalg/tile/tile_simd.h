// The variants of tile_simd.cc, one namespace an instruction set.

#ifndef NARROW_KERNELS_LINALG_TILE_TILE_SIMD_H_
#define NARROW_KERNELS_LINALG_TILE_TILE_SIMD_H_

#include <cstdint>

#include "kernels/linalg/tile/tile_product.h"

namespace narrow {

namespace avx2 {
extern const int64_t kSlabColsF32;
void ProductF32(const TileProduct<float>& tile);
void ProductF64(const TileProduct<double>& tile);
void Gram(const TileGram& tile);
void PackF32(const float* b, int64_t ldb, OperandLayout layout, int64_t n,
             int64_t k, float* out);
}  // namespace avx2

namespace avx512 {
extern const int64_t kSlabColsF32;
void ProductF32(const TileProduct<float>& tile);
void ProductF64(const TileProduct<double>& tile);
void Gram(const TileGram& tile);
void PackF32(const float* b, int64_t ldb, OperandLayout layout, int64_t n,
             int64_t k, float* out);
}  // namespace avx512

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_TILE_TILE_SIMD_H_
