// The kernel of tensor_attention.h.

#include <cuda_runtime_api.h>

#include "formats/base/status.h"
#include "kernels/attention/device/tensor_attention_launch.h"
#include "kernels/cuda_status.h"
#include "kernels/warp/card_block.h"

namespace narrow {
namespace tensor_attention {
namespace {

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads) TensorAttention(const Task task) {
  extern __shared__ __align__(128) uint8_t memory[];
  State<kHeadDim> state;
  warp::CardBlock<State<kHeadDim>> block(&state);
  // Long rows of keys first.
  const Place place = {
      static_cast<int64_t>(blockIdx.z), static_cast<int64_t>(blockIdx.y),
      static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * kQueries};
  Attend<kHeadDim>(task, place, reinterpret_cast<Tiles<kHeadDim>*>(memory),
                   &block);
}

template <int kHeadDim>
absl::Status LaunchFor(const Task& task, void* stream) {
  constexpr int kBytes = static_cast<int>(sizeof(Tiles<kHeadDim>));
  RETURN_IF_ERROR(CudaStatus(
      cudaFuncSetAttribute(TensorAttention<kHeadDim>,
                           cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
      "cudaFuncSetAttribute"));
  const dim3 grid(
      static_cast<unsigned>((task.n_tokens + kQueries - 1) / kQueries),
      static_cast<unsigned>(task.n_heads),
      static_cast<unsigned>(task.n_sequences));
  TensorAttention<kHeadDim>
      <<<grid, kThreads, kBytes, static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("TensorAttention");
}

}  // namespace

absl::Status Launch(const Task& task, void* stream) {
  if (task.head_dim <= 64) {
    return LaunchFor<64>(task, stream);
  }
  return task.head_dim <= 128 ? LaunchFor<128>(task, stream)
                              : LaunchFor<256>(task, stream);
}

}  // namespace tensor_attention
}  // namespace narrow
