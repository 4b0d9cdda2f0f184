#include "formats/packing/integers/column_groups.h"

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/packing/plane.h"

namespace narrow {

absl::Status SupportsColumnGroups(const WeightScheme& scheme, int64_t n_cols,
                                  const char* format) {
  const auto unsupported = [&](absl::string_view why) {
    return absl::UnimplementedError(
        absl::StrCat(format, " cannot hold ", SchemeName(scheme), ": ", why));
  };
  if (scheme.code != CodeKind::kInteger) {
    return unsupported("its codes are integers");
  }
  if (scheme.zero == ZeroKind::kFloat) {
    return unsupported("its zero points are integers");
  }
  if (scheme.flat || scheme.block_rows != 1) {
    return unsupported("its scales belong to groups of one row's columns");
  }
  if (scheme.scale_type != QuantType::kF16 || scheme.global_scale ||
      scheme.nested_scales || scheme.scale_unit != 1) {
    return unsupported("its scales are plain f16");
  }
  if (scheme.activations != ActivationKind::kNone) {
    return unsupported("it says nothing of activations");
  }
  if (scheme.block_cols > 0 && n_cols % scheme.block_cols != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(n_cols, " columns are no whole groups of ",
                     scheme.block_cols, ", which ", format, " asks for"));
  }
  return absl::OkStatus();
}

std::vector<uint8_t> ZeroCodes(const QuantizedMatrix& matrix) {
  if (matrix.zeros.empty()) {
    return std::vector<uint8_t>(
        matrix.scales.size(),
        static_cast<uint8_t>(matrix.scheme.n_codes() / 2));
  }
  std::vector<uint8_t> codes;
  codes.reserve(matrix.zeros.size());
  for (const float zero : matrix.zeros) {
    codes.push_back(static_cast<uint8_t>(zero));
  }
  return Transposed(codes, matrix.n_rows, matrix.n_scale_cols());
}

absl::Status ReadGroupScales(const TensorView& plane, int64_t first_row,
                             QuantizedMatrix* matrix) {
  const int64_t n_groups = plane.meta.shape[0];
  const int64_t n_out = plane.meta.shape[1];
  std::vector<float> row(static_cast<size_t>(matrix->n_rows));
  for (int64_t g = 0; g < n_groups; ++g) {
    RETURN_IF_ERROR(ReadScales(plane, plane.meta.type, g * n_out + first_row,
                               matrix->n_rows, row.data()));
    for (int64_t r = 0; r < matrix->n_rows; ++r) {
      matrix->scales[static_cast<size_t>(r * n_groups + g)] =
          row[static_cast<size_t>(r)];
    }
  }
  return absl::OkStatus();
}

int64_t MatchGroupSize(const std::vector<int64_t>& candidates, int64_t n_cols,
                       int64_t n_groups) {
  for (const int64_t size : candidates) {
    if (size <= 0 ? n_groups == 1
                  : n_groups == n_cols / size + (n_cols % size != 0)) {
      return size <= 0 ? 0 : size;
    }
  }
  return -1;
}

}  // namespace narrow
