// The kernels of grids; what a thread does is in grid_tasks.h.

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/grid/device/grid_launch.h"

namespace narrow {
namespace grid_tasks {
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

template <class Task, GridRounding kRounding>
__global__ void __launch_bounds__(kThreads) RunRounding(const Task task) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < task.n()) {
    task.template Run<kRounding>(i);
  }
}

template <class Task, GridRounding kRounding>
void StartRounding(const Task& task, unsigned n_blocks, cudaStream_t stream) {
  RunRounding<Task, kRounding><<<n_blocks, kThreads, 0, stream>>>(task);
}

template <class Task>
absl::Status Start(const Task& task, void* stream, const char* name) {
  const unsigned n_blocks =
      static_cast<unsigned>((task.n() + kThreads - 1) / kThreads);
  const auto queue = static_cast<cudaStream_t>(stream);
  if constexpr (Task::kRounds) {
    switch (task.rules.rounding) {
      case GridRounding::kInteger:
        StartRounding<Task, GridRounding::kInteger>(task, n_blocks, queue);
        break;
      case GridRounding::kFloatZero:
        StartRounding<Task, GridRounding::kFloatZero>(task, n_blocks, queue);
        break;
      case GridRounding::kLevels:
        StartRounding<Task, GridRounding::kLevels>(task, n_blocks, queue);
        break;
      case GridRounding::kE4M3:
        StartRounding<Task, GridRounding::kE4M3>(task, n_blocks, queue);
        break;
    }
  } else {
    RunEach<<<n_blocks, kThreads, 0, queue>>>(task);
  }
  return LaunchStatus(name);
}

}  // namespace

#define NARROW_GRID_TASK(type)                          \
  absl::Status Launch(const type& task, void* stream) { \
    return Start(task, stream, #type);                  \
  }
#include "kernels/grid/device/tasks.inc"
#undef NARROW_GRID_TASK

}  // namespace grid_tasks
}  // namespace narrow
