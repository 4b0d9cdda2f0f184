#include "calibration/weights/weights.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// Rounds to `type` and back, in place; other types leave the values alone.
void RoundThrough(QuantType type, int64_t n, float* values) {
  if (type == QuantType::kBF16) {
    for (int64_t i = 0; i < n; ++i) {
      values[i] = FloatFromBf16(Bf16FromFloat(values[i]));
    }
  } else if (type == QuantType::kF16) {
    for (int64_t i = 0; i < n; ++i) {
      values[i] = FloatFromF16(F16FromFloat(values[i]));
    }
  }
}

}  // namespace

absl::Status ReadRows(const Checkpoint& model, const CheckpointTensor& tensor,
                      int64_t first_row, int64_t n_rows, float* out) {
  const BlockCodec* codec = FindCodec(tensor.stored);
  if (codec == nullptr) {
    return absl::UnimplementedError(absl::StrCat(
        "tensor '", tensor.meta.name, "' is stored as ",
        TypeName(tensor.stored), ", which cannot be decoded; at offset ",
        tensor.origin.offset, "; reading ", tensor.origin.file));
  }
  const int64_t n_cols = tensor.meta.n_cols();
  const int64_t n_blocks = n_cols / codec->block;
  const bool has_bytes = model.HasBytes(tensor);
  if (!has_bytes) {
    RETURN_IF_ERROR(model.DecodeRows(tensor, first_row, n_rows, out));
  }
  for (int64_t r = 0; r < n_rows; ++r) {
    float* row = out + r * n_cols;
    if (has_bytes) {
      codec->Decode(model.RowBytes(tensor, first_row + r).data(), n_blocks,
                    row);
    }
    if (tensor.offset != 0) {
      for (int64_t i = 0; i < n_cols; ++i) {
        row[i] += tensor.offset;
      }
    }
    if (tensor.meta.type != tensor.stored) {
      RoundThrough(tensor.meta.type, n_cols, row);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadScaledRows(const Checkpoint& model,
                            const CheckpointTensor& tensor, int64_t first_row,
                            int64_t n_rows, float* out) {
  const absl::Status status = ReadRows(model, tensor, first_row, n_rows, out);
  if (!status.ok() || tensor.scales.empty()) {
    return status;
  }
  const int64_t n_cols = tensor.meta.n_cols();
  const int64_t rows_per_matrix =
      tensor.meta.n_rows() / static_cast<int64_t>(tensor.scales.size());
  for (int64_t r = 0; r < n_rows; ++r) {
    const float scale =
        tensor.scales[static_cast<size_t>((first_row + r) / rows_per_matrix)];
    for (int64_t i = 0; i < n_cols; ++i) {
      out[r * n_cols + i] *= scale;
    }
  }
  return absl::OkStatus();
}

absl::Status CheckFinite(const Checkpoint& model,
                         const CheckpointTensor& tensor) {
  std::vector<float> row(static_cast<size_t>(tensor.meta.n_cols()));
  for (int64_t r = 0; r < tensor.meta.n_rows(); ++r) {
    RETURN_IF_ERROR(ReadRows(model, tensor, r, 1, row.data()));
    for (size_t c = 0; c < row.size(); ++c) {
      if (!std::isfinite(row[c])) {
        return absl::DataLossError(absl::StrCat(
            "tensor ", QuotedName(tensor.meta.name), ": weight is ", row[c],
            " at row ", r, ", column ", c, "; reading ", tensor.origin.file));
      }
    }
  }
  return absl::OkStatus();
}

bool HasPlainBf16(const Checkpoint& model, const CheckpointTensor& tensor) {
  return tensor.stored == QuantType::kBF16 && tensor.offset == 0 &&
         tensor.meta.type != QuantType::kF16 && model.HasBytes(tensor);
}

void CopyBf16Rows(const Checkpoint& model, const CheckpointTensor& tensor,
                  int64_t first_row, int64_t n_rows, uint16_t* out) {
  const int64_t n_cols = tensor.meta.n_cols();
  for (int64_t r = 0; r < n_rows; ++r) {
    std::memcpy(out + r * n_cols, model.RowBytes(tensor, first_row + r).data(),
                static_cast<size_t>(n_cols) * sizeof(uint16_t));
  }
}

}  // namespace narrow
