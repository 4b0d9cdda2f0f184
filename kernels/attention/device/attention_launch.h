// Starts attention on a card.

#ifndef NARROW_KERNELS_ATTENTION_DEVICE_ATTENTION_LAUNCH_H_
#define NARROW_KERNELS_ATTENTION_DEVICE_ATTENTION_LAUNCH_H_

#include "absl/status/status.h"
#include "kernels/attention/device/attention_threads.h"

namespace narrow {
namespace attention_threads {

// In the stream, a cudaStream_t; Unimplemented in a build without CUDA.
// REQUIRES: head_dim <= kMaxHeadDim.
absl::Status Launch(const AttentionTask& task, void* stream);

}  // namespace attention_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_ATTENTION_DEVICE_ATTENTION_LAUNCH_H_
