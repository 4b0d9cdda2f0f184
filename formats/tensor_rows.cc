#include "formats/tensor_rows.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"

namespace narrow {

absl::Status ReadTensorRows(const TensorView& view, int64_t first_row,
                            int64_t n_rows, float* out) {
  if (view.rows != nullptr) {
    return view.rows->ReadRows(first_row, n_rows, out);
  }
  const int64_t first = first_row * view.meta.n_cols();
  const int64_t n = n_rows * view.meta.n_cols();
  const uint8_t* bytes = view.data.data();
  if (view.meta.type == QuantType::kF32) {
    if (n > 0) {
      std::memcpy(out, bytes + first * 4, static_cast<size_t>(n) * 4);
    }
    return absl::OkStatus();
  }
  const bool is_f16 = view.meta.type == QuantType::kF16;
  if (!is_f16 && view.meta.type != QuantType::kBF16) {
    return absl::UnimplementedError(absl::StrCat(
        "tensor ", QuotedName(view.meta.name), " is ", TypeName(view.meta.type),
        ", and only f32, f16 and bf16 are read; at offset ", view.origin.offset,
        "; reading ", view.origin.file));
  }
  for (int64_t i = 0; i < n; ++i) {
    uint16_t half;
    std::memcpy(&half, bytes + (first + i) * 2, sizeof(half));
    out[i] = is_f16 ? FloatFromF16(half) : FloatFromBf16(half);
  }
  return absl::OkStatus();
}

}  // namespace narrow
