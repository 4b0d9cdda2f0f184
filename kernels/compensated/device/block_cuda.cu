// The kernels of blocks; what a thread does is in block_tasks.h.

#include <cuda_runtime_api.h>

#include "kernels/compensated/device/block_launch.h"
#include "kernels/cuda_status.h"

namespace narrow {
namespace block_tasks {
namespace {

// Rows are few and their threads long: small blocks reach all
// multiprocessors.
constexpr int kThreads = 64;

template <class Task>
__global__ void __launch_bounds__(kThreads) RunEach(const Task task) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < task.n()) {
    task.Run(i);
  }
}

template <class Task>
absl::Status Start(const Task& task, void* stream, const char* name) {
  const unsigned n_blocks =
      static_cast<unsigned>((task.n() + kThreads - 1) / kThreads);
  RunEach<<<n_blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus(name);
}

}  // namespace

#define NARROW_BLOCK_TASK(type)                         \
  absl::Status Launch(const type& task, void* stream) { \
    return Start(task, stream, #type);                  \
  }
#include "kernels/compensated/device/tasks.inc"
#undef NARROW_BLOCK_TASK

}  // namespace block_tasks
}  // namespace narrow
