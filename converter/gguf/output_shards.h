// The files that one output is written to: one, or the shards of a split one.
//
//   ASSIGN_OR_RETURN(std::vector<PlannedFile> files,
//                    PlanFiles(metas, metadata, split));
//   FilePath("out/m.gguf", split, 0, 3);   // out/m-00001-of-00003.gguf
//
// Pure functions.

#ifndef NARROW_CONVERTER_GGUF_OUTPUT_SHARDS_H_
#define NARROW_CONVERTER_GGUF_OUTPUT_SHARDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/gguf/gguf_split.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {

struct PlannedFile {
  int64_t n_tensors;
  int64_t n_bytes;  // exact
};

// One for an output that is not split.
absl::StatusOr<std::vector<PlannedFile>> PlanFiles(
    absl::Span<const TensorMeta> metas, const Metadata& metadata,
    const std::optional<GgufSplitOptions>& split);

// The shards of the input again: `origins` says for every tensor of the
// output, in order, which file it comes from. One shard if the input is one
// file. REQUIRES: origins in the order of the input's shards.
GgufSplitOptions SplitAsInput(absl::Span<const std::string> origins);

// The name of file `index` of `n_files`; of a split output, `path` is their
// prefix, and ".gguf" at its end is dropped.
std::string FilePath(absl::string_view path,
                     const std::optional<GgufSplitOptions>& split, size_t index,
                     size_t n_files);

}  // namespace narrow

#endif  // NARROW_CONVERTER_GGUF_OUTPUT_SHARDS_H_
