// The flags of `narrow convert` about the type of each tensor.

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_TYPE_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_TYPE_FLAGS_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/recipe.h"
#include "formats/quant_type.h"

namespace narrow {

struct TypeFlags {
  std::string mode = "compat";
  std::vector<std::string> tensor_types;  // PATTERN=TYPE
  std::string tensor_type_file;
  std::string output_type;
  std::string embedding_type;
  bool pure = false;
  bool leave_output = false;
  bool allow_requantize = false;
};

// `flags` must outlive the command.
void AddTypeFlags(CLI::App* command, TypeFlags* flags);

// A type that can be written; InvalidArgument, with the nearest name, else.
absl::StatusOr<QuantType> ParseTensorType(absl::string_view name,
                                          absl::string_view flag);

// InvalidArgument for what is no PATTERN=TYPE, or names no type that can be
// written; NotFound for a file of them that is not there.
absl::Status AddTypeOptions(const TypeFlags& flags, Recipe* recipe);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_TYPE_FLAGS_H_
