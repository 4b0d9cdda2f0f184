// What a model is, as a hash of its contents: every tensor, and the files or
// keys that say how it runs. Names of folders, times and how tensors are cut
// into files do not count, so a copy has the same hash, and so has a GGUF
// file and its shards.
//
//   ASSIGN_OR_RETURN(ModelDigest digest, DigestModel("gemma-3-270m", 0));
//   digest.sha256.Hex();
//
// The hash is SHA-256 over "narrow model 1", then each tensor, by name, and
// each file, by name; strings have their length before them (8 bytes,
// little-endian), numbers are 8 bytes:
//
//   "tensor" name type-name n-sizes size… sha256-of-its-bytes (32 bytes)
//   "file"   name n-bytes                 sha256-of-its-bytes
//
// A GGUF model has one "file" of the name "metadata": the header of a GGUF 3
// file with its keys (those of shards, "split.…", left out) and no tensors.

#ifndef NARROW_FORMATS_DIGEST_MODEL_DIGEST_H_
#define NARROW_FORMATS_DIGEST_MODEL_DIGEST_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/base/hash/sha256.h"
#include "formats/tensor.h"

namespace narrow {

struct TensorDigest {
  TensorMeta meta;
  Sha256Digest sha256;
};

struct SideFileDigest {
  std::string name;  // relative to the model's folder
  int64_t n_bytes = 0;
  Sha256Digest sha256;
};

struct ModelDigest {
  Sha256Digest sha256;
  std::vector<TensorDigest> tensors;  // sorted by name
  std::vector<SideFileDigest> files;  // likewise
};

// `path`: a folder, a GGUF file (any shard) or a safetensors file. Reads all
// of it once, with `n_threads` threads (< 1: all processors). Errors of
// OpenTensorSource.
absl::StatusOr<ModelDigest> DigestModel(absl::string_view path, int n_threads);

// Part of it: every file and of the tensors a share of the bytes, so that
// several processes read the model once together.
struct ModelShare {
  // Of the files, all tensors' names, types and shapes, and the first and
  // last 4 KiB of each: the same for all shares of a model, and another for
  // another, without reading it.
  Sha256Digest identity;
  std::vector<TensorDigest> tensors;
  std::vector<SideFileDigest> files;
};

// ModelShare::identity alone.
absl::StatusOr<Sha256Digest> IdentifyModel(absl::string_view path);

// Share `index` of `count`. Stops between tensors where `cancelled` says so:
// Cancelled; it may be null. REQUIRES: 0 <= index < count.
absl::StatusOr<ModelShare> DigestModelShare(absl::string_view path,
                                            int64_t index, int64_t count,
                                            int n_threads,
                                            const std::atomic<bool>* cancelled);

// The same of tensors that are hashed already; sorts both lists.
void CombineDigests(ModelDigest* digest);

// The settings, tokenizer and template files of a model's folder that
// DigestModel counts, sorted.
std::vector<std::string> ModelSideFiles(absl::string_view folder);

// The "metadata" of a GGUF model. InvalidArgument for keys that no GGUF file
// can have.
absl::StatusOr<SideFileDigest> DigestMetadata(const Metadata& metadata);

}  // namespace narrow

#endif  // NARROW_FORMATS_DIGEST_MODEL_DIGEST_H_
