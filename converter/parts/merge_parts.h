// `narrow merge` as a function: the parts of a conversion to the GGUF files
// that a single run writes.
//
//   ASSIGN_OR_RETURN(MergedParts parts, OpenParts({"m.part-1", "m.part-2"}));
//   RETURN_IF_ERROR(WriteMerged(parts, "model-Q4_K_M.gguf", options));
//
// Every byte is checked before the first is written.

#ifndef NARROW_CONVERTER_PARTS_MERGE_PARTS_H_
#define NARROW_CONVERTER_PARTS_MERGE_PARTS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/gguf/output_shards.h"
#include "converter/parts/part_file.h"
#include "formats/digest/model_digest.h"
#include "formats/gguf/gguf_split.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {

struct MergedParts {
  std::vector<PartFile> parts;  // in their order, a head alone first
  std::string version;          // of the narrow that made them
  std::string provenance;       // PartRequest::provenance
  Metadata metadata;
  std::vector<TensorMeta> tensors;  // in the order of the file
  std::optional<GgufSplitOptions> split;
  std::vector<PlannedFile> files;
  ModelDigest model;  // the input, hashed by the parts together
};

// InvalidArgument: parts that are missing, twice, or of another plan, model
// or version, by name; DataLoss: damaged ones. Rows are not read yet.
absl::StatusOr<MergedParts> OpenParts(const std::vector<std::string>& paths);

struct MergeOptions {
  int n_threads = 0;
  // Bytes checked or written; all rows are both.
  std::function<void(int64_t n_bytes)> on_progress;
  const std::atomic<bool>* cancelled = nullptr;
};

// `path`: the file, or the prefix of its shards.
absl::Status WriteMerged(const MergedParts& merged, const std::string& path,
                         const MergeOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PARTS_MERGE_PARTS_H_
