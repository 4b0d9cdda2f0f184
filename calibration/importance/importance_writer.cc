// Writing of both formats; their layout is at the head of
// importance_reader.cc. Numbers become float32 here, the last step.
//
// Tested by: importance_sums_test.

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/importance/importance_sums.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_writer.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {
namespace {

absl::Span<const uint8_t> BytesOf(const std::vector<float>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()),
          values.size() * sizeof(float)};
}

// InvalidArgument if a value is beyond float32.
absl::StatusOr<std::vector<float>> Floats(const std::string& name,
                                          const std::vector<double>& values) {
  std::vector<float> floats;
  floats.reserve(values.size());
  for (const double value : values) {
    floats.push_back(static_cast<float>(value));
    if (!std::isfinite(floats.back())) {
      return absl::InvalidArgumentError(absl::StrCat(
          "importance of ", QuotedName(name), ", value ", floats.size() - 1,
          ", is ", value, ", which is beyond the file's float32"));
    }
  }
  return floats;
}

absl::Status CheckCanWrite(const ImportanceCollection& collection) {
  assert(collection.chunk_size > 0);
  if (collection.entries.empty()) {
    return absl::InvalidArgumentError(
        "there is no importance of any tensor to write");
  }
  return absl::OkStatus();
}

struct GgufTensor {
  TensorMeta meta;
  std::vector<float> values;
};

absl::StatusOr<std::vector<GgufTensor>> GgufTensors(
    const ImportanceCollection& collection) {
  std::vector<GgufTensor> tensors;
  const auto add = [&](const std::string& name, int64_t n_rows, int64_t n_cols,
                       std::vector<float> values) {
    tensors.push_back(
        {{name, QuantType::kF32, {n_rows, n_cols}}, std::move(values)});
  };
  for (const auto& [name, sums] : collection.entries) {
    ASSIGN_OR_RETURN(std::vector<float> squares, Floats(name, sums.sum_sq));
    add(name + ".in_sum2", sums.n_matrices, sums.n_cols, std::move(squares));
    add(name + ".counts", sums.n_matrices, 1,
        std::vector<float>(sums.counts.begin(), sums.counts.end()));
    if (!sums.sum.empty()) {
      ASSIGN_OR_RETURN(std::vector<float> plain, Floats(name, sums.sum));
      add(name + ".in_sum", sums.n_matrices, sums.n_cols, std::move(plain));
    }
  }
  return tensors;
}

void AppendInt(int64_t value, std::string* out) {
  const int32_t bits = static_cast<int32_t>(value);
  out->append(reinterpret_cast<const char*>(&bits), sizeof(bits));
}

void AppendString(const std::string& text, std::string* out) {
  AppendInt(static_cast<int64_t>(text.size()), out);
  out->append(text);
}

// One entry of the legacy format. Arithmetic in float32, as the readers undo
// it.
absl::Status AppendEntry(const std::string& name, const ImportanceSums& sums,
                         int64_t chunk_size, std::string* out) {
  const int64_t most =
      *std::max_element(sums.counts.begin(), sums.counts.end());
  // Rounded up: 0 calls would be no divisor.
  const int64_t n_calls = (most + chunk_size - 1) / chunk_size;
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (n_calls > kMost || sums.n_matrices * sums.n_cols > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("importance of ", QuotedName(name), ": ", n_calls,
                     " chunks and ", sums.n_matrices * sums.n_cols,
                     " values do not fit the legacy format; write GGUF"));
  }
  ASSIGN_OR_RETURN(std::vector<float> values, Floats(name, sums.sum_sq));
  for (int64_t m = 0; m < sums.n_matrices; ++m) {
    const float count = static_cast<float>(sums.counts[m]);
    for (int64_t i = m * sums.n_cols; i < (m + 1) * sums.n_cols; ++i) {
      const float mean = count > 0 ? values[i] / count : 1.0f;
      values[i] = mean * static_cast<float>(n_calls);
    }
  }
  AppendString(name, out);
  AppendInt(n_calls, out);
  AppendInt(static_cast<int64_t>(values.size()), out);
  out->append(reinterpret_cast<const char*>(values.data()),
              values.size() * sizeof(float));
  return absl::OkStatus();
}

bool HasData(const ImportanceSums& sums) {
  return std::any_of(sums.counts.begin(), sums.counts.end(),
                     [](int64_t count) { return count > 0; });
}

}  // namespace

absl::Status WriteImportanceGguf(const ImportanceCollection& collection,
                                 absl::string_view path) {
  RETURN_IF_ERROR(CheckCanWrite(collection));
  ASSIGN_OR_RETURN(const std::vector<GgufTensor> tensors,
                   GgufTensors(collection));
  Metadata metadata;
  metadata.Set("general.type", std::string("imatrix"));
  metadata.Set("imatrix.datasets", collection.datasets);
  metadata.Set("imatrix.chunk_count",
               static_cast<uint32_t>(collection.n_chunks));
  metadata.Set("imatrix.chunk_size",
               static_cast<uint32_t>(collection.chunk_size));
  std::vector<TensorMeta> metas;
  for (const GgufTensor& tensor : tensors) {
    metas.push_back(tensor.meta);
  }
  const std::unique_ptr<TensorSink> sink = NewGgufWriter(path);
  RETURN_IF_ERROR(sink->Begin(metas, metadata));
  for (const GgufTensor& tensor : tensors) {
    RETURN_IF_ERROR(sink->Append(BytesOf(tensor.values)));
  }
  return sink->Finish();
}

absl::Status WriteImportanceDat(const ImportanceCollection& collection,
                                absl::string_view path) {
  RETURN_IF_ERROR(CheckCanWrite(collection));
  std::string bytes;
  int64_t n_entries = 0;
  for (const auto& [name, sums] : collection.entries) {
    n_entries += HasData(sums) ? 1 : 0;
  }
  if (n_entries == 0) {
    return absl::InvalidArgumentError(
        "no tensor has data, and the legacy format leaves such out");
  }
  AppendInt(n_entries, &bytes);
  for (const auto& [name, sums] : collection.entries) {
    if (HasData(sums)) {
      RETURN_IF_ERROR(AppendEntry(name, sums, collection.chunk_size, &bytes));
    }
  }
  AppendInt(collection.n_chunks, &bytes);
  AppendString(
      collection.datasets.empty() ? std::string() : collection.datasets.back(),
      &bytes);
  return WriteTextFile(path, bytes);
}

}  // namespace narrow
