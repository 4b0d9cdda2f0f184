// Half-quadratic quantization on a device: hqq_threads.h.
//
//   hqq_threads::Task task = ...;              // pointers are the device's
//   RETURN_IF_ERROR(RunHqq(task, &stream));
//
// On a card in the stream, on the CPU's device at once, phase by phase.

#ifndef NARROW_KERNELS_HALF_QUADRATIC_DEVICE_DEVICE_HQQ_H_
#define NARROW_KERNELS_HALF_QUADRATIC_DEVICE_DEVICE_HQQ_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/half_quadratic/device/hqq_threads.h"

namespace narrow {

absl::Status RunHqq(const hqq_threads::Task& task, DeviceStream* stream);

}  // namespace narrow

#endif  // NARROW_KERNELS_HALF_QUADRATIC_DEVICE_DEVICE_HQQ_H_
