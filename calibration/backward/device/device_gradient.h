// A ModelGradient on a device: activations are computed again there, block by
// block, weights come as they are needed (calibration/device/weight_stream.h)
// and stay as far as memory allows. Hidden states and gradients go up and come
// back once a block and group.
//
// Every number is the processor's, bit for bit, but for the sign of a 0:
// products are the same chains (kernels/linalg/device), passes over rows have
// the same operations (kernels/rows/device, kernels/gradients/device). Tested
// by: device_gradient_test, over all families.

#ifndef NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_GRADIENT_H_
#define NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_GRADIENT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "calibration/backward/model_gradient.h"
#include "calibration/weights/block_tensors.h"

namespace narrow {

// For ModelGradient::Create. REQUIRES: options.device, n_windows and
// window_tokens; the tensors are the model's, checked. ResourceExhausted: not
// even one window has room.
absl::StatusOr<std::unique_ptr<ModelGradient>> NewDeviceGradient(
    const Checkpoint* model, ModelTensors tensors,
    const GradientOptions& options);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_GRADIENT_H_
