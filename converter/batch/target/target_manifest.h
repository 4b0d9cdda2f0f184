// The command that makes an output of a release by itself, and the output's
// manifest.
//
//   const TargetCommand command =
//       CommandOfTarget("gemma-3-270m", target, "out/x.recipe");
//   command.words;   // {"convert", "gemma-3-270m", "--to=Q4_K_M"}
//
// Functions of their arguments and the file system.

#ifndef NARROW_CONVERTER_BATCH_TARGET_TARGET_MANIFEST_H_
#define NARROW_CONVERTER_BATCH_TARGET_TARGET_MANIFEST_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "converter/batch/release.pb.h"
#include "converter/batch/release_file.h"

namespace narrow {

struct TargetCommand {
  // The subcommand, the model, and options as "--name=value".
  std::vector<std::string> words;
  // What no option says, for the file that --recipe names; "": nothing.
  std::string recipe;
};

// `recipe_path` is where such a file is to be.
TargetCommand CommandOfTarget(const std::string& model,
                              const PlannedTarget& target,
                              const std::string& recipe_path);

// Whether the output has a manifest with the files of its record.
bool HasManifest(const std::string& out, const std::string& output,
                 const TargetRecord& record);

// Puts what was measured into the output's manifest; does nothing where that
// has it already. Errors of reading and writing it.
absl::Status SetMeasured(const std::string& output,
                         const RecordedValidation& validation);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_TARGET_TARGET_MANIFEST_H_
