#include "converter/commands/convert/convert_checks.h"

#include <cstdio>

#include "converter/conversion_report.h"
#include "converter/fallbacks.h"
#include "converter/gguf/output_paths.h"
#include "formats/base/status.h"

namespace narrow {

absl::Status CheckFiles(const Checkpoint& model,
                        const std::vector<Output>& outputs,
                        const FilesAsked& asked) {
  for (const Output& output : outputs) {
    for (const std::string& file : asked.is_part
                                       ? std::vector<std::string>{output.path}
                                       : FilesOf(output)) {
      RETURN_IF_ERROR(CheckOutputFile(file, asked.model, asked.json));
      RETURN_IF_ERROR(CheckInputIsKept(model, file));
      for (const std::string& input : asked.inputs) {
        if (!input.empty()) {
          RETURN_IF_ERROR(CheckOutputFile(file, input, ""));
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRecipeFile(const Checkpoint& model, const FilesAsked& asked,
                             const std::string& output) {
  const std::string& file = asked.recipe;
  if (file.empty()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckInputIsKept(model, file));
  std::vector<std::string> others = asked.inputs;
  others.push_back(asked.model);
  others.push_back(output);
  for (const std::string& other : others) {
    if (!other.empty()) {
      RETURN_IF_ERROR(
          Annotate(CheckOutputFile(file, other, asked.json), "--write-recipe"));
    }
  }
  return absl::OkStatus();
}

void WarnOfDirectoryOptions(const CLI::App& command, const Checkpoint& model) {
  for (const char* name :
       {"--outtype", "--pre", "--model-name", "--decode-quantized"}) {
    if (model.is_gguf() && command.count(name) > 0) {
      std::fprintf(stderr,
                   "narrow: warning: %s is for model directories and changes "
                   "nothing, since %s is a GGUF file; see --override-kv\n",
                   name, OneLine(model.path()).c_str());
    }
  }
}

absl::Status CheckStrict(const std::vector<Plan>& plans) {
  absl::Status status;
  for (const Plan& plan : plans) {
    if (plan.recipe.mode != Mode::kStrict || plan.recipe.copy) {
      continue;
    }
    const std::vector<std::string> problems = StrictProblems(plan);
    for (const std::string& problem : problems) {
      std::fprintf(stderr, "narrow: strict: %s: %s\n", RecipeName(plan.recipe),
                   OneLine(problem).c_str());
    }
    status.Update(StrictError(plan, problems.size()));
  }
  return status;
}

}  // namespace narrow
