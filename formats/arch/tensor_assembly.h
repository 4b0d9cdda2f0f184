// The tensors of a Hugging Face checkpoint as GGUF has them: renamed,
// checked against the configuration, stacked, in the converter's order.
//
//   ASSIGN_OR_RETURN(Assembly a, AssembleTensors({source, spec, config, hf,
//                                                 "auto", -1}));
//
// Nothing large is read: a tensor's rows stay where they are. Segments point
// into `source`, which must outlive them.

#ifndef NARROW_FORMATS_ARCH_TENSOR_ASSEMBLY_H_
#define NARROW_FORMATS_ARCH_TENSOR_ASSEMBLY_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/arch/arch_spec.h"
#include "formats/arch/checkpoint_tensor.h"
#include "formats/arch/model_config.h"
#include "formats/hf/hf_config.h"
#include "formats/tensor.h"

namespace narrow {

struct AssemblyInputs {
  const TensorSource& source;
  const ArchSpec& spec;
  const ModelConfig& config;
  const HfConfig& hf;
  absl::string_view intermediate;  // "auto", "f32", "f16", "bf16", "exact"
  // Rows of the embedding beyond this are left out; -1: none.
  int64_t max_vocab;
};

struct Assembly {
  std::vector<CheckpointTensor> tensors;
  QuantType matrix_type;  // what matrices pass through
};

// InvalidArgument: an unknown `intermediate`. Unimplemented: a tensor that
// the family does not have, or of an element type that is no 16 or 32-bit
// float. DataLoss: a tensor is missing or its shape contradicts the config.
absl::StatusOr<Assembly> AssembleTensors(const AssemblyInputs& inputs);

// Of one tensor as the checkpoint stores it, outermost first.
std::vector<int64_t> ShapeOf(const TensorRule& rule, const ModelConfig& config);

// general.file_type of a file whose matrices have this type.
int32_t FileTypeOf(QuantType matrix_type);

// N of "blk.N.", else -1.
int LayerOf(absl::string_view gguf_name);

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_TENSOR_ASSEMBLY_H_
