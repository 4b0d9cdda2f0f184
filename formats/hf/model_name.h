// What a model's name says of it, by the conventions of the Hugging Face hub:
//
//   ParseModelName("meta-llama/Llama-3.1-8B-Instruct", 8e9)
//     -> organization "meta-llama", basename "Llama-3.1", size "8B",
//        finetune "Instruct"
//
// The rules are those of llama.cpp's converter, oddities included, since the
// parts end up in general.* keys of GGUF.

#ifndef NARROW_FORMATS_HF_MODEL_NAME_H_
#define NARROW_FORMATS_HF_MODEL_NAME_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace narrow {

struct ModelName {
  std::string full_name;  // without the organization
  std::optional<std::string> organization;
  std::optional<std::string> basename;
  std::optional<std::string> finetune;
  std::optional<std::string> version;
  std::optional<std::string> size_label;
};

// `n_parameters` tells a size from a context length ("128k"); 0: unknown.
ModelName ParseModelName(absl::string_view id, int64_t n_parameters);

// "llama-3-8b-chat" -> "Llama 3 8b Chat": words in lower case get a capital,
// unless they are numbers or versions.
std::string TitleOf(absl::string_view id);

// "270M": at least two digits. "8x7B" is for the caller.
std::string RoundedCount(int64_t n_parameters);

}  // namespace narrow

#endif  // NARROW_FORMATS_HF_MODEL_NAME_H_
