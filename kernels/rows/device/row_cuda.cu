// The passes of row_threads.h as kernels.

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/rows/device/row_launch.h"

namespace narrow {
namespace row_threads {
namespace {

template <class Task, int kPhase>
__device__ __forceinline__ void RunPhases(const Task& task, int64_t row,
                                          int thread, RowSums* sums) {
  if constexpr (kPhase < Task::kPhases) {
    task.template Run<kPhase>(row, thread, sums);
    __syncthreads();
    RunPhases<Task, kPhase + 1>(task, row, thread, sums);
  }
}

// A block a row.
template <class Task>
__global__ void __launch_bounds__(kRowThreads) RowKernel(const Task task) {
  __shared__ RowSums sums;
  RunPhases<Task, 0>(task, static_cast<int64_t>(blockIdx.x),
                     static_cast<int>(threadIdx.x), &sums);
}

// A thread an element.
template <class Task>
__global__ void __launch_bounds__(kRowThreads) EachKernel(const Task task) {
  const int64_t i =
      static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i < task.n()) {
    task.Run(i);
  }
}

template <class Task>
absl::Status LaunchRows(const Task& task, void* stream) {
  RowKernel<<<static_cast<unsigned>(task.n_rows), kRowThreads, 0,
              static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("RowKernel");
}

template <class Task>
absl::Status LaunchEach(const Task& task, void* stream) {
  const int64_t grid = (task.n() + kRowThreads - 1) / kRowThreads;
  EachKernel<<<static_cast<unsigned>(grid), kRowThreads, 0,
               static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("EachKernel");
}

}  // namespace

absl::Status Launch(const NormTask& task, void* stream) {
  return LaunchRows(task, stream);
}
absl::Status Launch(const LogProbTask& task, void* stream) {
  return LaunchRows(task, stream);
}
absl::Status Launch(const GateTask& task, void* stream) {
  return LaunchEach(task, stream);
}
absl::Status Launch(const RotateTask& task, void* stream) {
  return LaunchEach(task, stream);
}
absl::Status Launch(const MixTask& task, void* stream) {
  return LaunchEach(task, stream);
}

}  // namespace row_threads
}  // namespace narrow
