// The passes of expert_threads.h on a device: on a card in the stream, on the
// CPU at once. Pointers in tasks are the device's.

#ifndef NARROW_KERNELS_EXPERTS_DEVICE_DEVICE_EXPERTS_H_
#define NARROW_KERNELS_EXPERTS_DEVICE_DEVICE_EXPERTS_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/experts/device/expert_threads.h"

namespace narrow {

absl::Status RunGather(const expert_threads::GatherTask& task,
                       DeviceStream* stream);
absl::Status RunCombine(const expert_threads::CombineTask& task,
                        DeviceStream* stream);

}  // namespace narrow

#endif  // NARROW_KERNELS_EXPERTS_DEVICE_DEVICE_EXPERTS_H_
