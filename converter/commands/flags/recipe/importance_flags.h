// The flags of `narrow convert` about importance matrices.

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_IMPORTANCE_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_IMPORTANCE_FLAGS_H_

#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "calibration/importance/importance.h"

namespace narrow {

struct ImportanceFlags {
  std::string path;
  std::vector<std::string> include;  // parts of tensor names
  std::vector<std::string> exclude;
  std::string missing;  // empty: not asked for
};

// `flags` must outlive the command.
void AddImportanceFlags(CLI::App* command, ImportanceFlags* flags);

// The matrix that was asked for; none if no file was given, or, as for
// llama-quantize, if no entry of it is left.
absl::StatusOr<std::optional<ImportanceMatrix>> ReadImportanceAsked(
    const ImportanceFlags& flags);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_IMPORTANCE_FLAGS_H_
