// The kernels of chains; what a thread does is in chain_threads.h and
// gram_threads.h.

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/linalg/device/chain_launch.h"
#include "kernels/linalg/device/gram_threads.h"

namespace narrow {
namespace chain {
namespace {

__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;\n" ::);
}
// Until at most one group of copies is under way.
__device__ __forceinline__ void WaitForAllButOne() {
  asm volatile("cp.async.wait_group 1;\n" ::);
}

// Steps of a tile: stripes of the next one travel while these are added.
template <typename T, typename TileWork, typename AddStep>
__device__ __forceinline__ void RunSteps(const TileWork& tile,
                                         Stripes<T>* stripes, int thread,
                                         const AddStep& add) {
  const int64_t n_steps = tile.n_steps();
  if (n_steps > 0) {
    tile.Fetch(0, thread, &stripes[0]);
  }
  CommitCopies();
#pragma unroll 1
  for (int64_t step = 0; step < n_steps; ++step) {
    if (step + 1 < n_steps) {
      tile.Fetch(step + 1, thread, &stripes[(step + 1) % 2]);
    }
    CommitCopies();
    WaitForAllButOne();
    __syncthreads();
    add(step, stripes[step % 2]);
    __syncthreads();
  }
}

template <typename T, bool kNegate>
__global__ void __launch_bounds__(Tile<T>::kThreads, Shape<T>::kBlocks)
    ChainProduct(const Product<T> product) {
  __shared__ Stripes<T> stripes[2];
  const int thread = static_cast<int>(threadIdx.x);
  const ProductTile<T> tile(product, blockIdx.y,
                            PlaceOf<T>(product.m, product.n, blockIdx.x));
  Sums<T> sums;
  tile.Begin(thread, &sums);
  RunSteps<T>(tile, stripes, thread, [&](int64_t step, const Stripes<T>& now) {
    tile.template Add<kNegate>(step, now, thread, &sums);
  });
  tile.End(thread, sums);
}

__global__ void __launch_bounds__(Tile<float>::kThreads)
    ChainGram(const GramTask task) {
  __shared__ Stripes<float> stripes[2];
  const int thread = static_cast<int>(threadIdx.x);
  const GramTile tile(task, blockIdx.y,
                      PlaceOf<float>(task.m, task.n, blockIdx.x));
  if (!tile.IsWanted()) {
    return;
  }
  Sums<float> chain;
  WideSums wide;
  tile.Begin(thread, &wide);
  RunSteps<float>(tile, stripes, thread,
                  [&](int64_t step, const Stripes<float>& now) {
                    tile.Add(step, now, thread, &chain, &wide);
                  });
  tile.End(thread, wide);
}

template <typename T>
absl::Status LaunchProduct(const Product<T>& p, void* stream) {
  const dim3 grid(static_cast<unsigned>(TilesOf<T>(p.m, p.n)),
                  static_cast<unsigned>(p.n_batch));
  const auto queue = static_cast<cudaStream_t>(stream);
  if (p.update == Update::kSubtract) {
    ChainProduct<T, true><<<grid, Tile<T>::kThreads, 0, queue>>>(p);
  } else {
    ChainProduct<T, false><<<grid, Tile<T>::kThreads, 0, queue>>>(p);
  }
  return LaunchStatus("ChainProduct");
}

}  // namespace

absl::Status Launch(const Product<float>& product, void* stream) {
  return LaunchProduct(product, stream);
}

absl::Status Launch(const Product<double>& product, void* stream) {
  return LaunchProduct(product, stream);
}

absl::Status Launch(const GramTask& task, void* stream) {
  const dim3 grid(static_cast<unsigned>(TilesOf<float>(task.m, task.n)),
                  static_cast<unsigned>(task.n_batch));
  ChainGram<<<grid, Tile<float>::kThreads, 0,
              static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("ChainGram");
}

}  // namespace chain
}  // namespace narrow
