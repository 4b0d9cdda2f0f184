// Decoded weights to those that a model means: a thread a weight.

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/quant/device/finish_threads.h"
// (Before any header of lanes.)
#include "kernels/quant/device/device_finish.h"

namespace narrow {
namespace {

constexpr int kFinishThreads = 256;

__global__ void __launch_bounds__(kFinishThreads)
    FinishWeights(const FinishTask task) {
  const int64_t i =
      static_cast<int64_t>(blockIdx.x) * kFinishThreads + threadIdx.x;
  if (i < task.n_weights) {
    FinishWeight(task, i);
  }
}

}  // namespace

absl::Status LaunchFinish(const FinishTask& task, void* stream) {
  const int64_t grid = (task.n_weights + kFinishThreads - 1) / kFinishThreads;
  FinishWeights<<<static_cast<unsigned>(grid), kFinishThreads, 0,
                  static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("FinishWeights");
}

}  // namespace narrow
