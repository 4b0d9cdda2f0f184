// Lines of float32 numbers as lines of bfloat16, several for each: a part of
// every number (tile::PartOf) for each of a list of parts, one list after
// another. Two operands that are stacked by lists that belong together have in
// one product of bfloat16 the sum of the products of their parts:
//
//   sum over s, k of left[s][k, i] right[s][k, j],  s a place in the lists
//
// An element a thread.

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
  int parts[kStacked];
  uint16_t* out;       // [n_batch, kStacked, n_lines, out_stride]
  int64_t out_stride;  // what is behind `length` stays

  NARROW_TILE_FUNCTION int64_t n() const {
    return n_batch * kStacked * n_lines * length;
  }
  NARROW_TILE_FUNCTION void Run(int64_t at) const {
    const int64_t i = at % length;
    const int64_t line = at / length;  // of all
    const int64_t k = line % n_lines;
    const int64_t stacked = line / n_lines % kStacked;
    const int64_t batch = line / n_lines / kStacked;
    out[line * out_stride + i] =
        PartOf(values[batch * step + k * stride + i], parts[stacked]);
  }
};

}  // namespace tile
}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_STACK_THREADS_H_
