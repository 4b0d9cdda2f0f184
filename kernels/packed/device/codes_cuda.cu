// Codes of packed matrices to weights: a thread a weight.

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/packed/device/device_codes.h"

namespace narrow {
namespace {

constexpr int kCodeThreads = 256;

__global__ void __launch_bounds__(kCodeThreads)
    DecodeCodes(const CodesTask task) {
  const int64_t i =
      static_cast<int64_t>(blockIdx.x) * kCodeThreads + threadIdx.x;
  if (i < task.n_rows * task.n_cols) {
    DecodeCode(task, i);
  }
}

}  // namespace

absl::Status LaunchCodes(const CodesTask& task, void* stream) {
  const int64_t n = task.n_rows * task.n_cols;
  const int64_t grid = (n + kCodeThreads - 1) / kCodeThreads;
  DecodeCodes<<<static_cast<unsigned>(grid), kCodeThreads, 0,
                static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("DecodeCodes");
}

}  // namespace narrow
