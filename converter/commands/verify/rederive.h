// Tensors of an output made anew from the original by the manifest's own
// command, and compared by their bytes' hashes.
//
//   ASSIGN_OR_RETURN(RederiveResult result, Rederive(manifest, request));
//   result.differences;   // empty: the same bytes
//
// GGUF conversions whose types and values follow from the weights (and an
// importance matrix, or one-shot statistics) are done for the chosen tensors
// alone; for anything else the whole command runs again in a folder of its
// own. A manifest is a file that anyone may have written: only the commands
// that make outputs are run, with no option that writes elsewhere, and files
// are read only if their hashes are those of the manifest.

#ifndef NARROW_CONVERTER_COMMANDS_VERIFY_REDERIVE_H_
#define NARROW_CONVERTER_COMMANDS_VERIFY_REDERIVE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/provenance/manifest.pb.h"

namespace narrow {

struct RederiveRequest {
  int64_t n_tensors = 0;
  uint64_t seed = 0;
  std::string original;            // empty: the manifest's path
  std::vector<std::string> files;  // for those that are not where they were
  int n_threads = 0;
};

struct RederiveResult {
  std::vector<std::string> tensors;  // compared
  bool whole_run = false;
  std::vector<std::string> differences;
};

// InvalidArgument: the original or a file is another one than the manifest
// has, named; NotFound: it is not there; FailedPrecondition: the manifest is
// of another version of narrow.
absl::StatusOr<RederiveResult> Rederive(const provenance::Manifest& manifest,
                                        const RederiveRequest& request);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_VERIFY_REDERIVE_H_
