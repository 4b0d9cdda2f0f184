#include "calibration/weights/packed_weights.h"

#include <utility>

#include "calibration/weights/weights.h"
#include "formats/base/status.h"

namespace narrow {

int64_t PackedWeights::PanelCols(int64_t n_inputs) {
  constexpr int64_t kMaxPanelBytes = int64_t{4} << 20;
  int64_t cols = kPanelCols;
  while (cols > 64 &&
         cols * n_inputs * int64_t{sizeof(float)} > kMaxPanelBytes) {
    cols /= 2;
  }
  return cols;
}

absl::Status PackedWeights::PackPanel(const WeightRows& weight,
                                      int64_t first_row, const Matmul& matmul,
                                      int64_t panel, std::vector<float>* rows,
                                      PackedMatrix* matrix) const {
  const int64_t n_rows = matrix->panel_cols(panel);
  rows->resize(static_cast<size_t>(n_rows * weight.n_cols()));
  RETURN_IF_ERROR(ReadScaledRows(*model_, *weight.tensor,
                                 weight.first_row + first_row, n_rows,
                                 rows->data()));
  matmul.PackPanel(rows->data(), panel, matrix);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const PackedMatrix>> PackedWeights::Get(
    const WeightRows& weight, Matmul* matmul) {
  const Key key(weight.tensor, weight.first_row, matmul);
  const auto found = kept_.find(key);
  if (found != kept_.end()) {
    return found->second;
  }
  ASSIGN_OR_RETURN(PackedMatrix matrix,
                   matmul->NewMatrix(weight.n_rows, weight.n_cols(),
                                     PanelCols(weight.n_cols())));
  std::vector<absl::Status> results(static_cast<size_t>(matrix.n_panels()));
  pool_->ParallelFor(matrix.n_panels(), [&](int64_t panel) {
    static thread_local std::vector<float> rows;
    results[static_cast<size_t>(panel)] = PackPanel(
        weight, matrix.first_col(panel), *matmul, panel, &rows, &matrix);
  });
  for (const absl::Status& result : results) {
    RETURN_IF_ERROR(result);
  }
  model_->Release(*weight.tensor, weight.first_row, weight.n_rows);
  auto shared = std::make_shared<const PackedMatrix>(std::move(matrix));
  const int64_t n_bytes = static_cast<int64_t>(shared->n_bytes());
  if (n_bytes <= budget_) {
    budget_ -= n_bytes;
    kept_.emplace(key, shared);
  }
  return shared;
}

absl::StatusOr<std::shared_ptr<const PackedMatrix>> PackedWeights::GetIfKept(
    const WeightRows& weight, Matmul* matmul) {
  const Key key(weight.tensor, weight.first_row, matmul);
  const int64_t element_bytes = matmul->type() == ProductType::kBf16 ? 2 : 4;
  // oneDNN pads inputs to 16 or 32 and outputs to 64.
  const int64_t padded = (weight.n_rows + 63) / 64 * 64 *
                         ((weight.n_cols() + 31) / 32 * 32) * element_bytes;
  if (kept_.count(key) == 0 && padded > budget_) {
    return std::shared_ptr<const PackedMatrix>();
  }
  return Get(weight, matmul);
}

}  // namespace narrow
