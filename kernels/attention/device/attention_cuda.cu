// Attention as a kernel; what a thread does is in attention_threads.h.

#include <cuda_runtime_api.h>

#include "formats/base/status.h"
#include "kernels/attention/device/attention_launch.h"
#include "kernels/cuda_status.h"

namespace narrow {
namespace attention_threads {
namespace {

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads)
    AttentionKernel(const AttentionTask task) {
  extern __shared__ float memory[];
  auto* tiles = reinterpret_cast<Tiles<kHeadDim>*>(memory);
  const int thread = static_cast<int>(threadIdx.x);
  // Long rows of keys first.
  const Place place = {
      static_cast<int64_t>(blockIdx.z), static_cast<int64_t>(blockIdx.y),
      static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * kQueries};
  Sums<kHeadDim> sums;
  Begin(task, place, thread, tiles, &sums);
  const int64_t end = EndOfKeys(task, place);
  for (int64_t key = BeginOfKeys(task, place); key < end; key += kKeys) {
    Load(task, place, key, thread, tiles);
    __syncthreads();
    Score(task, place, key, thread, tiles);
    __syncthreads();
    Weigh(thread, tiles, &sums);
    __syncthreads();
    Sum(thread, *tiles, &sums);
    __syncthreads();
  }
  Store(task, place, thread, sums);
}

template <int kHeadDim>
absl::Status LaunchFor(const AttentionTask& task, void* stream) {
  constexpr int kBytes = static_cast<int>(sizeof(Tiles<kHeadDim>));
  RETURN_IF_ERROR(CudaStatus(
      cudaFuncSetAttribute(AttentionKernel<kHeadDim>,
                           cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
      "cudaFuncSetAttribute"));
  const dim3 grid(
      static_cast<unsigned>((task.n_tokens + kQueries - 1) / kQueries),
      static_cast<unsigned>(task.n_heads),
      static_cast<unsigned>(task.n_sequences));
  AttentionKernel<kHeadDim>
      <<<grid, kThreads, kBytes, static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("AttentionKernel");
}

}  // namespace

absl::Status Launch(const AttentionTask& task, void* stream) {
  if (task.head_dim <= 64) {
    return LaunchFor<64>(task, stream);
  }
  return task.head_dim <= 128 ? LaunchFor<128>(task, stream)
                              : LaunchFor<256>(task, stream);
}

}  // namespace attention_threads
}  // namespace narrow
