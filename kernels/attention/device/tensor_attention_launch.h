// Starts attention on a card's tensor cores.

#ifndef NARROW_KERNELS_ATTENTION_DEVICE_TENSOR_ATTENTION_LAUNCH_H_
#define NARROW_KERNELS_ATTENTION_DEVICE_TENSOR_ATTENTION_LAUNCH_H_

#include "absl/status/status.h"
#include "kernels/attention/device/tensor_attention.h"

namespace narrow {
namespace tensor_attention {

// In the stream, a cudaStream_t; Unimplemented in a build without CUDA.
// REQUIRES: Fits(task).
absl::Status Launch(const Task& task, void* stream);

}  // namespace tensor_attention
}  // namespace narrow

#endif  // NARROW_KERNELS_ATTENTION_DEVICE_TENSOR_ATTENTION_LAUNCH_H_
