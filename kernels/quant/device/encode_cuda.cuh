// The kernel that runs a team's phases with threads, and its launch. Included
// by the encode_*.cu, which share out the types.
//
// A team's threads lie in one warp, so a phase ends with a barrier of the
// warp. Teams beyond the last block take part in the barriers alone.

#ifndef NARROW_KERNELS_QUANT_DEVICE_ENCODE_CUDA_CUH_
#define NARROW_KERNELS_QUANT_DEVICE_ENCODE_CUDA_CUH_

#include <cuda_runtime_api.h>

#include "absl/status/status.h"
#include "kernels/cuda_status.h"
#include "kernels/quant/team/teams.h"

namespace narrow {
namespace team {

// Of a kernel's block. 128 leaves each thread the most registers there are.
inline constexpr int kCudaThreads = 128;

template <class Team, int kPhase, class Input>
__device__ __forceinline__ void RunPhases(const Input& in, bool present,
                                          int thread,
                                          typename Team::State* state,
                                          typename Team::Shared* shared) {
  if constexpr (kPhase < Team::kPhases) {
    if (present) {
      Team::template Run<kPhase>(in, thread, state, shared);
    }
    __syncwarp();
    RunPhases<Team, kPhase + 1>(in, present, thread, state, shared);
  }
}

template <class Team>
__global__ void __launch_bounds__(kCudaThreads)
    EncodeBlocks(const EncodeTask task) {
  constexpr int kTeams = kCudaThreads / Team::kThreads;
  __shared__ typename Team::Shared shared[kTeams];
  __shared__ bool failed[kTeams];
  const int team = static_cast<int>(threadIdx.x) / Team::kThreads;
  const int thread = static_cast<int>(threadIdx.x) % Team::kThreads;
  const int64_t n_blocks = task.n_rows * (task.n_cols / Team::kBlock);
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kTeams + team;
  const bool present = block < n_blocks;
  const BlockInput in = InputOf(task, present ? block : 0, Team::kBlock,
                                Team::kBytes, &failed[team]);
  if (thread == 0) {
    failed[team] = false;
  }
  __syncwarp();
  if (Team::kChecked && present && !InputIsFinite<Team>(in, thread)) {
    failed[team] = true;
  }
  typename Team::State state;
  RunPhases<Team, 0>(in, present, thread, &state, &shared[team]);
  if (present && thread == 0 && failed[team]) {
    task.failed[block] = 1;
    atomicAdd(task.n_failed, 1u);
  }
}

// For the team's rows.
template <class Team>
__global__ void __launch_bounds__(kCudaThreads)
    FindMeanSquares(const EncodeTask task) {
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * kCudaThreads + threadIdx.x;
  if (row < task.n_rows) {
    task.mean_squares[row] = MeanSquareOf(task, row).v;
  }
}

template <class Team>
absl::Status LaunchTeam(const EncodeTask& task, cudaStream_t stream) {
  if constexpr (Team::kMeanSquares) {
    const int64_t grid = (task.n_rows + kCudaThreads - 1) / kCudaThreads;
    FindMeanSquares<Team>
        <<<static_cast<unsigned>(grid), kCudaThreads, 0, stream>>>(task);
    const absl::Status status = LaunchStatus("FindMeanSquares");
    if (!status.ok()) {
      return status;
    }
  }
  constexpr int kTeams = kCudaThreads / Team::kThreads;
  const int64_t n_blocks = task.n_rows * (task.n_cols / Team::kBlock);
  const int64_t grid = (n_blocks + kTeams - 1) / kTeams;
  EncodeBlocks<Team>
      <<<static_cast<unsigned>(grid), kCudaThreads, 0, stream>>>(task);
  return LaunchStatus("EncodeBlocks");
}

template <class Plain, class Weighted>
absl::Status LaunchType(const EncodeTask& task, cudaStream_t stream) {
  return task.importance == nullptr ? LaunchTeam<Plain>(task, stream)
                                    : LaunchTeam<Weighted>(task, stream);
}

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_DEVICE_ENCODE_CUDA_CUH_
