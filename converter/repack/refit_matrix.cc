#include "converter/repack/refit_matrix.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Rows whose weights are compared at once.
constexpr int64_t kCompareRows = 64;

bool IsPlainFloat(QuantType type) {
  return type == QuantType::kF16 || type == QuantType::kBF16 ||
         type == QuantType::kF32;
}

// In all lists, what changes least comes first.
std::vector<QuantType> ScaleTypes(const WeightScheme& scheme) {
  std::vector<QuantType> types = {scheme.scale_type};
  if (IsPlainFloat(scheme.scale_type) && !scheme.nested_scales) {
    types.insert(types.end(),
                 {QuantType::kF16, QuantType::kBF16, QuantType::kF32});
  }
  return types;
}

std::vector<ZeroKind> ZeroKinds(const WeightScheme& scheme) {
  std::vector<ZeroKind> kinds = {scheme.zero};
  if (scheme.code == CodeKind::kInteger) {
    if (scheme.zero != ZeroKind::kInteger) {
      kinds.push_back(ZeroKind::kInteger);
    }
    if (scheme.zero != ZeroKind::kFloat) {
      kinds.push_back(ZeroKind::kFloat);
    }
  }
  return kinds;
}

// Other words for the same blocks.
std::vector<WeightScheme> SameBlocks(const WeightScheme& scheme,
                                     int64_t n_cols) {
  std::vector<WeightScheme> all = {scheme};
  const auto add = [&all, &scheme](int64_t cols, bool flat) {
    all.push_back(scheme);
    all.back().block_rows = 1;
    all.back().block_cols = cols;
    all.back().flat = flat;
  };
  const int64_t cols = scheme.block_cols;
  if (scheme.flat && cols > 0 && n_cols % cols == 0) {
    add(cols, false);
  }
  if (scheme.flat || scheme.block_rows == 1) {
    if (cols == n_cols) {
      add(0, false);
    }
    if (cols == 0 && !scheme.flat) {
      add(n_cols, false);
    }
    if (cols > 1 && !scheme.flat && n_cols % cols == 0) {
      add(cols, true);
    }
  }
  return all;
}

absl::Status CheckSameWeights(const QuantizedMatrix& a,
                              const QuantizedMatrix& b) {
  std::vector<float> x(static_cast<size_t>(kCompareRows * a.n_cols));
  std::vector<float> y(x.size());
  for (int64_t row = 0; row < a.n_rows; row += kCompareRows) {
    const int64_t n = std::min(kCompareRows, a.n_rows - row);
    DequantizeRows(a, row, n, x.data());
    DequantizeRows(b, row, n, y.data());
    for (int64_t i = 0; i < n * a.n_cols; ++i) {
      if (x[static_cast<size_t>(i)] != y[static_cast<size_t>(i)]) {
        return absl::InvalidArgumentError(
            absl::StrCat("the weight ", x[static_cast<size_t>(i)], " at [",
                         row + i / a.n_cols, ", ", i % a.n_cols,
                         "] would become ", y[static_cast<size_t>(i)]));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WeightScheme> RefitScheme(const WeightScheme& scheme,
                                         int64_t n_rows, int64_t n_cols,
                                         const Packing& to) {
  absl::Status why;
  for (const WeightScheme& blocks : SameBlocks(scheme, n_cols)) {
    for (const ZeroKind zero : ZeroKinds(scheme)) {
      for (const QuantType type : ScaleTypes(scheme)) {
        WeightScheme candidate = blocks;
        candidate.zero = zero;
        candidate.scale_type = type;
        const absl::Status status = to.supports(candidate, n_rows, n_cols);
        if (status.ok()) {
          return candidate;
        }
        why.Update(status);  // keeps the first
      }
    }
  }
  return why;
}

absl::StatusOr<QuantizedMatrix> RefitMatrix(QuantizedMatrix matrix,
                                            const WeightScheme& scheme) {
  if (scheme == matrix.scheme) {
    return matrix;
  }
  QuantizedMatrix same = matrix;
  same.scheme = scheme;
  if (scheme.zero != ZeroKind::kNone && matrix.zeros.empty()) {
    same.zeros.assign(matrix.scales.size(),
                      static_cast<float>(scheme.n_codes() / 2));
  }
  RETURN_IF_ERROR(CheckQuantizedMatrix(same));
  RETURN_IF_ERROR(CheckSameWeights(matrix, same));
  return same;
}

}  // namespace narrow
