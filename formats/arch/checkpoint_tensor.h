// One tensor of an opened model under its GGUF name, and where its rows lie.

#ifndef NARROW_FORMATS_ARCH_CHECKPOINT_TENSOR_H_
#define NARROW_FORMATS_ARCH_CHECKPOINT_TENSOR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "formats/tensor.h"

namespace narrow {

// Consecutive rows of one stored tensor.
struct RowSegment {
  const TensorView* view;
  int64_t first_row;
  int64_t n_rows;
};

struct CheckpointTensor {
  // GGUF name and shape; `type` is what llama.cpp's converter would store, so
  // values pass through it: stored -> + offset -> meta.type.
  TensorMeta meta;
  // Type of the bytes that RowBytes gives; differs from meta.type for 16-bit
  // norms (stored bf16, meta f32) or an f32 checkpoint converted through bf16.
  QuantType stored = QuantType::kF32;
  float offset = 0;  // added to every element after decoding
  // One factor a matrix, from the tensor "<name>.scale" of a GGUF file (NVFP4
  // has them); empty: 1. The forward pass applies them, a conversion does
  // not: to it the scales are a tensor like any other.
  std::vector<float> scales;
  int layer = -1;  // of "blk.N."; -1 outside blocks

  // Rows of the tensor are these segments, one after another.
  std::vector<RowSegment> segments;
  // Above 0: within every group of this many rows (a head), row 2i is source
  // row i and row 2i + 1 is source row i + group / 2.
  int64_t interleave_group = 0;
  // Bytes of tensors that no file holds (rotary factors, permuted biases).
  std::shared_ptr<const std::vector<uint8_t>> owned;

  // For messages: the first segment's place, or the owner's.
  Origin origin;
};

// The row of the segments that row `row` of the tensor is.
inline int64_t StoredRow(const CheckpointTensor& tensor, int64_t row) {
  const int64_t group = tensor.interleave_group;
  if (group == 0) {
    return row;
  }
  const int64_t in_group = row % group;
  return row - in_group + in_group / 2 + in_group % 2 * (group / 2);
}

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_CHECKPOINT_TENSOR_H_
