// Codes of packed matrices to weights on a device, a weight a thread: the
// operations of DequantizeRows (formats/packing/quantized_matrix.h) in their
// order, so weights have its bits; codes from their words as the file has
// them (formats/packing/code_layout.h).

#ifndef NARROW_KERNELS_PACKED_DEVICE_CODES_THREADS_H_
#define NARROW_KERNELS_PACKED_DEVICE_CODES_THREADS_H_

#include <cstdint>

#include "formats/packing/code_layout.h"
#include "kernels/warp/fragments.h"

namespace narrow {

// Some rows of a matrix, the first one at a border of blocks. Plain data for a
// kernel; pointers are the device's.
struct CodesTask {
  const uint8_t* words = nullptr;
  CodeLayout layout;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  // Values of codes; nullptr: integers, less a zero point.
  const float* table = nullptr;
  const float* scales = nullptr;
  const float* zeros = nullptr;  // as scales; nullptr: all `middle`
  float middle = 0;
  float scale_unit = 1;
  float global_scale = 1;  // scales of tables are divided by it
  // Where the scale of a weight is: see QuantizedMatrix::ScaleIndex.
  int64_t block_rows = 1;
  int64_t block_cols = 0;
  int64_t n_scale_cols = 1;
  bool flat = false;
  const int32_t* group_of_column = nullptr;
  // Above 0: within as many rows, row i < half becomes row 2i, the others
  // those between (checkpoint_tensor.h).
  int64_t interleave_group = 0;
  // One of these, [n_rows, n_cols].
  float* floats = nullptr;
  uint16_t* halves = nullptr;  // bfloat16
};

NARROW_WARP_FUNCTION int64_t ScaleIndexOf(const CodesTask& task, int64_t row,
                                          int64_t col) {
  if (task.flat) {
    return task.block_cols == 0 ? 0
                                : (row * task.n_cols + col) / task.block_cols;
  }
  const int64_t scale_row = task.block_rows == 0 ? 0 : row / task.block_rows;
  const int64_t scale_col = task.group_of_column != nullptr
                                ? task.group_of_column[col]
                            : task.block_cols == 0 ? 0
                                                   : col / task.block_cols;
  return scale_row * task.n_scale_cols + scale_col;
}

NARROW_WARP_FUNCTION int64_t RowOfResult(const CodesTask& task, int64_t row) {
  const int64_t group = task.interleave_group;
  if (group == 0) {
    return row;
  }
  const int64_t in_group = row % group;
  const int64_t half = group / 2;
  return row - in_group +
         (in_group < half ? 2 * in_group : 2 * (in_group - half) + 1);
}

NARROW_WARP_FUNCTION void DecodeCode(const CodesTask& task, int64_t i) {
  const int64_t row = i / task.n_cols;
  const int64_t col = i - row * task.n_cols;
  const uint8_t code = CodeAt(task.layout, task.words, row, col);
  const int64_t index = ScaleIndexOf(task, row, col);
  const float scale = task.scales[index] * task.scale_unit;
  float weight;
  if (task.table != nullptr) {
    weight = task.table[code] * (scale / task.global_scale);
  } else {
    const float zero = task.zeros != nullptr ? task.zeros[index] : task.middle;
    weight = (static_cast<float>(code) - zero) * scale;
  }
  const int64_t at = RowOfResult(task, row) * task.n_cols + col;
  if (task.floats != nullptr) {
    task.floats[at] = weight;
  } else {
    task.halves[at] = static_cast<uint16_t>(warp::RoundToBf16(weight));
  }
}

}  // namespace narrow

#endif  // NARROW_KERNELS_PACKED_DEVICE_CODES_THREADS_H_
