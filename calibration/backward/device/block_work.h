// A block whose gradient is taken on a device.

#ifndef NARROW_CALIBRATION_BACKWARD_DEVICE_BLOCK_WORK_H_
#define NARROW_CALIBRATION_BACKWARD_DEVICE_BLOCK_WORK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "calibration/backward/gradient_observer.h"
#include "calibration/device/device_attention_layer.h"
#include "calibration/device/device_context.h"
#include "calibration/weights/block_tensors.h"
#include "kernels/linalg/device/device_chains.h"

namespace narrow {

struct BlockWork {
  int64_t block;
  const BlockTensors& tensors;
  absl::Span<const DeviceMatrix> matrices;  // DeviceContext::Matrix
  DeviceAttentionLayer::Rope rope;
  DeviceAttentionLayer::Rope transposed;  // by the opposite angles
  int64_t n_windows;
  int64_t window_tokens;
  int64_t first_window;  // for messages
  GradientObserver* observer;

  int64_t n_rows() const { return n_windows * window_tokens; }
};

// out = gradient times the matrix, added to it or not: from gradients at what
// a layer gave to those at what it was given. Rows of `gradient` are `stride`
// apart; parts of one layer follow each other in one chain.
inline absl::Status MultiplyGradient(DeviceContext* context, Update update,
                                     int64_t n_rows, const float* gradient,
                                     int64_t stride, const DeviceMatrix& matrix,
                                     float* out) {
  return RunChainProduct(
      chain::Gemm(update, n_rows, matrix.n_cols, matrix.n_rows, gradient,
                  stride, matrix.floats(), matrix.n_cols, out, matrix.n_cols),
      context->stream());
}

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_DEVICE_BLOCK_WORK_H_
