// The kernels of passes over rows (row_threads.h), for .cu files alone.

#ifndef NARROW_KERNELS_ROWS_DEVICE_ROW_KERNELS_H_
#define NARROW_KERNELS_ROWS_DEVICE_ROW_KERNELS_H_

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/rows/device/row_threads.h"

namespace narrow {
namespace row_threads {

template <class Task, int kPhase>
__device__ __forceinline__ void RunPhases(const Task& task, int64_t row,
                                          int64_t step, int lane,
                                          LaneSums* sums) {
  if constexpr (kPhase < Task::kPhases) {
    if (row < task.n_rows) {
      task.template Run<kPhase>(row, step, lane, sums);
    }
    __syncthreads();
    RunPhases<Task, kPhase + 1>(task, row, step, lane, sums);
  }
}

// kLanes threads a row.
template <class Task>
__global__ void __launch_bounds__(kRowThreads) LaneKernel(const Task task) {
  __shared__ LaneSums sums[kRowsOfBlock];
  const int place = static_cast<int>(threadIdx.x) / kLanes;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsOfBlock + place;
  const int64_t n_steps = task.n_steps();
  for (int64_t step = 0; step < n_steps; ++step) {
    RunPhases<Task, 0>(task, row, step, static_cast<int>(threadIdx.x) % kLanes,
                       &sums[place]);
  }
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
absl::Status LaunchLanes(const Task& task, void* stream) {
  const int64_t grid = (task.n_rows + kRowsOfBlock - 1) / kRowsOfBlock;
  LaneKernel<<<static_cast<unsigned>(grid), kRowThreads, 0,
               static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("LaneKernel");
}

template <class Task>
absl::Status LaunchEach(const Task& task, void* stream) {
  const int64_t grid = (task.n() + kRowThreads - 1) / kRowThreads;
  EachKernel<<<static_cast<unsigned>(grid), kRowThreads, 0,
               static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("EachKernel");
}

}  // namespace row_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_ROWS_DEVICE_ROW_KERNELS_H_
