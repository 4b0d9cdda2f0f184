#include "formats/gguf/gguf_split.h"

#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_format.h"

namespace narrow {
namespace {

constexpr int kNumberDigits = 5;

// Takes a number of exactly five digits from the end of `text`.
bool ConsumeNumber(absl::string_view* text, int64_t* number) {
  if (text->size() < kNumberDigits) {
    return false;
  }
  const absl::string_view digits = text->substr(text->size() - kNumberDigits);
  for (const char c : digits) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      return false;
    }
  }
  text->remove_suffix(kNumberDigits);
  return absl::SimpleAtoi(digits, number);
}

absl::Status CheckOptions(const GgufSplitOptions& options) {
  if (options.max_tensors < 0 || options.max_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("negative split limit: ", options.max_tensors,
                     " tensors, ", options.max_bytes, " bytes"));
  }
  if (options.max_tensors > 0 && options.max_bytes > 0) {
    return absl::InvalidArgumentError(
        "a split is limited by tensors or by bytes, not by both");
  }
  return absl::OkStatus();
}

constexpr size_t kMaxShards = std::numeric_limits<uint16_t>::max();

absl::Status CheckNumber(size_t n_shards) {
  return n_shards <= kMaxShards
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat(
                   "the split limit gives ", n_shards, " shards, at most ",
                   kMaxShards, " are possible"));
}

absl::StatusOr<std::vector<GgufShard>> GivenShards(
    absl::Span<const int64_t> shard_tensors, size_t n_tensors) {
  std::vector<GgufShard> shards;
  size_t first = 0;
  for (const int64_t n : shard_tensors) {
    if (n < 0 || static_cast<uint64_t>(n) > n_tensors - first) {
      return absl::InvalidArgumentError(
          absl::StrCat("shard ", shards.size() + 1, " is to have ", n,
                       " tensors, ", n_tensors - first, " are left"));
    }
    shards.push_back({first, static_cast<size_t>(n)});
    first += static_cast<size_t>(n);
  }
  if (first != n_tensors) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the shards have ", first, " tensors, the model ", n_tensors));
  }
  RETURN_IF_ERROR(CheckNumber(shards.size()));
  return shards;
}

}  // namespace

absl::StatusOr<std::vector<GgufShard>> PlanGgufSplit(
    absl::Span<const TensorMeta> metas, int64_t alignment,
    const GgufSplitOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  if (!options.shard_tensors.empty()) {
    return GivenShards(options.shard_tensors, metas.size());
  }
  std::vector<GgufShard> shards;
  if (options.no_tensor_first_split) {
    shards.push_back({0, 0});
  }
  shards.push_back({0, 0});
  int64_t shard_bytes = 0;
  for (size_t i = 0; i < metas.size(); ++i) {
    const absl::StatusOr<int64_t> n_bytes =
        TensorBytes(metas[i].type, metas[i].shape);
    if (!n_bytes.ok()) {
      return Annotate(n_bytes.status(),
                      absl::StrCat("tensor ", QuotedName(metas[i].name)));
    }
    const int64_t padded = PadTo(*n_bytes, alignment);
    const bool full =
        (options.max_tensors > 0 &&
         static_cast<int64_t>(shards.back().n) >= options.max_tensors) ||
        (options.max_bytes > 0 && shards.back().n > 0 &&
         padded > options.max_bytes - shard_bytes);
    if (full) {
      shards.push_back({i, 0});
      shard_bytes = 0;
    }
    ++shards.back().n;
    shard_bytes += padded;
  }
  if (shards.back().n == 0 && shards.size() > 1) {
    shards.pop_back();  // no tensors at all
  }
  RETURN_IF_ERROR(CheckNumber(shards.size()));
  return shards;
}

Metadata GgufShardMetadata(const Metadata& whole, size_t index, size_t n_shards,
                           size_t n_tensors, GgufSplitStyle style) {
  Metadata metadata;
  if (index == 0) {
    metadata = whole;
    for (const char* key :
         {kGgufSplitNoKey, kGgufSplitCountKey, kGgufSplitTensorsKey}) {
      metadata.Erase(key);
    }
  } else if (const auto* alignment = whole.Find(kGgufAlignmentKey)) {
    // Every shard is padded alike, and must say so itself.
    metadata.Set(kGgufAlignmentKey, *alignment);
  }
  const bool count_last = style == GgufSplitStyle::kGgufSplit;
  if (n_shards == 1 && !count_last) {
    return metadata;
  }
  metadata.Set(kGgufSplitNoKey, static_cast<uint16_t>(index));
  if (!count_last) {
    metadata.Set(kGgufSplitCountKey, static_cast<uint16_t>(n_shards));
  }
  metadata.Set(kGgufSplitTensorsKey, static_cast<int32_t>(n_tensors));
  metadata.Set(kGgufSplitCountKey, static_cast<uint16_t>(n_shards));
  return metadata;
}

absl::StatusOr<int64_t> ParseSplitSize(absl::string_view text) {
  constexpr int64_t kMega = 1000 * 1000;
  constexpr int64_t kGiga = 1000 * kMega;
  absl::string_view digits = text;
  const int64_t unit = absl::ConsumeSuffix(&digits, "M")   ? kMega
                       : absl::ConsumeSuffix(&digits, "G") ? kGiga
                                                           : 0;
  int64_t n;
  if (unit == 0 || !absl::SimpleAtoi(digits, &n) || n <= 0 ||
      n > std::numeric_limits<int64_t>::max() / unit) {
    return absl::InvalidArgumentError(absl::StrCat(
        "split size '", text, "' is not a positive number with M or G"));
  }
  return n * unit;
}

std::string SplitGgufName(absl::string_view prefix, size_t index,
                          size_t n_shards) {
  return absl::StrFormat("%s-%05d-of-%05d.gguf", prefix, index + 1, n_shards);
}

std::optional<GgufSplitName> ParseSplitGgufName(absl::string_view path) {
  GgufSplitName name;
  if (!absl::ConsumeSuffix(&path, ".gguf") ||
      !ConsumeNumber(&path, &name.n_shards) ||
      !absl::ConsumeSuffix(&path, "-of-") ||
      !ConsumeNumber(&path, &name.index) || !absl::ConsumeSuffix(&path, "-") ||
      name.index < 1 || name.index > name.n_shards) {
    return std::nullopt;
  }
  name.index -= 1;
  name.prefix = std::string(path);
  return name;
}

}  // namespace narrow
