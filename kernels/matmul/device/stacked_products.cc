#include "kernels/matmul/device/stacked_products.h"

#include <algorithm>

#include "formats/base/status.h"
#include "kernels/matmul/device/stack_threads.h"

namespace narrow {

using tile::kStacked;
using tile::StackTask;

namespace {

// Lines begin at multiples of sixteen bytes, as tensor cores want them.
constexpr int64_t kAlign = 8;
// The least that is worth a product.
constexpr int64_t kLeastDepth = 64;
// Small products first: they would be lost beside the large one.
constexpr uint32_t kLeftParts = 1;        // 1, 0, 0
constexpr uint32_t kRightParts = 1 << 2;  // 0, 1, 0

int64_t Padded(int64_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

int64_t StackBytes(int64_t depth, int64_t n, int64_t n_batch) {
  return static_cast<int64_t>(sizeof(uint16_t)) * n_batch * kStacked * depth *
         Padded(n);
}

StackTask TaskOf(const float* values, int64_t stride, int64_t step,
                 int64_t depth, int64_t n, int64_t n_batch, uint32_t parts,
                 uint16_t* out) {
  return {values, stride, step, depth, n, n_batch, parts, out, Padded(n)};
}

absl::Status Grow(const Device& device, int64_t n_bytes, DeviceBuffer* buffer) {
  if (static_cast<int64_t>(buffer->n_bytes()) < n_bytes) {
    *buffer = DeviceBuffer();
    ASSIGN_OR_RETURN(*buffer, device.Allocate(static_cast<size_t>(n_bytes),
                                              "parts of an operand"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status StackedProducts::AddPiece(const StackedProduct& p,
                                       DeviceStream* stream) {
  RETURN_IF_ERROR(
      Grow(device_, StackBytes(p.depth, p.n_rows, p.n_batch), &left_));
  RETURN_IF_ERROR(
      Grow(device_, StackBytes(p.depth, p.n_cols, p.n_batch), &right_));
  const StackTask left =
      TaskOf(p.left, p.left_stride, p.left_step, p.depth, p.n_rows, p.n_batch,
             kLeftParts, left_.as<uint16_t>());
  const StackTask right =
      TaskOf(p.right, p.right_stride, p.right_step, p.depth, p.n_cols,
             p.n_batch, kRightParts, right_.as<uint16_t>());
  RETURN_IF_ERROR(products_->Stack(left, stream));
  RETURN_IF_ERROR(products_->Stack(right, stream));
  tile::Product product = {};
  product.left = {left.out, 1, left.out_stride};
  product.right = {right.out, 1, right.out_stride};
  product.n_rows = p.n_rows;
  product.n_cols = p.n_cols;
  product.depth = kStacked * p.depth;
  product.out = p.out;
  product.out_row = p.out_row;
  product.accumulate = true;
  product.n_batch = p.n_batch;
  product.left_step = product.depth * left.out_stride;
  product.right_step = product.depth * right.out_stride;
  product.out_step = p.out_step;
  return products_->Multiply(product, stream);
}

absl::Status StackedProducts::Add(const StackedProduct& product,
                                  DeviceStream* stream, int64_t budget) {
  if (product.n_rows <= 0 || product.n_cols <= 0 || product.n_batch <= 0) {
    return absl::OkStatus();
  }
  const int64_t of_line = StackBytes(1, product.n_rows, product.n_batch) +
                          StackBytes(1, product.n_cols, product.n_batch);
  const int64_t most = std::max(kLeastDepth, budget / of_line);
  for (int64_t k = 0; k < product.depth; k += most) {
    StackedProduct piece = product;
    piece.left += k * product.left_stride;
    piece.right += k * product.right_stride;
    piece.depth = std::min(most, product.depth - k);
    RETURN_IF_ERROR(AddPiece(piece, stream));
  }
  return absl::OkStatus();
}

}  // namespace narrow
