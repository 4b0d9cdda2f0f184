// The attention of exact_threads.h as a kernel.

#include <cuda_runtime_api.h>

#include "kernels/attention/device/exact_attention.h"
#include "kernels/attention/device/exact_threads.h"
#include "kernels/cuda_status.h"

namespace narrow {
namespace exact_attention {
namespace {

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads)
    ExactAttentionKernel(const AttentionTask task) {
  __shared__ Tiles<kHeadDim> tiles;
  Sums<kHeadDim> sums;
  const int thread = static_cast<int>(threadIdx.x);
  const Place place = {static_cast<int64_t>(blockIdx.z),
                       static_cast<int64_t>(blockIdx.y),
                       static_cast<int64_t>(blockIdx.x) * kQueries};
  const int64_t first_block = FirstBlock(task, place);
  const int64_t end_block = EndBlock(task, place);
  Begin(task, place, thread, &tiles, &sums);
  __syncthreads();
  for (int64_t key = first_block * kBlockKeys; key < end_block * kBlockKeys;
       key += kTileKeys) {
    Load(task, place, task.k, key, thread, &tiles);
    __syncthreads();
    Raise(task, place, key, thread, &tiles);
    __syncthreads();
  }
  for (int64_t block = first_block; block < end_block; ++block) {
    const int64_t key = block * kBlockKeys;
    for (int col = 0; col < kBlockKeys; col += kTileKeys) {
      Load(task, place, task.k, key + col, thread, &tiles);
      __syncthreads();
      Score(task, col, thread, &tiles);
      __syncthreads();
    }
    Weigh(task, place, block, thread, &tiles);
    __syncthreads();
    Add(thread, &tiles);
    for (int col = 0; col < kBlockKeys; col += kTileKeys) {
      Load(task, place, task.v, key + col, thread, &tiles);
      __syncthreads();
      Sum(col, thread, tiles, &sums);
      __syncthreads();
    }
  }
  Store(task, place, thread, tiles, sums);
}

template <int kHeadDim>
absl::Status LaunchFor(const AttentionTask& task, void* stream) {
  static_assert(sizeof(Tiles<kHeadDim>) <= 48 << 10,
                "what a block may share without being asked");
  const dim3 grid(
      static_cast<unsigned>((task.n_tokens + kQueries - 1) / kQueries),
      static_cast<unsigned>(task.n_heads),
      static_cast<unsigned>(task.n_sequences));
  ExactAttentionKernel<kHeadDim>
      <<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("ExactAttentionKernel");
}

}  // namespace

absl::Status Launch(const AttentionTask& task, void* stream) {
  if (task.head_dim <= 64) {
    return LaunchFor<64>(task, stream);
  }
  return task.head_dim <= 128 ? LaunchFor<128>(task, stream)
                              : LaunchFor<256>(task, stream);
}

}  // namespace exact_attention
}  // namespace narrow
