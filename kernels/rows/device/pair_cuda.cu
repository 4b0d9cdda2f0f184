// The passes of pair_threads.h as kernels: a block a row.

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/rows/device/device_pairs.h"

namespace narrow {
namespace pair_threads {
namespace {

template <int kPhase>
__device__ __forceinline__ void RunPhases(const PairTask& task, int64_t row,
                                          int thread, PairSums* sums) {
  if constexpr (kPhase < PairTask::kPhases) {
    task.Run<kPhase>(row, thread, sums);
    __syncthreads();
    RunPhases<kPhase + 1>(task, row, thread, sums);
  }
}

__global__ void __launch_bounds__(kPairThreads)
    PairKernel(const PairTask task) {
  // Not an object of the type, whose members begin with values.
  __shared__ __align__(16) unsigned char memory[sizeof(PairSums)];
  RunPhases<0>(task, static_cast<int64_t>(blockIdx.x),
               static_cast<int>(threadIdx.x),
               reinterpret_cast<PairSums*>(memory));
}

__global__ void BeginKernel(int64_t n_rows, PairScore* scores) {
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * kPairThreads + threadIdx.x;
  if (row < n_rows) {
    scores[row] = PairScore();
  }
}

}  // namespace

absl::Status LaunchBegin(int64_t n_rows, PairScore* scores, void* stream) {
  const int64_t grid = (n_rows + kPairThreads - 1) / kPairThreads;
  BeginKernel<<<static_cast<unsigned>(grid), kPairThreads, 0,
                static_cast<cudaStream_t>(stream)>>>(n_rows, scores);
  return LaunchStatus("BeginKernel");
}

absl::Status Launch(const PairTask& task, void* stream) {
  PairKernel<<<static_cast<unsigned>(task.n_rows), kPairThreads, 0,
               static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("PairKernel");
}

}  // namespace pair_threads
}  // namespace narrow
