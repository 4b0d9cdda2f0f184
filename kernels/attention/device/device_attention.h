// Attention on a device: on a card in the stream, on the CPU at once.
//
// RunAttention is float32 throughout (attention_threads.h). RunTensorAttention
// takes bfloat16, as fast as tensor cores are (tensor_attention.h); its
// weights are rounded, so that results differ from the definition's by up to
// 2^-8 of the largest value.

#ifndef NARROW_KERNELS_ATTENTION_DEVICE_DEVICE_ATTENTION_H_
#define NARROW_KERNELS_ATTENTION_DEVICE_DEVICE_ATTENTION_H_

#include "absl/status/status.h"
#include "kernels/attention/device/attention_threads.h"
#include "kernels/attention/device/tensor_attention.h"
#include "kernels/device.h"

namespace narrow {

// Unimplemented for heads of more than kMaxHeadDim.
absl::Status RunAttention(const attention_threads::AttentionTask& task,
                          DeviceStream* stream);

// Unimplemented unless tensor_attention::Fits(task).
absl::Status RunTensorAttention(const tensor_attention::Task& task,
                                DeviceStream* stream);

}  // namespace narrow

#endif  // NARROW_KERNELS_ATTENTION_DEVICE_DEVICE_ATTENTION_H_
