// What `narrow convert` makes sure of before it computes anything.

#ifndef NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_CHECKS_H_
#define NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_CHECKS_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// Paths that flags name; empty where there is none.
struct FilesAsked {
  std::string model;
  std::string json;                 // written
  std::string recipe;               // likewise, of --write-recipe
  std::vector<std::string> inputs;  // read besides the model
  bool is_part = false;  // an output's path is that of the one file written
};

// That no file of any output is read or written besides.
absl::Status CheckFiles(const Checkpoint& model,
                        const std::vector<Output>& outputs,
                        const FilesAsked& asked);
// Likewise the recipe's.
absl::Status CheckRecipeFile(const Checkpoint& model, const FilesAsked& asked,
                             const std::string& output);

// Of options that are for directories, where the model is a file.
void WarnOfDirectoryOptions(const CLI::App& command, const Checkpoint& model);

// Lists what strict mode does not accept, and fails if there is any.
absl::Status CheckStrict(const std::vector<Plan>& plans);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_CHECKS_H_
