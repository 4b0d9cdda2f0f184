// The flags of `narrow convert` about the GGUF files it writes: shards, keys,
// layers.

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_GGUF_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_GGUF_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "converter/recipe.h"

namespace narrow {

struct GgufFlags {
  std::string split_max_size;
  int64_t split_max_tensors = 0;
  bool no_tensor_first_split = false;
  bool keep_split = false;
  bool keep_order = false;
  std::vector<std::string> override_kv;
  std::string prune_layers;
};

// `flags` must outlive the command.
void AddGgufFlags(CLI::App* command, GgufFlags* flags);

// InvalidArgument for what cannot be read, or does not go together.
absl::Status AddGgufOptions(const GgufFlags& flags, Recipe* recipe);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_GGUF_FLAGS_H_
