// Decoded weights to those that a model means, on a device: on a card in the
// stream, on the CPU at once.

#ifndef NARROW_KERNELS_QUANT_DEVICE_DEVICE_FINISH_H_
#define NARROW_KERNELS_QUANT_DEVICE_DEVICE_FINISH_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/quant/device/finish_threads.h"

namespace narrow {

// See finish_threads.h.
absl::Status RunFinish(const FinishTask& task, DeviceStream* stream);

// Starts it on a card, in a cudaStream_t; Unimplemented in a build without
// CUDA. REQUIRES: there are weights.
absl::Status LaunchFinish(const FinishTask& task, void* stream);

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_DEVICE_DEVICE_FINISH_H_
