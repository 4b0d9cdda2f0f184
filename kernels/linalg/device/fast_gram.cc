#include "kernels/linalg/device/fast_gram.h"

#include <algorithm>
#include <cassert>

#include "formats/base/status.h"

namespace narrow {

using chain::GramTask;

namespace {

// Lines begin at multiples of sixteen bytes, as tensor cores want them.
constexpr int64_t kAlign = 8;

int64_t Padded(int64_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

absl::Status Grow(const Device& device, int64_t n_bytes, DeviceBuffer* buffer) {
  if (static_cast<int64_t>(buffer->n_bytes()) < n_bytes) {
    *buffer = DeviceBuffer();
    ASSIGN_OR_RETURN(*buffer, device.Allocate(static_cast<size_t>(n_bytes),
                                              "rows of a Gram matrix"));
  }
  return absl::OkStatus();
}

bool IsSame(const GramTask& task) {
  return task.left == task.right && task.left_stride == task.right_stride &&
         task.m == task.n;
}

tile::RoundTask Rounded(const float* rows, int64_t stride, const float* weights,
                        int64_t n_rows, int64_t n_cols, uint16_t* out) {
  return {rows, stride, weights, n_rows, n_cols, out, Padded(n_cols)};
}

}  // namespace

absl::Status FastGrams::AddBlock(const GramTask& task, int64_t first,
                                 int64_t n_rows, DeviceStream* stream) {
  const float* const weights =
      task.weights == nullptr ? nullptr : task.weights + first;
  const tile::RoundTask left =
      Rounded(task.left + first * task.left_stride, task.left_stride, weights,
              n_rows, task.m, left_.as<uint16_t>());
  tile::RoundTask right = left;
  RETURN_IF_ERROR(products_->Round(left, stream));
  if (!IsSame(task)) {
    right = Rounded(task.right + first * task.right_stride, task.right_stride,
                    weights, n_rows, task.n, right_.as<uint16_t>());
    RETURN_IF_ERROR(products_->Round(right, stream));
  }
  for (int64_t col = 0; col < task.n; col += kPanelCols) {
    const int64_t width = std::min(kPanelCols, task.n - col);
    const int64_t height = task.upper ? std::min(task.m, col + width) : task.m;
    tile::Product product = {};
    product.left = {left.out, 1, left.out_stride};
    product.right = {right.out + col, 1, right.out_stride};
    product.n_rows = height;
    product.n_cols = width;
    product.depth = n_rows;
    product.out = panel_.as<float>();
    product.out_row = width;
    RETURN_IF_ERROR(products_->Multiply(product, stream));
    RETURN_IF_ERROR(
        products_->AddPanel({panel_.as<float>(), height, width, task.sums + col,
                             task.sums_stride, task.upper ? col : task.m},
                            stream));
  }
  return absl::OkStatus();
}

absl::Status FastGrams::Reserve(const GramTask& task) {
  if (task.m <= 0 || task.n <= 0) {
    return absl::OkStatus();
  }
  const int64_t most = std::min(kBlockRows, task.n_rows);
  RETURN_IF_ERROR(Grow(device_, 2 * most * Padded(task.m), &left_));
  if (!IsSame(task)) {
    RETURN_IF_ERROR(Grow(device_, 2 * most * Padded(task.n), &right_));
  }
  return Grow(device_, 4 * task.m * std::min(kPanelCols, task.n), &panel_);
}

absl::Status FastGrams::Add(const GramTask& task, DeviceStream* stream) {
  assert(task.n_batch == 1 && task.offsets == nullptr);
  if (task.m <= 0 || task.n <= 0) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Reserve(task));
  for (int64_t row = 0; row < task.n_rows; row += kBlockRows) {
    RETURN_IF_ERROR(
        AddBlock(task, row, std::min(kBlockRows, task.n_rows - row), stream));
  }
  return absl::OkStatus();
}

}  // namespace narrow
