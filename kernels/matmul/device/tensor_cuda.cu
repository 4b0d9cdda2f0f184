// The kernel of tensor_tile.h.

#include <cuda_runtime_api.h>

#include "formats/base/status.h"
#include "kernels/cuda_status.h"
#include "kernels/matmul/device/product_launch.h"
#include "kernels/warp/card_block.h"

namespace narrow {
namespace tile {
namespace {

using tensor_tile::kThreads;
using tensor_tile::Stages;
using tensor_tile::Task;

template <bool kLeftByDepth, bool kRightByDepth>
__global__ void __launch_bounds__(kThreads, 2) TensorProduct(const Task task) {
  extern __shared__ __align__(128) uint8_t memory[];
  tensor_tile::State state;
  warp::CardBlock<tensor_tile::State> block(&state);
  Task one = task;
  one.product = OneOf(task.product, blockIdx.y);
  tensor_tile::RunTile<kLeftByDepth, kRightByDepth>(
      one, tensor_tile::PlaceOf(one, blockIdx.x),
      reinterpret_cast<Stages*>(memory), &block);
}

template <bool kLeftByDepth, bool kRightByDepth>
absl::Status LaunchFor(const Task& task, void* stream) {
  constexpr int kBytes = static_cast<int>(sizeof(Stages));
  const auto kernel = TensorProduct<kLeftByDepth, kRightByDepth>;
  RETURN_IF_ERROR(CudaStatus(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           kBytes),
      "cudaFuncSetAttribute"));
  const dim3 grid(static_cast<unsigned>(tensor_tile::NumBlocks(task)),
                  static_cast<unsigned>(task.product.n_batch));
  kernel<<<grid, kThreads, kBytes, static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("TensorProduct");
}

}  // namespace

absl::Status LaunchTensorProduct(const Task& task, void* stream) {
  const bool left = tensor_tile::LiesByDepth(task.product.left);
  if (tensor_tile::LiesByDepth(task.product.right)) {
    return left ? LaunchFor<true, true>(task, stream)
                : LaunchFor<false, true>(task, stream);
  }
  return left ? LaunchFor<true, false>(task, stream)
              : LaunchFor<false, false>(task, stream);
}

}  // namespace tile
}  // namespace narrow
