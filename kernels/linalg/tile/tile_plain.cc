#include "kernels/linalg/tile/tile_plain.h"

#include <algorithm>
#include <cmath>

namespace narrow {
namespace {

template <typename T>
T ElementOfB(const TileProduct<T>& t, int64_t p, int64_t j) {
  switch (t.b_layout) {
    case OperandLayout::kByIndex:
      return t.b[j * t.ldb + p];
    case OperandLayout::kByDepth:
      return t.b[p * t.ldb + j];
    case OperandLayout::kPacked:
      break;
  }
  const int64_t slab = j / kPlainSlabCols;
  return t.b[(slab * t.k + p) * kPlainSlabCols + j % kPlainSlabCols];
}

template <typename T>
void Product(const TileProduct<T>& t) {
  for (int64_t i = 0; i < t.m; ++i) {
    for (int64_t j = 0; j < t.n; ++j) {
      T sum = t.accumulate ? t.c[i * t.ldc + j] : T{0};
      for (int64_t p = 0; p < t.k; ++p) {
        const T a = t.a[i * t.lda + p];
        sum = std::fma(t.negate ? -a : a, ElementOfB(t, p, j), sum);
      }
      t.c[i * t.ldc + j] = sum;
    }
  }
}

}  // namespace

void PlainProductF32(const TileProduct<float>& tile) { Product(tile); }
void PlainProductF64(const TileProduct<double>& tile) { Product(tile); }

void PlainGram(const TileGram& t) {
  for (int64_t i = 0; i < t.m; ++i) {
    for (int64_t j = std::max<int64_t>(0, i + t.diagonal); j < t.n; ++j) {
      for (int64_t first = 0; first < t.n_rows; first += kTileDepth) {
        float sum = 0;
        const int64_t end = std::min(t.n_rows, first + kTileDepth);
        for (int64_t p = first; p < end; ++p) {
          const float weight = t.weights == nullptr ? 1 : t.weights[p];
          const bool counts = weight != 0;
          sum = std::fma(counts ? t.left[p * t.left_stride + i] * weight : 0,
                         counts ? t.right[p * t.right_stride + j] : 0, sum);
        }
        t.sums[i * t.sums_stride + j] += static_cast<double>(sum);
      }
    }
  }
}

void PlainPackF32(const float* b, int64_t ldb, OperandLayout layout, int64_t n,
                  int64_t k, float* out) {
  for (int64_t j = 0; j < n; ++j) {
    float* column =
        out + j / kPlainSlabCols * kPlainSlabCols * k + j % kPlainSlabCols;
    for (int64_t p = 0; p < k; ++p) {
      column[p * kPlainSlabCols] =
          layout == OperandLayout::kByIndex ? b[j * ldb + p] : b[p * ldb + j];
    }
  }
}

}  // namespace narrow
