// Whether an output still is what its manifest says.
//
//   ASSIGN_OR_RETURN(VerifyResult result, VerifyOutputHashes(manifest, path,
//                                                            0, nullptr));
//   result.differences;   // one line each, named; empty: all as written
//
// Pure functions of the file system.

#ifndef NARROW_CONVERTER_PROVENANCE_VERIFY_H_
#define NARROW_CONVERTER_PROVENANCE_VERIFY_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/provenance/manifest.pb.h"

namespace narrow {

struct VerifyResult {
  int64_t n_files = 0;    // compared
  int64_t n_tensors = 0;  // compared
  int64_t n_bytes = 0;    // of the files
  std::vector<std::string> differences;
};

// Every file and tensor of the output at `path`, any shard of a split one.
// That a file cannot be read, or its tensors not be found for damage, is a
// difference too.
absl::StatusOr<VerifyResult> VerifyOutputHashes(
    const provenance::Manifest& manifest, const std::string& path,
    int n_threads, const std::atomic<bool>* cancelled);

// How `found` differs from the model that was the input; lines as above.
std::vector<std::string> CompareModels(const provenance::Model& wanted,
                                       const provenance::Model& found);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PROVENANCE_VERIFY_H_
