// Codes of packed matrices to weights on a device: on a card in the stream,
// on the CPU at once.

#ifndef NARROW_KERNELS_PACKED_DEVICE_DEVICE_CODES_H_
#define NARROW_KERNELS_PACKED_DEVICE_DEVICE_CODES_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/packed/device/codes_threads.h"

namespace narrow {

// See codes_threads.h.
absl::Status RunCodes(const CodesTask& task, DeviceStream* stream);

// Starts it on a card, in a cudaStream_t; Unimplemented in a build without
// CUDA. REQUIRES: there are codes.
absl::Status LaunchCodes(const CodesTask& task, void* stream);

}  // namespace narrow

#endif  // NARROW_KERNELS_PACKED_DEVICE_DEVICE_CODES_H_
