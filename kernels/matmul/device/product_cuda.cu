// The kernels of products; what a thread does is in tile_threads.h.

#include <cuda_runtime_api.h>

#include <algorithm>

#include "kernels/cuda_status.h"
#include "kernels/matmul/device/product_launch.h"

namespace narrow {
namespace tile {
namespace {

constexpr int kRowThreads = 256;

__global__ void __launch_bounds__(kThreads) TileProduct(const Product all) {
  __shared__ Stripes stripes;
  const Product product = OneOf(all, blockIdx.z);
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t first_col = static_cast<int64_t>(blockIdx.x) * kTile;
  Sums sums;
  BeginSums(product, first_row, first_col, thread, &sums);
  for (int64_t k = 0; k < product.depth; k += kDepth) {
    LoadStripes(product, first_row, first_col, k, thread, &stripes);
    __syncthreads();
    AddStripes(stripes, thread, &sums);
    __syncthreads();
  }
  StoreSums(product, first_row, first_col, thread, sums);
}

__global__ void Split(const float* values, int64_t n, int part, uint16_t* out) {
  const int64_t i =
      static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i < n) {
    out[i] = PartOf(values[i], part);
  }
}

template <class Task>
__global__ void RunEach(const Task task) {
  const int64_t i =
      static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i < task.n()) {
    task.Run(i);
  }
}

__global__ void AddWide(const float* values, int64_t n, double* sums) {
  const int64_t i =
      static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i < n) {
    sums[i] += static_cast<double>(values[i]);
  }
}

__global__ void BeginBias(const Product product) {
  const int64_t i =
      static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i < product.n_rows * product.n_cols) {
    const int64_t col = i % product.n_cols;
    float* out = product.out + i / product.n_cols * product.out_row + col;
    *out = (product.accumulate ? *out : 0.0f) + product.bias[col];
  }
}

unsigned BlocksFor(int64_t n) {
  return static_cast<unsigned>((n + kRowThreads - 1) / kRowThreads);
}

}  // namespace

absl::Status LaunchProduct(const Product& product, void* stream) {
  const dim3 grid(static_cast<unsigned>((product.n_cols + kTile - 1) / kTile),
                  static_cast<unsigned>((product.n_rows + kTile - 1) / kTile),
                  static_cast<unsigned>(product.n_batch));
  TileProduct<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      product);
  return LaunchStatus("TileProduct");
}

absl::Status LaunchBeginBias(const Product& product, void* stream) {
  BeginBias<<<BlocksFor(product.n_rows * product.n_cols), kRowThreads, 0,
              static_cast<cudaStream_t>(stream)>>>(product);
  return LaunchStatus("BeginBias");
}

absl::Status LaunchSplit(const float* values, int64_t n, int part,
                         uint16_t* out, void* stream) {
  Split<<<BlocksFor(n), kRowThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      values, n, part, out);
  return LaunchStatus("Split");
}

absl::Status LaunchEach(const StackTask& task, void* stream) {
  RunEach<<<BlocksFor(task.n()), kRowThreads, 0,
            static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("Stack");
}

absl::Status LaunchEach(const RoundTask& task, void* stream) {
  RunEach<<<BlocksFor(task.n()), kRowThreads, 0,
            static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("Round");
}

absl::Status LaunchEach(const PanelTask& task, void* stream) {
  RunEach<<<BlocksFor(task.n()), kRowThreads, 0,
            static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("AddPanel");
}

absl::Status LaunchAddWide(const float* values, int64_t n, double* sums,
                           void* stream) {
  AddWide<<<BlocksFor(n), kRowThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      values, n, sums);
  return LaunchStatus("AddWide");
}

}  // namespace tile
}  // namespace narrow
