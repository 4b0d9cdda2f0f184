// Attention on a device: attention_threads.h on a card, in the stream, or on
// the CPU at once.

#ifndef NARROW_KERNELS_ATTENTION_DEVICE_DEVICE_ATTENTION_H_
#define NARROW_KERNELS_ATTENTION_DEVICE_DEVICE_ATTENTION_H_

#include "absl/status/status.h"
#include "kernels/attention/device/attention_threads.h"
#include "kernels/device.h"

namespace narrow {

// Unimplemented for heads of more than kMaxHeadDim.
absl::Status RunAttention(const attention_threads::AttentionTask& task,
                          DeviceStream* stream);

}  // namespace narrow

#endif  // NARROW_KERNELS_ATTENTION_DEVICE_DEVICE_ATTENTION_H_
