// GGUF files in several shards: names, and which tensors go where.
//
//   SplitGgufName("m", 0, 3) == "m-00001-of-00003.gguf"
//   ASSIGN_OR_RETURN(auto shards, PlanGgufSplit(metas, 32, options));
//
// Every shard has split.no, split.count and split.tensors.count; the model's
// own keys are in the first only. Pure functions.

#ifndef NARROW_FORMATS_GGUF_GGUF_SPLIT_H_
#define NARROW_FORMATS_GGUF_GGUF_SPLIT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {

// One limit at most; without one there is one shard. Shards are those of
// llama-gguf-split, or of llama-quantize --keep-split if their sizes are given.
struct GgufSplitOptions {
  int64_t max_tensors = 0;  // a shard
  // Padded tensor data of a shard, headers not counted. A tensor above it has
  // a shard of its own.
  int64_t max_bytes = 0;
  // The first shard has the keys only.
  bool no_tensor_first_split = false;
  // Number of tensors of each shard, 0 included, instead of all the above.
  std::vector<int64_t> shard_tensors;
};

struct GgufShard {
  size_t first;  // tensors [first, first + n)
  size_t n;
};

// In order; only the first may be empty, unless the shards are given.
// InvalidArgument for negative or two limits, for sizes that do not fit their
// types, for given shards of more or fewer tensors than there are, and for
// more than 65535 shards.
absl::StatusOr<std::vector<GgufShard>> PlanGgufSplit(
    absl::Span<const TensorMeta> metas, int64_t alignment,
    const GgufSplitOptions& options);

// Whose order the keys of a shard have.
enum class GgufSplitStyle {
  kGgufSplit,  // llama-gguf-split's
  kQuantize,   // llama-quantize's; a single shard has no such keys
};

// The keys of shard `index`, from 0, out of those of the whole model.
Metadata GgufShardMetadata(const Metadata& whole, size_t index, size_t n_shards,
                           size_t n_tensors, GgufSplitStyle style);

// "300M" or "2G", decimal as llama-gguf-split has it, to bytes.
absl::StatusOr<int64_t> ParseSplitSize(absl::string_view text);

std::string SplitGgufName(absl::string_view prefix, size_t index,
                          size_t n_shards);

struct GgufSplitName {
  std::string prefix;  // with its folder
  int64_t index;       // from 0
  int64_t n_shards;
};

// nullopt if `path` is not named as a shard.
std::optional<GgufSplitName> ParseSplitGgufName(absl::string_view path);

}  // namespace narrow

#endif  // NARROW_FORMATS_GGUF_GGUF_SPLIT_H_
