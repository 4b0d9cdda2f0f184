// Starts the tasks of block_tasks.h on a card, in a stream that is a
// cudaStream_t. In a build without CUDA they are Unimplemented.

#ifndef NARROW_KERNELS_COMPENSATED_DEVICE_BLOCK_LAUNCH_H_
#define NARROW_KERNELS_COMPENSATED_DEVICE_BLOCK_LAUNCH_H_

#include "absl/status/status.h"
#include "kernels/compensated/device/block_tasks.h"

namespace narrow {
namespace block_tasks {

#define NARROW_BLOCK_TASK(type) \
  absl::Status Launch(const type& task, void* stream);
#include "kernels/compensated/device/tasks.inc"
#undef NARROW_BLOCK_TASK

}  // namespace block_tasks
}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_DEVICE_BLOCK_LAUNCH_H_
