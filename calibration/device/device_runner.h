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
#include "calibration/device/device_context.h"
#include "calibration/model_runner.h"
#include "calibration/weights/block_tensors.h"

namespace narrow {

// For ModelRunner::Create. REQUIRES: options.device; the tensors are the
// model's, checked.
absl::StatusOr<std::unique_ptr<ModelRunner>> NewDeviceRunner(
    const Checkpoint* model, ModelTensors tensors,
    const RunnerOptions& options);

// One that shares its context, whose tensors these are, with others who take
// turns with it.
std::unique_ptr<ModelRunner> NewDeviceRunner(
    std::shared_ptr<const ModelTensors> tensors,
    std::shared_ptr<DeviceContext> context);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_DEVICE_RUNNER_H_
