// --no-manifest, and what a command's options say for the manifest of its
// output.
//
//   AddManifestFlag(command, &flags.manifest);
//   auto recorder = ProvenanceRecorder::Begin(
//       ProvenanceOf(*command, flags.manifest, flags.n_threads));
//
// Options by which no byte of a tensor changes (threads, reports, where the
// output goes) are left out of the arguments. Pure functions of the options.

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_MANIFEST_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_MANIFEST_FLAGS_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "converter/provenance/recorder.h"

namespace narrow {

// `on` is true unless --no-manifest is given.
void AddManifestFlag(CLI::App* command, bool* on);

// Whether an option says how a run goes, not what its output is.
bool IsOptionOfRun(absl::string_view name);

// The model is the first positional option. Other models and files are those
// of options whose values are called DIR or FILE.
ProvenanceRequest ProvenanceOf(const CLI::App& command, bool on, int n_threads);

// `arguments` with the value of `option` ("--to") replaced.
std::vector<std::string> WithOption(std::vector<std::string> arguments,
                                    absl::string_view option,
                                    absl::string_view value);

// The request without models, as bytes of a provenance::Manifest, for a part
// of a conversion. Errors of reading the files.
absl::StatusOr<std::string> ProvenanceForParts(
    const ProvenanceRequest& request);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_MANIFEST_FLAGS_H_
