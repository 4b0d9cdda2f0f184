// The passes of expert_threads.h as kernels.

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/experts/device/expert_launch.h"

namespace narrow {
namespace expert_threads {
namespace {

constexpr int kThreads = 256;

template <class Task>
__global__ void __launch_bounds__(kThreads) ExpertKernel(const Task task) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < task.n_numbers()) {
    task.Run(i);
  }
}

template <class Task>
absl::Status LaunchEach(const Task& task, void* stream) {
  const int64_t grid = (task.n_numbers() + kThreads - 1) / kThreads;
  ExpertKernel<<<static_cast<unsigned>(grid), kThreads, 0,
                 static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("ExpertKernel");
}

}  // namespace

absl::Status Launch(const GatherTask& task, void* stream) {
  return LaunchEach(task, stream);
}

absl::Status Launch(const CombineTask& task, void* stream) {
  return LaunchEach(task, stream);
}

}  // namespace expert_threads
}  // namespace narrow
