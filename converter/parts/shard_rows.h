// Which rows of a conversion a part of it does.
//
//   for (const RowRange& range : ShardRows(sources, {2, 4}, false)) …
//
// Parts are cut by the bytes of the input, so that they take about as long,
// and where they are cut does not depend on what becomes of a tensor. Pure
// functions.

#ifndef NARROW_CONVERTER_PARTS_SHARD_ROWS_H_
#define NARROW_CONVERTER_PARTS_SHARD_ROWS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "converter/pieces.h"
#include "formats/tensor.h"

namespace narrow {

struct Shard {
  int64_t index = 1;  // from 1
  int64_t count = 1;
};

inline constexpr int64_t kMaxShards = 65535;

// "2/16". InvalidArgument unless 1 <= index <= count <= kMaxShards.
absl::StatusOr<Shard> ParseShard(absl::string_view text);

// The rows of a part, in order. Rows belong to the part in which their first
// byte lies; with `whole_tensors`, tensors do. All parts together have every
// row once.
std::vector<RowRange> ShardRows(absl::Span<const TensorMeta> sources,
                                const Shard& shard, bool whole_tensors);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PARTS_SHARD_ROWS_H_
