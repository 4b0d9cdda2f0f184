// The two formats, little-endian.
//
//   GGUF: general.type "imatrix"; imatrix.datasets (strings),
//     imatrix.chunk_count, imatrix.chunk_size (u32); for every layer NAME the
//     tensors NAME.in_sum2, f32 [n_matrices, n_cols], sums of squares,
//     NAME.counts, f32 [n_matrices, 1], and in newer files NAME.in_sum, sums
//     of the values themselves, as in_sum2. Others (NAME.stats) follow from
//     these and are passed over.
//   Legacy, no magic: i32 n_entries; an entry is i32 length, name, i32 n_calls,
//     i32 n_values, f32 values (mean square times n_calls); then, optionally,
//     i32 chunks, i32 length, name of the text.
//
// Tested by: importance_sums_test and importance_test, on files that
// llama-imatrix wrote and damaged copies of them.

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "calibration/importance/importance_sums.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_reader.h"
#include "formats/tensor.h"

namespace narrow {
namespace {

constexpr absl::string_view kSquaresSuffix = ".in_sum2";
constexpr absl::string_view kSumSuffix = ".in_sum";
constexpr absl::string_view kCountSuffix = ".counts";

// Above any count that a sum in double could have been made of.
constexpr float kMaxCount = 4503599627370496.0f;  // 2^52

absl::Status CheckValues(const std::string& name, const ImportanceSums& entry,
                         absl::string_view path) {
  for (size_t i = 0; i < entry.sum_sq.size(); ++i) {
    if (!std::isfinite(entry.sum_sq[i]) || entry.sum_sq[i] < 0) {
      return absl::DataLossError(absl::StrCat(
          "importance of ", QuotedName(name), ", value ", i, ", is ",
          entry.sum_sq[i],
          "; a sum of squares is finite and not negative; reading ", path));
    }
  }
  for (size_t i = 0; i < entry.sum.size(); ++i) {
    if (!std::isfinite(entry.sum[i])) {
      return absl::DataLossError(
          absl::StrCat("importance of ", QuotedName(name), ", sum ", i, ", is ",
                       entry.sum[i], "; reading ", path));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> NumbersOf(const TensorView& view) {
  if (view.meta.type != QuantType::kF32) {
    return absl::DataLossError(absl::StrCat(
        "tensor ", QuotedName(view.meta.name), " is ", TypeName(view.meta.type),
        ", an importance matrix holds f32; reading ", view.origin.file));
  }
  std::vector<float> values(view.data.size() / sizeof(float));
  if (!values.empty()) {  // a tensor of no elements has no address either
    std::memcpy(values.data(), view.data.data(), view.data.size());
  }
  return std::vector<double>(values.begin(), values.end());
}

absl::StatusOr<std::vector<int64_t>> CountsOf(const TensorView& view) {
  ASSIGN_OR_RETURN(const std::vector<double> numbers, NumbersOf(view));
  std::vector<int64_t> counts;
  for (const double number : numbers) {
    if (!(number >= 0 && number <= kMaxCount)) {
      return absl::DataLossError(absl::StrCat(
          QuotedName(view.meta.name), ", value ", counts.size(), ", is ",
          number, ", which is no count; reading ", view.origin.file));
    }
    counts.push_back(std::llround(number));
  }
  return counts;
}

absl::StatusOr<ImportanceSums> EntryFromTensors(const TensorView& squares,
                                                const TensorView& counts,
                                                const TensorView* sums) {
  ImportanceSums entry;
  ASSIGN_OR_RETURN(entry.sum_sq, NumbersOf(squares));
  ASSIGN_OR_RETURN(entry.counts, CountsOf(counts));
  if (entry.counts.empty() || entry.sum_sq.empty() ||
      entry.sum_sq.size() % entry.counts.size() != 0) {
    return absl::DataLossError(
        absl::StrCat(QuotedName(squares.meta.name), " has ",
                     entry.sum_sq.size(), " sums, which ", entry.counts.size(),
                     " counts do not divide; reading ", squares.origin.file));
  }
  entry.n_matrices = static_cast<int64_t>(entry.counts.size());
  entry.n_cols = static_cast<int64_t>(entry.sum_sq.size()) / entry.n_matrices;
  if (sums != nullptr) {
    ASSIGN_OR_RETURN(entry.sum, NumbersOf(*sums));
    if (entry.sum.size() != entry.sum_sq.size()) {
      return absl::DataLossError(
          absl::StrCat(QuotedName(sums->meta.name), " has ", entry.sum.size(),
                       " values, ", QuotedName(squares.meta.name), " has ",
                       entry.sum_sq.size(), "; reading ", squares.origin.file));
    }
  }
  return entry;
}

absl::Status CheckIsImportance(const Metadata& metadata,
                               absl::string_view path) {
  for (const char* key :
       {"imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"}) {
    if (!metadata.Has(key)) {
      return absl::InvalidArgumentError(
          absl::StrCat("key '", key,
                       "' is missing: this GGUF file is not an importance "
                       "matrix; reading ",
                       path));
    }
  }
  return absl::OkStatus();
}

// A tensor that is there without the one that gives it meaning.
absl::Status CheckNotAlone(const TensorSource& source, const TensorView& view,
                           absl::string_view path) {
  for (const absl::string_view suffix :
       {kSquaresSuffix, kSumSuffix, kCountSuffix}) {
    absl::string_view name = view.meta.name;
    if (!absl::ConsumeSuffix(&name, suffix)) {
      continue;
    }
    for (const absl::string_view wanted : {kSquaresSuffix, kCountSuffix}) {
      if (source.Find(absl::StrCat(name, wanted)) == nullptr) {
        return absl::DataLossError(
            absl::StrCat(QuotedName(view.meta.name), " has no ",
                         QuotedName(absl::StrCat(name, wanted)),
                         " beside it; reading ", path));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ImportanceCollection> ReadGguf(absl::string_view path) {
  ASSIGN_OR_RETURN(const auto source, OpenGguf(path));
  ImportanceCollection collection;
  const Metadata& metadata = source->metadata();
  RETURN_IF_ERROR(CheckIsImportance(metadata, path));
  if (const auto* datasets = std::get_if<std::vector<std::string>>(
          metadata.Find("imatrix.datasets"))) {
    collection.datasets = *datasets;
  }
  collection.n_chunks = metadata.GetInteger("imatrix.chunk_count").value_or(0);
  collection.chunk_size = metadata.GetInteger("imatrix.chunk_size").value_or(0);
  if (collection.n_chunks < 0 || collection.chunk_size < 1 ||
      collection.chunk_size > std::numeric_limits<int32_t>::max()) {
    return absl::DataLossError(absl::StrCat(collection.n_chunks, " chunks of ",
                                            collection.chunk_size,
                                            " rows are none; reading ", path));
  }
  for (const TensorView& squares : source->tensors()) {
    RETURN_IF_ERROR(CheckNotAlone(*source, squares, path));
    absl::string_view name = squares.meta.name;
    if (absl::ConsumeSuffix(&name, kSquaresSuffix)) {
      ASSIGN_OR_RETURN(
          collection.entries[std::string(name)],
          EntryFromTensors(squares,
                           *source->Find(absl::StrCat(name, kCountSuffix)),
                           source->Find(absl::StrCat(name, kSumSuffix))));
    }
  }
  return collection;
}

// Takes little-endian values off the front of a legacy file.
class LegacyCursor {
 public:
  explicit LegacyCursor(absl::Span<const uint8_t> bytes) : bytes_(bytes) {}

  size_t offset() const { return offset_; }
  bool done() const { return offset_ == bytes_.size(); }

  bool Take(void* out, size_t n) {
    if (n > bytes_.size() - offset_) {
      return false;
    }
    std::memcpy(out, bytes_.data() + offset_, n);
    offset_ += n;
    return true;
  }
  bool TakeInt(int32_t* value) { return Take(value, sizeof(*value)); }
  // A length and so many bytes; no more than the file has is allocated.
  bool TakeString(std::string* text) {
    int32_t length = 0;
    if (!TakeInt(&length) || length < 0 ||
        static_cast<size_t>(length) > bytes_.size() - offset_) {
      return false;
    }
    text->resize(static_cast<size_t>(length));
    return Take(&(*text)[0], text->size());
  }
  bool TakeFloats(int32_t n, std::vector<double>* values) {
    if (n < 1 ||
        static_cast<size_t>(n) > (bytes_.size() - offset_) / sizeof(float)) {
      return false;
    }
    std::vector<float> floats(static_cast<size_t>(n));
    const bool taken = Take(floats.data(), floats.size() * sizeof(float));
    values->assign(floats.begin(), floats.end());
    return taken;
  }

 private:
  absl::Span<const uint8_t> bytes_;
  size_t offset_ = 0;
};

absl::StatusOr<ImportanceCollection> ReadLegacy(absl::Span<const uint8_t> bytes,
                                                absl::string_view path) {
  LegacyCursor cursor(bytes);
  ImportanceCollection collection;
  int32_t n_entries = 0;
  if (!cursor.TakeInt(&n_entries) || n_entries < 1) {
    return absl::DataLossError(absl::StrCat(
        "neither a GGUF file nor a legacy importance matrix: ", n_entries,
        " entries; reading ", path));
  }
  for (int32_t i = 0; i < n_entries; ++i) {
    std::string name;
    int32_t n_calls = 0;
    int32_t n_values = 0;
    ImportanceSums entry;
    if (!cursor.TakeString(&name) || !cursor.TakeInt(&n_calls) ||
        !cursor.TakeInt(&n_values) ||
        !cursor.TakeFloats(n_values, &entry.sum_sq)) {
      return absl::DataLossError(
          absl::StrCat("entry ", i + 1, " of ", n_entries,
                       " is cut off or malformed; at offset ", cursor.offset(),
                       " of ", bytes.size(), "; reading ", path));
    }
    entry.n_matrices = 1;
    entry.n_cols = n_values;
    // Without a number of calls, values are means as they are.
    entry.counts = {n_calls > 0 ? n_calls : 1};
    collection.entries[name] = std::move(entry);
  }
  int32_t n_chunks = 0;
  std::string dataset;
  if (!cursor.done() && cursor.TakeInt(&n_chunks)) {
    collection.n_chunks = n_chunks;
    if (cursor.TakeString(&dataset) && !dataset.empty()) {
      collection.datasets.push_back(dataset);
    }
  }
  return collection;
}

}  // namespace

absl::StatusOr<ImportanceCollection> ReadImportanceSums(
    absl::string_view path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  const absl::Span<const uint8_t> bytes = file->bytes();
  const bool is_gguf =
      bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  ASSIGN_OR_RETURN(ImportanceCollection collection,
                   is_gguf ? ReadGguf(path) : ReadLegacy(bytes, path));
  if (collection.entries.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("importance matrix without entries; reading ", path));
  }
  for (const auto& [name, entry] : collection.entries) {
    RETURN_IF_ERROR(CheckValues(name, entry, path));
  }
  collection.path = std::string(path);
  return collection;
}

}  // namespace narrow
