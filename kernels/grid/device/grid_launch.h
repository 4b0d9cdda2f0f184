// Starts the tasks of grid_tasks.h on a card, in a stream that is a
// cudaStream_t. In a build without CUDA they are Unimplemented.

#ifndef NARROW_KERNELS_GRID_DEVICE_GRID_LAUNCH_H_
#define NARROW_KERNELS_GRID_DEVICE_GRID_LAUNCH_H_

#include "absl/status/status.h"
#include "kernels/grid/device/grid_tasks.h"

namespace narrow {
namespace grid_tasks {

#define NARROW_GRID_TASK(type) \
  absl::Status Launch(const type& task, void* stream);
#include "kernels/grid/device/tasks.inc"
#undef NARROW_GRID_TASK

}  // namespace grid_tasks
}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_DEVICE_GRID_LAUNCH_H_
