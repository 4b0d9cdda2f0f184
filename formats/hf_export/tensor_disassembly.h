// The tensors of a GGUF model as a Hugging Face checkpoint has them: the
// family's rules (arch_spec.h) read from right to left. Rows of query and key
// heads go back to halves, stacks of experts come apart, Gemma's norms lose
// the 1 that GGUF adds.
//
//   ASSIGN_OR_RETURN(Disassembly d, DisassembleTensors(*model));
//   for (const DisassembledTensor& t : d.tensors)
//     for (int64_t r = 0; r < t.meta.n_rows(); ++r)
//       Use(ReadScaledRow(*t.source, SourceRow(t, r)) + t.offset);
//
// Nothing is read: a row of the result is a row of the source. Sources point
// into the checkpoint, which must outlive them.

#ifndef NARROW_FORMATS_HF_EXPORT_TENSOR_DISASSEMBLY_H_
#define NARROW_FORMATS_HF_EXPORT_TENSOR_DISASSEMBLY_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/arch/checkpoint.h"
#include "formats/tensor.h"

namespace narrow {

struct DisassembledTensor {
  TensorMeta meta;  // the checkpoint's name and shape; `type` is left F32
  const CheckpointTensor* source = nullptr;
  int64_t first_row = 0;  // of the source
  // Above 0: within every group of this many rows (a head), the first half
  // are the even rows of the source and the second half the odd ones.
  int64_t group = 0;
  // A vector: the group is of columns, not of rows.
  bool groups_columns = false;
  float offset = 0;  // added to every element after decoding
};

struct Disassembly {
  std::vector<DisassembledTensor> tensors;  // by name
  bool attention_bias = false;
  bool mlp_bias = false;
  // Of a model with experts, those without.
  std::vector<int64_t> dense_layers;
};

// Unimplemented: a family that we do not know, or a tensor that it does not
// have. DataLoss: a tensor is missing or its shape contradicts the metadata.
absl::StatusOr<Disassembly> DisassembleTensors(const Checkpoint& model);

// Row of `tensor.source` that row `row` of the tensor is.
int64_t SourceRow(const DisassembledTensor& tensor, int64_t row);

// Element i of a group of `group` elements is element GroupedIndex of it in
// GGUF's order.
int64_t GroupedIndex(int64_t i, int64_t group);

// Tensors that a configuration holds, not a checkpoint: rope_freqs.weight and
// the factors of longrope.
bool IsRopeFactors(absl::string_view gguf_name);

}  // namespace narrow

#endif  // NARROW_FORMATS_HF_EXPORT_TENSOR_DISASSEMBLY_H_
