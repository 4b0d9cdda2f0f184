#include "calibration/backward/layers/decoded_weights.h"

#include <algorithm>
#include <cassert>

#include "calibration/weights/weights.h"
#include "formats/base/status.h"

namespace narrow {

absl::Status DecodedWeights::ReadRowsOf(const WeightRows& weight, int64_t first,
                                        int64_t n, float* out) {
  // Rows a task.
  constexpr int64_t kRows = 64;
  std::vector<absl::Status> results(
      static_cast<size_t>((n + kRows - 1) / kRows));
  pool_->ParallelFor(static_cast<int64_t>(results.size()), [&](int64_t task) {
    const int64_t at = task * kRows;
    results[static_cast<size_t>(task)] =
        ReadScaledRows(*model_, *weight.tensor, weight.first_row + first + at,
                       std::min(kRows, n - at), out + at * weight.n_cols());
  });
  for (const absl::Status& result : results) {
    RETURN_IF_ERROR(result);
  }
  model_->Release(*weight.tensor, weight.first_row + first, n);
  return absl::OkStatus();
}

absl::Status DecodedWeights::ReadRow(const WeightRows& weight, int64_t row,
                                     float* out) const {
  return ReadScaledRows(*model_, *weight.tensor, weight.first_row + row, 1,
                        out);
}

absl::StatusOr<std::shared_ptr<const DecodedMatrix>> DecodedWeights::Get(
    absl::Span<const WeightRows> parts) {
  const Key key(parts.front().tensor, parts.front().first_row);
  const auto found = kept_.find(key);
  if (found != kept_.end()) {
    return found->second;
  }
  auto matrix = std::make_shared<DecodedMatrix>();
  matrix->n_cols = parts.front().n_cols();
  for (const WeightRows& part : parts) {
    assert(part.n_cols() == matrix->n_cols);
    matrix->n_rows += part.n_rows;
  }
  matrix->values.resize(static_cast<size_t>(matrix->n_rows * matrix->n_cols));
  float* to = matrix->values.data();
  for (const WeightRows& part : parts) {
    RETURN_IF_ERROR(ReadRowsOf(part, 0, part.n_rows, to));
    to += part.n_rows * matrix->n_cols;
  }
  const int64_t n_bytes =
      static_cast<int64_t>(matrix->values.size() * sizeof(float));
  if (n_bytes <= budget_) {
    budget_ -= n_bytes;
    kept_.emplace(key, matrix);
  }
  return std::shared_ptr<const DecodedMatrix>(std::move(matrix));
}

absl::StatusOr<std::shared_ptr<const DecodedMatrix>> DecodedWeights::GetIfKept(
    const WeightRows& weight) {
  const int64_t n_bytes =
      weight.n_rows * weight.n_cols() * static_cast<int64_t>(sizeof(float));
  if (n_bytes > budget_ &&
      kept_.count({weight.tensor, weight.first_row}) == 0) {
    return std::shared_ptr<const DecodedMatrix>();
  }
  return Get({&weight, 1});
}

}  // namespace narrow
