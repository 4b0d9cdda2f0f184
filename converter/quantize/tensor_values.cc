#include "converter/quantize/tensor_values.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "absl/strings/str_cat.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

// Rows that a thread takes at a time have about so many values.
constexpr int64_t kPieceValues = int64_t{1} << 16;

template <typename Decode>
void DecodeHalves(const uint8_t* bytes, int64_t n, Decode decode, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    uint16_t half;
    std::memcpy(&half, bytes + 2 * i, sizeof(half));
    out[i] = decode(half);
  }
}

absl::Status CheckFinite(const TensorView& view, int64_t first_row,
                         const float* values, int64_t n) {
  if (RowKernelsForCpu().all_finite(values, n)) {
    return absl::OkStatus();
  }
  const int64_t n_cols = view.meta.n_cols();
  const float* bad = std::find_if(
      values, values + n, [](float value) { return !std::isfinite(value); });
  const int64_t at = bad - values;
  return absl::DataLossError(
      absl::StrCat("tensor '", view.meta.name, "': weight is ", *bad,
                   " at row ", first_row + at / n_cols, ", column ",
                   at % n_cols, "; reading ", view.origin.file));
}

absl::Status ReadPiece(const TensorView& view, int64_t first_row,
                       int64_t n_rows, float* out) {
  const int64_t n_cols = view.meta.n_cols();
  const int64_t n = n_rows * n_cols;
  if (view.rows != nullptr) {
    RETURN_IF_ERROR(view.rows->ReadRows(first_row, n_rows, out));
    return CheckFinite(view, first_row, out, n);
  }
  const uint8_t* bytes = view.data.data() + first_row * view.meta.row_bytes();
  switch (view.meta.type) {
    case QuantType::kF32:
      std::memcpy(out, bytes, static_cast<size_t>(n) * sizeof(float));
      break;
    case QuantType::kF16:
      DecodeHalves(bytes, n, FloatFromF16, out);
      break;
    case QuantType::kBF16:
      DecodeHalves(bytes, n, FloatFromBf16, out);
      break;
    default:
      return absl::UnimplementedError(absl::StrCat(
          "tensor '", view.meta.name, "' is ", TypeName(view.meta.type),
          ", not f32, f16 or bf16; ", "reading ", view.origin.file));
  }
  return CheckFinite(view, first_row, out, n);
}

}  // namespace

absl::Status ReadValues(const TensorView& view, int64_t first_row,
                        int64_t n_rows, ThreadPool* pool, float* out) {
  const int64_t n_cols = view.meta.n_cols();
  const int64_t step =
      std::max<int64_t>(1, kPieceValues / std::max<int64_t>(1, n_cols));
  const int64_t n_pieces = (n_rows + step - 1) / step;
  std::vector<absl::Status> status(static_cast<size_t>(n_pieces));
  const auto read = [&](int64_t i) {
    const int64_t first = i * step;
    status[static_cast<size_t>(i)] =
        ReadPiece(view, first_row + first, std::min(step, n_rows - first),
                  out + first * n_cols);
  };
  if (pool != nullptr) {
    pool->ParallelFor(n_pieces, read);
  } else {
    for (int64_t i = 0; i < n_pieces; ++i) {
      read(i);
    }
  }
  for (const absl::Status& piece : status) {
    RETURN_IF_ERROR(piece);
  }
  return absl::OkStatus();
}

absl::Status AppendValues(absl::Span<const float> values, QuantType type,
                          absl::string_view name, std::vector<uint8_t>* bytes) {
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half = 0;
    float stored = values[i];
    if (type == QuantType::kF16) {
      half = F16FromFloat(values[i]);
      stored = FloatFromF16(half);
    } else if (type == QuantType::kBF16) {
      half = Bf16FromFloat(values[i]);
      stored = FloatFromBf16(half);
    }
    if (!std::isfinite(stored)) {
      return absl::DataLossError(
          absl::StrCat("tensor '", name, "': value ", values[i], " at ", i,
                       " is not finite as ", TypeName(type)));
    }
    const uint8_t* from = type == QuantType::kF32
                              ? reinterpret_cast<const uint8_t*>(&stored)
                              : reinterpret_cast<const uint8_t*>(&half);
    bytes->insert(bytes->end(), from, from + (type == QuantType::kF32 ? 4 : 2));
  }
  return absl::OkStatus();
}

}  // namespace narrow
