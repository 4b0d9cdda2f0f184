// Hashes of a model's tensors and of the files that hold them, in one go.
//
//   ASSIGN_OR_RETURN(provenance::Model model,
//                    DigestModelFiles("out/m.gguf", 0, nullptr));
//
// Pure functions of the file system.

#ifndef NARROW_CONVERTER_PROVENANCE_DIGEST_FILES_H_
#define NARROW_CONVERTER_PROVENANCE_DIGEST_FILES_H_

#include <atomic>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/provenance/manifest.pb.h"
#include "formats/digest/model_digest.h"

namespace narrow {

// The files of a model: of a directory of the model's own kind, its weights
// and settings (an input) or all files but manifests (`all_files`, an output);
// of a GGUF file, it or its shards. Paths, sorted.
absl::StatusOr<std::vector<std::string>> FilesOfModel(const std::string& path,
                                                      bool all_files);

// `role` and `path` as given; files and tensors by `n_threads` threads (< 1:
// all processors). Cancelled, between files and tensors, where `cancelled`,
// which may be null, says so.
absl::StatusOr<provenance::Model> DigestModelFiles(
    const std::string& role, const std::string& path, bool all_files,
    int n_threads, const std::atomic<bool>* cancelled);

// A folder that is no model by itself, such as an adapter: all its files, and
// a hash of them.
absl::StatusOr<provenance::Model> DigestFolder(const std::string& role,
                                               const std::string& path);

// The tensors and the hash of `digest`, whose files are not those of a disk.
provenance::Model ModelOf(const ModelDigest& digest);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PROVENANCE_DIGEST_FILES_H_
