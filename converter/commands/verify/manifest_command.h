// The command of a manifest, run again. A manifest is a file that anyone may
// have written: only the commands that make outputs are run, with no option
// that writes elsewhere, and files are read only if their hashes are those of
// the manifest.
//
//   ASSIGN_OR_RETURN(auto words, SafeArguments(manifest, files));
//   words.insert(words.begin(), {manifest.command(), original});
//   RETURN_IF_ERROR(RunManifestCommand(words));

#ifndef NARROW_CONVERTER_COMMANDS_VERIFY_MANIFEST_COMMAND_H_
#define NARROW_CONVERTER_COMMANDS_VERIFY_MANIFEST_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/provenance/manifest.pb.h"

namespace narrow {

// Whether a command makes outputs of models.
bool CanRun(absl::string_view command);

// "--to" of "--to=Q8_0".
std::string OptionOf(absl::string_view argument);

// The command's words but for the model and where to write; options are
// checked, and files found, where they were or among `files`. DataLoss: an
// argument that no output has; InvalidArgument, NotFound: another file or
// folder than the manifest has, or none.
absl::StatusOr<std::vector<std::string>> SafeArguments(
    const provenance::Manifest& manifest,
    const std::vector<std::string>& files);

// REQUIRES: CanRun(words.front()).
absl::Status RunManifestCommand(const std::vector<std::string>& words);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_VERIFY_MANIFEST_COMMAND_H_
