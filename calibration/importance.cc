// The two formats, little-endian.
//
//   GGUF: general.type "imatrix"; imatrix.datasets (strings),
//     imatrix.chunk_count, imatrix.chunk_size (u32); for every layer NAME the
//     tensors NAME.in_sum2, f32 [n_matrices, n_cols], sums of squares, and
//     NAME.counts, f32 [n_matrices, 1].
//   Legacy, no magic: i32 n_entries; an entry is i32 length, name, i32 n_calls,
//     i32 n_values, f32 values (mean square times n_calls); then, optionally,
//     i32 chunks, i32 length, name of the text.
//
// Divisions are float32 by a float32 count, as llama-quantize does them, so
// that the quantizers see the same weights.
//
// Tested by: importance_test, on files that llama-imatrix wrote.

#include "calibration/importance.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_reader.h"
#include "formats/tensor.h"

namespace narrow {
namespace {

constexpr absl::string_view kSumSuffix = ".in_sum2";
constexpr absl::string_view kCountSuffix = ".counts";

absl::Status CheckValues(const std::string& name, const ImportanceEntry& entry,
                         absl::string_view path) {
  for (size_t i = 0; i < entry.mean_sq.size(); ++i) {
    const float value = entry.mean_sq[i];
    if (!std::isfinite(value) || value < 0) {
      return absl::DataLossError(absl::StrCat(
          "importance of '", name, "', value ", i, ", is ", value,
          "; a mean of squares is finite and not negative; reading ", path));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> FloatsOf(const TensorView& view) {
  if (view.meta.type != QuantType::kF32) {
    return absl::DataLossError(absl::StrCat(
        "tensor '", view.meta.name, "' is ", TypeName(view.meta.type),
        ", an importance matrix holds f32; reading ", view.origin.file));
  }
  std::vector<float> values(view.data.size() / sizeof(float));
  std::memcpy(values.data(), view.data.data(), view.data.size());
  return values;
}

absl::StatusOr<ImportanceEntry> EntryFromSums(const TensorView& sums_view,
                                              const TensorView& counts_view) {
  ImportanceEntry entry;
  ASSIGN_OR_RETURN(entry.mean_sq, FloatsOf(sums_view));
  ASSIGN_OR_RETURN(const std::vector<float> counts, FloatsOf(counts_view));
  if (counts.empty() || entry.mean_sq.size() % counts.size() != 0) {
    return absl::DataLossError(
        absl::StrCat("'", sums_view.meta.name, "' has ", entry.mean_sq.size(),
                     " sums, which ", counts.size(),
                     " counts do not divide; reading ", sums_view.origin.file));
  }
  const size_t n_cols = entry.mean_sq.size() / counts.size();
  for (size_t m = 0; m < counts.size(); ++m) {
    const float count =
        std::isfinite(counts[m]) ? std::nearbyint(counts[m]) : 0.0f;
    for (size_t i = m * n_cols; i < (m + 1) * n_cols; ++i) {
      entry.mean_sq[i] = count > 0 ? entry.mean_sq[i] / count : 1.0f;
    }
  }
  return entry;
}

absl::StatusOr<ImportanceMatrix> ReadGguf(absl::string_view path) {
  ASSIGN_OR_RETURN(const auto source, OpenGguf(path));
  ImportanceMatrix matrix;
  const Metadata& metadata = source->metadata();
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
  if (const auto* datasets = std::get_if<std::vector<std::string>>(
          metadata.Find("imatrix.datasets"))) {
    matrix.datasets = *datasets;
  }
  matrix.n_chunks = metadata.GetInteger("imatrix.chunk_count").value_or(0);
  for (const TensorView& sums : source->tensors()) {
    absl::string_view name = sums.meta.name;
    if (!absl::ConsumeSuffix(&name, kSumSuffix)) {
      continue;
    }
    const TensorView* counts = source->Find(absl::StrCat(name, kCountSuffix));
    if (counts == nullptr) {
      return absl::DataLossError(absl::StrCat("'", sums.meta.name, "' has no '",
                                              name, kCountSuffix,
                                              "' beside it; reading ", path));
    }
    ASSIGN_OR_RETURN(matrix.entries[std::string(name)],
                     EntryFromSums(sums, *counts));
  }
  return matrix;
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
  bool TakeFloats(int32_t n, std::vector<float>* values) {
    if (n < 1 ||
        static_cast<size_t>(n) > (bytes_.size() - offset_) / sizeof(float)) {
      return false;
    }
    values->resize(static_cast<size_t>(n));
    return Take(values->data(), values->size() * sizeof(float));
  }

 private:
  absl::Span<const uint8_t> bytes_;
  size_t offset_ = 0;
};

absl::StatusOr<ImportanceMatrix> ReadLegacy(absl::Span<const uint8_t> bytes,
                                            absl::string_view path) {
  LegacyCursor cursor(bytes);
  ImportanceMatrix matrix;
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
    ImportanceEntry entry;
    if (!cursor.TakeString(&name) || !cursor.TakeInt(&n_calls) ||
        !cursor.TakeInt(&n_values) ||
        !cursor.TakeFloats(n_values, &entry.mean_sq)) {
      return absl::DataLossError(absl::StrCat(
          "entry ", i + 1, " of ", n_entries,
          " is cut off or malformed; at "
          "offset ",
          cursor.offset(), " of ", bytes.size(), "; reading ", path));
    }
    if (n_calls > 0) {
      for (float& value : entry.mean_sq) {
        value /= static_cast<float>(n_calls);
      }
    }
    matrix.entries[name] = std::move(entry);
  }
  int32_t n_chunks = 0;
  std::string dataset;
  if (!cursor.done() && cursor.TakeInt(&n_chunks)) {
    matrix.n_chunks = n_chunks;
    if (cursor.TakeString(&dataset) && !dataset.empty()) {
      matrix.datasets.push_back(dataset);
    }
  }
  return matrix;
}

}  // namespace

const ImportanceEntry* ImportanceMatrix::Find(absl::string_view name) const {
  const auto it = entries.find(std::string(name));
  return it == entries.end() ? nullptr : &it->second;
}

absl::StatusOr<ImportanceMatrix> ReadImportance(absl::string_view path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  const absl::Span<const uint8_t> bytes = file->bytes();
  const bool is_gguf =
      bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  ASSIGN_OR_RETURN(ImportanceMatrix matrix,
                   is_gguf ? ReadGguf(path) : ReadLegacy(bytes, path));
  if (matrix.entries.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("importance matrix without entries; reading ", path));
  }
  for (const auto& [name, entry] : matrix.entries) {
    RETURN_IF_ERROR(CheckValues(name, entry, path));
  }
  matrix.path = std::string(path);
  return matrix;
}

}  // namespace narrow
