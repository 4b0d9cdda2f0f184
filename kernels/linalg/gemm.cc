#include "kernels/linalg/gemm.h"

#include <algorithm>

#include "kernels/linalg/tile/tile_kernels.h"
#include "kernels/linalg/tile/tile_shape.h"

namespace narrow {
namespace {

template <typename T>
void Multiply(ThreadPool* pool, Update update, int64_t m, int64_t n, int64_t k,
              const T* a, int64_t lda, const T* b, int64_t ldb,
              OperandLayout layout, T* c, int64_t ldc) {
  if (m <= 0 || n <= 0) {
    return;
  }
  const TileKernels& kernels = TileKernelsForCpu();
  ForEachTileOf(pool, m, n, k, [&](const TilePlace& at) {
    TileProduct<T> tile;
    tile.m = at.n_rows;
    tile.n = at.n_cols;
    tile.k = k;
    tile.a = a + at.first_row * lda;
    tile.lda = lda;
    tile.b = b + at.first_col * (layout == OperandLayout::kByIndex ? ldb : 1);
    tile.ldb = ldb;
    tile.b_layout = layout;
    tile.c = c + at.first_row * ldc + at.first_col;
    tile.ldc = ldc;
    tile.accumulate = update != Update::kSet;
    tile.negate = update == Update::kSubtract;
    tile.a_scratch = TileScratch<T>(0, AScratchSize(tile.m));
    tile.b_scratch = TileScratch<T>(1, BScratchSize(tile.n));
    kernels.product(tile);
  });
}

}  // namespace

void Gemm(ThreadPool* pool, Update update, int64_t m, int64_t n, int64_t k,
          const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
          int64_t ldc) {
  Multiply(pool, update, m, n, k, a, lda, b, ldb, OperandLayout::kByDepth, c,
           ldc);
}

void Gemm(ThreadPool* pool, Update update, int64_t m, int64_t n, int64_t k,
          const double* a, int64_t lda, const double* b, int64_t ldb, double* c,
          int64_t ldc) {
  Multiply(pool, update, m, n, k, a, lda, b, ldb, OperandLayout::kByDepth, c,
           ldc);
}

void GemmNT(ThreadPool* pool, Update update, int64_t m, int64_t n, int64_t k,
            const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
            int64_t ldc) {
  Multiply(pool, update, m, n, k, a, lda, b, ldb, OperandLayout::kByIndex, c,
           ldc);
}

void GemmNT(ThreadPool* pool, Update update, int64_t m, int64_t n, int64_t k,
            const double* a, int64_t lda, const double* b, int64_t ldb,
            double* c, int64_t ldc) {
  Multiply(pool, update, m, n, k, a, lda, b, ldb, OperandLayout::kByIndex, c,
           ldc);
}

}  // namespace narrow
