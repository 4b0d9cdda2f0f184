// config.json and generation_config.json of a model that was opened from a
// GGUF file. The keys are those that the model's configuration class in
// transformers has (formats/hf/hf_class.h); what GGUF has no key for gets the
// value that llama.cpp assumes, and a warning says so.
//
//   ASSIGN_OR_RETURN(HfConfigFiles files,
//                    WriteHfConfig({*model, disassembly, "bfloat16"}));

#ifndef NARROW_FORMATS_HF_EXPORT_HF_CONFIG_WRITER_H_
#define NARROW_FORMATS_HF_EXPORT_HF_CONFIG_WRITER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/arch/checkpoint.h"
#include "formats/hf/hf_class.h"
#include "formats/hf_export/tensor_disassembly.h"

namespace narrow {

struct HfConfigInputs {
  const Checkpoint& model;
  const Disassembly& tensors;
  absl::string_view dtype;  // as torch calls it: bfloat16, float16, float32
};

struct HfConfigFiles {
  const HfClass* hf_class;
  std::string config;
  std::string generation_config;
  std::vector<std::string> warnings;
};

// Unimplemented: a model that no class of the family can express, with the
// reason.
absl::StatusOr<HfConfigFiles> WriteHfConfig(const HfConfigInputs& inputs);

// Whether a value is known for every key that a class may have; for tests.
bool KnowsHfConfigKey(absl::string_view key);

}  // namespace narrow

#endif  // NARROW_FORMATS_HF_EXPORT_HF_CONFIG_WRITER_H_
