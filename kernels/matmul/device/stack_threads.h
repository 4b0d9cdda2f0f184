// Lines of float32 numbers as lines of bfloat16, several for each: a part of
// every number (tile::PartOf) for each of a list of parts, one list after
// another. Two operands that are stacked by lists that belong together have in
// one product of bfloat16 the sum of the products of their parts:
//
//   sum over s, k of left[s][k, i] right[s][k, j],  s a place in the lists
//
// An element a thread. And passes like it, around products.

#ifndef NARROW_KERNELS_MATMUL_DEVICE_STACK_THREADS_H_
#define NARROW_KERNELS_MATMUL_DEVICE_STACK_THREADS_H_

#include <cstdint>

#include "kernels/matmul/device/tile_threads.h"

namespace narrow {
namespace tile {

inline constexpr int kStacked = 3;

// Plain data for a kernel.
struct StackTask {
  const float* values;  // line k begins at k * stride
  int64_t stride;
  int64_t step;  // from one of a batch to the next
  int64_t n_lines;
  int64_t length;
  int64_t n_batch;
  uint32_t parts;      // that of list s in bits [2 s, 2 s + 2)
  uint16_t* out;       // [n_batch, kStacked, n_lines, out_stride]
  int64_t out_stride;  // what is behind `length` stays

  NARROW_TILE_FUNCTION int64_t n() const {
    return n_batch * kStacked * n_lines * length;
  }
  NARROW_TILE_FUNCTION void Run(int64_t at) const {
    const int64_t i = at % length;
    const int64_t line = at / length;  // of all
    const int64_t k = line % n_lines;
    const int stacked = static_cast<int>(line / n_lines % kStacked);
    const int64_t batch = line / n_lines / kStacked;
    out[line * out_stride + i] =
        PartOf(values[batch * step + k * stride + i],
               static_cast<int>(parts >> (2 * stacked) & 3));
  }
};

// Lines of float32 numbers as bfloat16, each times the root of its weight; one
// that weighs nothing is zeros, whatever it holds. An element a thread.
struct RoundTask {
  const float* values;  // line k begins at k * stride
  int64_t stride;
  const float* weights;  // [n_lines], none below 0, or null
  int64_t n_lines;
  int64_t length;
  uint16_t* out;       // [n_lines, out_stride]
  int64_t out_stride;  // what is behind `length` stays

  NARROW_TILE_FUNCTION int64_t n() const { return n_lines * length; }
  NARROW_TILE_FUNCTION void Run(int64_t at) const {
    const int64_t line = at / length;
    const int64_t i = at % length;
    float value = values[line * stride + i];
    if (weights != nullptr) {
      const float weight = weights[line];
      value = weight == 0 ? 0.0f : sqrtf(weight) * value;
    }
    out[line * out_stride + i] = PartOf(value, 0);
  }
};

// sums[i, j] += panel[i, j] where i <= j + last: of a matrix's panel of columns
// from `last` on, what is on or above the diagonal. An element a thread.
struct PanelTask {
  const float* panel;  // [n_rows, n_cols]
  int64_t n_rows;
  int64_t n_cols;
  double* sums;
  int64_t sums_stride;
  int64_t last;

  NARROW_TILE_FUNCTION int64_t n() const { return n_rows * n_cols; }
  NARROW_TILE_FUNCTION void Run(int64_t at) const {
    const int64_t i = at / n_cols;
    const int64_t j = at % n_cols;
    if (i <= j + last) {
      sums[i * sums_stride + j] += static_cast<double>(panel[at]);
    }
  }
};

}  // namespace tile
}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_STACK_THREADS_H_
