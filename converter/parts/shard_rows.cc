#include "converter/parts/shard_rows.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace narrow {
namespace {

int64_t WeightOfRow(const TensorMeta& meta) {
  return std::max<int64_t>(1, meta.row_bytes());
}

// The first of `n` rows from byte `at` on that begins at or after `place`.
int64_t FirstRowFrom(int64_t at, int64_t row_bytes, int64_t n, int64_t place) {
  const int64_t behind = std::max<int64_t>(0, place - at);
  return std::min(n, behind / row_bytes + (behind % row_bytes != 0 ? 1 : 0));
}

}  // namespace

absl::StatusOr<Shard> ParseShard(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> sides =
      absl::StrSplit(text, absl::MaxSplits('/', 1));
  Shard shard;
  if (!absl::SimpleAtoi(sides.first, &shard.index) ||
      !absl::SimpleAtoi(sides.second, &shard.count) || shard.index < 1 ||
      shard.index > shard.count || shard.count > kMaxShards) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--shard '", text, "' is not K/N with 1 <= K <= N <= ", kMaxShards,
        ", such as 2/16"));
  }
  return shard;
}

std::vector<RowRange> ShardRows(absl::Span<const TensorMeta> sources,
                                const Shard& shard, bool whole_tensors) {
  int64_t total = 0;
  for (const TensorMeta& meta : sources) {
    total += meta.n_rows() * WeightOfRow(meta);
  }
  const auto place = [&](int64_t i) {
    return static_cast<int64_t>(absl::int128(total) * i / shard.count);
  };
  const int64_t begin = place(shard.index - 1);
  const int64_t end = place(shard.index);
  std::vector<RowRange> ranges;
  int64_t at = 0;
  for (size_t t = 0; t < sources.size(); ++t) {
    const int64_t n_rows = sources[t].n_rows();
    const int64_t row_bytes = WeightOfRow(sources[t]);
    int64_t first = FirstRowFrom(at, row_bytes, n_rows, begin);
    int64_t last = FirstRowFrom(at, row_bytes, n_rows, end);
    if (whole_tensors) {
      first = at >= begin && at < end ? 0 : n_rows;
      last = n_rows;
    }
    if (first < last) {
      ranges.push_back({t, first, last - first});
    }
    at += n_rows * row_bytes;
  }
  return ranges;
}

}  // namespace narrow
