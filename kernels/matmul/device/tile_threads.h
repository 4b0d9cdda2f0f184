// A product of bfloat16 matrices as the work of a block of threads: a tile of
// the result, from stripes of both operands in shared memory. For cards
// without NVIDIA's library of products, and its definition in tests.
//
//   out[i, j] = sum over k of left(i, k) * right(j, k),   in float32
//
// Every thread has 4 x 4 elements of a tile of 64 x 64 and sums them over
// rising k, one fused multiply-add after another, so each element is one
// chain: the same bits for any tiling. Phases as in kernels/quant/team: all
// threads finish Load before any begins Sum, and the other way round.

#ifndef NARROW_KERNELS_MATMUL_DEVICE_TILE_THREADS_H_
#define NARROW_KERNELS_MATMUL_DEVICE_TILE_THREADS_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/device_fma.h"
#include "kernels/warp/fragments.h"

#if defined(__CUDACC__)
#define NARROW_TILE_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_TILE_FUNCTION inline
#endif

namespace narrow {
namespace tile {

inline constexpr int kTile = 64;
inline constexpr int kDepth = 16;
inline constexpr int kSide = 4;
inline constexpr int kThreads = (kTile / kSide) * (kTile / kSide);

// A matrix of bfloat16 bits; element (i, k) at data[i * row + k * column].
struct Operand {
  const uint16_t* data;
  int64_t row;
  int64_t column;
};

// Plain data for a kernel.
struct Product {
  Operand left;   // [n_rows, depth]
  Operand right;  // [n_cols, depth]
  int64_t n_rows;
  int64_t n_cols;
  int64_t depth;
  float* out;  // row i begins at out + i * out_row
  int64_t out_row;
  bool accumulate;  // adds to what is there; the chain goes on from it
  const float* bias = nullptr;  // [n_cols], added last
  // Where the result goes, rounded to bfloat16, in the place of `out`.
  // REQUIRES: accumulate is false.
  uint16_t* halves = nullptr;
  // Products of the same sizes, operands and results so many numbers apart;
  // the bias is that of all of them.
  int64_t n_batch = 1;
  int64_t left_step = 0;
  int64_t right_step = 0;
  int64_t out_step = 0;
};

// Of a batch, one.
NARROW_TILE_FUNCTION Product OneOf(const Product& product, int64_t batch) {
  Product one = product;
  one.left.data += batch * product.left_step;
  one.right.data += batch * product.right_step;
  if (product.halves != nullptr) {
    one.halves += batch * product.out_step;
  } else {
    one.out += batch * product.out_step;
  }
  one.n_batch = 1;
  return one;
}

struct Stripes {
  float left[kDepth][kTile];
  float right[kDepth][kTile];
};

struct Sums {
  float at[kSide][kSide];
};

NARROW_TILE_FUNCTION float WidenBf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  memcpy(&value, &wide, sizeof(value));
  return value;
}

// A thread's share of the stripes at depth `k`, zeros beyond the matrices.
NARROW_TILE_FUNCTION void LoadStripes(const Product& product, int64_t first_row,
                                      int64_t first_col, int64_t k, int thread,
                                      Stripes* stripes) {
  for (int e = thread; e < kDepth * kTile; e += kThreads) {
    // Neighbouring threads read neighbouring memory, whichever way it runs.
    const bool by_depth = product.left.column == 1;
    const int at_k = by_depth ? e % kDepth : e / kTile;
    const int at_i = by_depth ? e / kDepth : e % kTile;
    const int64_t row = first_row + at_i;
    const int64_t col = first_col + at_i;
    const int64_t depth = k + at_k;
    const bool inside = depth < product.depth;
    stripes->left[at_k][at_i] =
        inside && row < product.n_rows
            ? WidenBf16(product.left.data[row * product.left.row +
                                          depth * product.left.column])
            : 0.0f;
    stripes->right[at_k][at_i] =
        inside && col < product.n_cols
            ? WidenBf16(product.right.data[col * product.right.row +
                                           depth * product.right.column])
            : 0.0f;
  }
}

// Rows and columns of the tile that a thread has are kTile / kSide apart.
NARROW_TILE_FUNCTION int RowOf(int thread, int i) {
  return thread / (kTile / kSide) + i * (kTile / kSide);
}
NARROW_TILE_FUNCTION int ColOf(int thread, int j) {
  return thread % (kTile / kSide) + j * (kTile / kSide);
}

NARROW_TILE_FUNCTION void BeginSums(const Product& product, int64_t first_row,
                                    int64_t first_col, int thread, Sums* sums) {
  for (int i = 0; i < kSide; ++i) {
    for (int j = 0; j < kSide; ++j) {
      const int64_t row = first_row + RowOf(thread, i);
      const int64_t col = first_col + ColOf(thread, j);
      const bool inside = row < product.n_rows && col < product.n_cols;
      sums->at[i][j] = product.accumulate && inside
                           ? product.out[row * product.out_row + col]
                           : 0.0f;
    }
  }
}

NARROW_TILE_FUNCTION void AddStripes(const Stripes& stripes, int thread,
                                     Sums* sums) {
  for (int k = 0; k < kDepth; ++k) {
    float left[kSide];
    float right[kSide];
    for (int i = 0; i < kSide; ++i) {
      left[i] = stripes.left[k][RowOf(thread, i)];
      right[i] = stripes.right[k][ColOf(thread, i)];
    }
    for (int i = 0; i < kSide; ++i) {
      for (int j = 0; j < kSide; ++j) {
        sums->at[i][j] = Fma(left[i], right[j], sums->at[i][j]);
      }
    }
  }
}

// An element that is done but for its bias.
NARROW_TILE_FUNCTION void StoreElement(const Product& product, int64_t row,
                                       int64_t col, float value) {
  const int64_t at = row * product.out_row + col;
  if (product.bias != nullptr) {
    value += product.bias[col];
  }
  if (product.halves != nullptr) {
    product.halves[at] = static_cast<uint16_t>(warp::RoundToBf16(value));
  } else {
    product.out[at] = value;
  }
}

NARROW_TILE_FUNCTION void StoreSums(const Product& product, int64_t first_row,
                                    int64_t first_col, int thread,
                                    const Sums& sums) {
  for (int i = 0; i < kSide; ++i) {
    for (int j = 0; j < kSide; ++j) {
      const int64_t row = first_row + RowOf(thread, i);
      const int64_t col = first_col + ColOf(thread, j);
      if (row < product.n_rows && col < product.n_cols) {
        StoreElement(product, row, col, sums.at[i][j]);
      }
    }
  }
}

// Part `part` of a number as bfloat16: the number rounded, then what is left
// rounded, and so on. Three parts hold all of a float's 24 bits.
NARROW_TILE_FUNCTION uint16_t PartOf(float value, int part) {
  uint32_t rounded = 0;
  for (int p = 0; p <= part; ++p) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    value = value - WidenBf16(static_cast<uint16_t>(rounded));
  }
  return static_cast<uint16_t>(rounded);
}

}  // namespace tile
}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_TILE_THREADS_H_
