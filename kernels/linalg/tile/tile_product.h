// The product of one tile on one thread: what gemm.cc and gram.cc share out
// among threads. Plain data, for sources that are compiled for each
// instruction set; the functions are in tile_kernels.h.

#ifndef NARROW_KERNELS_LINALG_TILE_TILE_PRODUCT_H_
#define NARROW_KERNELS_LINALG_TILE_TILE_PRODUCT_H_

#include <cstdint>

namespace narrow {

// Depth of a packed block; also the rows that a Gram matrix sums in float32.
inline constexpr int64_t kTileDepth = 256;
// A slab of A has at most so many rows, one of B so many columns.
inline constexpr int64_t kMaxSlabRows = 16;
inline constexpr int64_t kMaxSlabCols = 32;

enum class OperandLayout {
  kByIndex,  // element (p, j) of B at b[j * ldb + p]
  kByDepth,  // at b[p * ldb + j]
  kPacked,   // as TileKernels packs B, all of the depth
};

// C[m, n] from A[m, k], row-major, and B[k, n]; every element is one chain of
// fused multiply-adds in rising p.
template <typename T>
struct TileProduct {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  const T* a = nullptr;
  int64_t lda = 0;
  const T* b = nullptr;
  int64_t ldb = 0;
  OperandLayout b_layout = OperandLayout::kByIndex;
  T* c = nullptr;
  int64_t ldc = 0;
  bool accumulate = false;  // the chain begins with what C holds, not with 0
  bool negate = false;      // -A
  T* a_scratch = nullptr;   // memory for packing, aligned to 64 bytes
  T* b_scratch = nullptr;   // not for packed B
};

// sums[i, j] += sum over p of weight[p] * left[p, i] * right[p, j]: a chain in
// float32 over each kTileDepth rows p, added in double.
struct TileGram {
  int64_t m = 0;
  int64_t n = 0;
  int64_t n_rows = 0;
  const float* left = nullptr;
  const float* right = nullptr;
  int64_t left_stride = 0;  // between rows
  int64_t right_stride = 0;
  const float* weights = nullptr;  // may be null: 1
  double* sums = nullptr;
  int64_t sums_stride = 0;
  // Elements with j < i + diagonal are left alone.
  int64_t diagonal = INT64_MIN / 2;
  float* left_scratch = nullptr;
  float* right_scratch = nullptr;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_TILE_TILE_PRODUCT_H_
