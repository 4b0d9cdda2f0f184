// The kernel of half-quadratic quantization; what a thread does is in
// hqq_threads.h.

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/half_quadratic/device/hqq_launch.h"

namespace narrow {
namespace hqq_threads {
namespace {

constexpr int kTeams = 8;  // of a block; two share a warp
constexpr int kThreads = kTeams * kGroupsAside;

__global__ void __launch_bounds__(kThreads) Solve(const Task task) {
  const int lane = static_cast<int>(threadIdx.x) % kGroupsAside;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kTeams +
                        static_cast<int>(threadIdx.x) / kGroupsAside;
  // Both teams of a warp vote to the end, whoever is done before.
  const bool exists = index < task.n_batches;
  const unsigned team = 0xffffu << (threadIdx.x & 16);
  Thread thread;
  if (exists) {
    thread.Begin(task, index, lane);
  }
  bool active = exists;
  for (int round = 0; round < task.iterations; ++round) {
    const bool moved = active && thread.Step();
    active = (__ballot_sync(0xffffffffu, moved) & team) != 0;
    if (active) {
      thread.JudgeStep();
    }
  }
  if (exists) {
    thread.End(index);
  }
}

}  // namespace

absl::Status Launch(const Task& task, void* stream) {
  const int64_t n_blocks = (task.n_batches + kTeams - 1) / kTeams;
  Solve<<<static_cast<unsigned>(n_blocks), kThreads, 0,
          static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus("half-quadratic steps");
}

}  // namespace hqq_threads
}  // namespace narrow
