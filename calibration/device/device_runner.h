// A ModelRunner on a device: hidden states stay there from block to block,
// weights come as they are needed (weight_stream.h), and of log-probabilities
// only the scores come back.
//
// With Precision::kFast, products are of bfloat16 with float32 sums, attention
// is in float32. Otherwise every number is that of the processor's
// reproducible runner, bit for bit: products are chains in float32
// (kernels/linalg/device), rows and attention those of kernels/rows and
// kernels/attention. Tested by: device_runner_test, over all families.

#ifndef NARROW_CALIBRATION_DEVICE_DEVICE_RUNNER_H_
#define NARROW_CALIBRATION_DEVICE_DEVICE_RUNNER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "calibration/block_tensors.h"
#include "calibration/model_runner.h"

namespace narrow {

// For ModelRunner::Create. REQUIRES: options.device; the tensors are the
// model's, checked.
absl::StatusOr<std::unique_ptr<ModelRunner>> NewDeviceRunner(
    const Checkpoint* model, ModelTensors tensors,
    const RunnerOptions& options);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_DEVICE_RUNNER_H_
