// Blocks to weights on a card: a thread a weight.

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/device/encode_launch.h"
#include "kernels/quant/team/decode_at.h"

namespace narrow {
namespace team {
namespace {

constexpr int kDecodeThreads = 256;

template <class Decode>
__global__ void __launch_bounds__(kDecodeThreads)
    DecodeBlocks(const DecodeTask task) {
  const int64_t i =
      static_cast<int64_t>(blockIdx.x) * kDecodeThreads + threadIdx.x;
  if (i < task.n_blocks * Decode::kBlock) {
    DecodeWeight<Decode>(task, i);
  }
}

template <class Decode>
absl::Status LaunchFor(const DecodeTask& task, void* stream) {
  const int64_t n = task.n_blocks * Decode::kBlock;
  const int64_t grid = (n + kDecodeThreads - 1) / kDecodeThreads;
  DecodeBlocks<Decode><<<static_cast<unsigned>(grid), kDecodeThreads, 0,
                         static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("DecodeBlocks");
}

}  // namespace

absl::Status LaunchDecode(QuantType type, const DecodeTask& task,
                          void* stream) {
  switch (type) {
#define NARROW_TEAM(group, name, ...) \
  case QuantType::k##name:            \
    return LaunchFor<Decode##name>(task, stream);
#include "kernels/quant/team/teams.inc"
#undef NARROW_TEAM
    default:
      return absl::NotFoundError("no kernel decodes this type");
  }
}

}  // namespace team
}  // namespace narrow
