// Names of tensors as Hugging Face checkpoints store them, read as the rules
// of families spell them.

#ifndef NARROW_FORMATS_ARCH_STORED_NAME_H_
#define NARROW_FORMATS_ARCH_STORED_NAME_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow {

// A name with its numbers apart: "model.layers.3.mlp.gate.weight" is
// "model.layers.{}.mlp.gate.weight" and 3.
struct StoredName {
  std::string pattern;
  std::vector<int64_t> numbers;
};

StoredName ParseStoredName(absl::string_view name);

// Without what multimodal models add to the names of their language model.
std::string LanguageModelName(absl::string_view name);

// Parts of multimodal models other than the language model, and buffers that
// older checkpoints hold. llama.cpp's converter leaves out the same.
bool IsOutsideLanguageModel(absl::string_view name);

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_STORED_NAME_H_
