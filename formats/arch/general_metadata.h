// The keys "general.*" of a GGUF file made from a Hugging Face folder: the
// model's name, licence and ancestry, from README.md, config.json,
// generation_config.json and the folder's own name, by the rules of llama.cpp's
// converter.

#ifndef NARROW_FORMATS_ARCH_GENERAL_METADATA_H_
#define NARROW_FORMATS_ARCH_GENERAL_METADATA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/arch/checkpoint_tensor.h"
#include "formats/metadata.h"

namespace narrow {

struct ParameterCount {
  int64_t total = 0;
  int64_t shared = 0;  // outside experts
  int64_t expert = 0;  // of one expert
  int64_t n_experts = 0;
};

ParameterCount CountParameters(absl::Span<const CheckpointTensor> tensors);

// "8B", "270M", "8x7B".
std::string SizeLabel(const ParameterCount& count);

struct GeneralMetadataInputs {
  std::string folder;
  std::string model_name;  // overrides the name; empty: derived
  ParameterCount parameters;
};

// Adds general.type … general.languages.
absl::Status AddGeneralMetadata(const GeneralMetadataInputs& inputs,
                                Metadata* metadata);

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_GENERAL_METADATA_H_
