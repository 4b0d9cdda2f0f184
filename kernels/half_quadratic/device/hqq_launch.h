// Starts the kernel of hqq_threads.h on a card, in a stream that is a
// cudaStream_t. In a build without CUDA it is Unimplemented.

#ifndef NARROW_KERNELS_HALF_QUADRATIC_DEVICE_HQQ_LAUNCH_H_
#define NARROW_KERNELS_HALF_QUADRATIC_DEVICE_HQQ_LAUNCH_H_

#include "absl/status/status.h"
#include "kernels/half_quadratic/device/hqq_threads.h"

namespace narrow {
namespace hqq_threads {

absl::Status Launch(const Task& task, void* stream);

}  // namespace hqq_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_HALF_QUADRATIC_DEVICE_HQQ_LAUNCH_H_
