#include "converter/gguf/output_shards.h"

#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_layout.h"
#include "formats/gguf/gguf_writer.h"

namespace narrow {

absl::StatusOr<std::vector<PlannedFile>> PlanFiles(
    absl::Span<const TensorMeta> metas, const Metadata& metadata,
    const std::optional<GgufSplitOptions>& split) {
  std::vector<PlannedFile> files;
  if (!split.has_value()) {
    ASSIGN_OR_RETURN(const int64_t n_bytes, GgufFileBytes(metas, metadata));
    files.push_back({static_cast<int64_t>(metas.size()), n_bytes});
    return files;
  }
  ASSIGN_OR_RETURN(const GgufLayout whole, LayOutGguf(metas, metadata));
  ASSIGN_OR_RETURN(const std::vector<GgufShard> shards,
                   PlanGgufSplit(metas, whole.alignment, *split));
  ASSIGN_OR_RETURN(const std::vector<int64_t> n_bytes,
                   GgufSplitFileBytes(metas, metadata, *split));
  for (size_t i = 0; i < shards.size(); ++i) {
    files.push_back({static_cast<int64_t>(shards[i].n), n_bytes[i]});
  }
  return files;
}

GgufSplitOptions SplitAsInput(absl::Span<const std::string> origins) {
  GgufSplitOptions split;
  split.shard_tensors = {0};
  for (const std::string& file : origins) {
    const auto name = ParseSplitGgufName(file);
    const size_t shard =
        name.has_value() ? static_cast<size_t>(name->index) : 0;
    // Shards without tensors in between have keys only.
    while (split.shard_tensors.size() <= shard) {
      split.shard_tensors.push_back(0);
    }
    ++split.shard_tensors[shard];
  }
  return split;
}

std::string FilePath(absl::string_view path,
                     const std::optional<GgufSplitOptions>& split, size_t index,
                     size_t n_files) {
  return split.has_value()
             ? SplitGgufName(absl::StripSuffix(path, ".gguf"), index, n_files)
             : std::string(path);
}

}  // namespace narrow
