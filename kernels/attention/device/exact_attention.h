// The attention of exact_threads.h on a device: on a card in the stream, on
// the CPU at once. The bits are those of kernels/attention with reproducible
// products.

#ifndef NARROW_KERNELS_ATTENTION_DEVICE_EXACT_ATTENTION_H_
#define NARROW_KERNELS_ATTENTION_DEVICE_EXACT_ATTENTION_H_

#include "absl/status/status.h"
#include "kernels/attention/device/attention_threads.h"
#include "kernels/device.h"

namespace narrow {

// Unimplemented for heads above kMaxHeadDim numbers.
absl::Status RunExactAttention(const attention_threads::AttentionTask& task,
                               DeviceStream* stream);

namespace exact_attention {

// Starts it on a card, in a stream that is a cudaStream_t; Unimplemented in a
// build without CUDA. REQUIRES: head_dim <= kMaxHeadDim, something to do.
absl::Status Launch(const attention_threads::AttentionTask& task, void* stream);

}  // namespace exact_attention
}  // namespace narrow

#endif  // NARROW_KERNELS_ATTENTION_DEVICE_EXACT_ATTENTION_H_
