// The kernels of runs; what a thread does is in block_threads.h and
// span_threads.h.

#include <cuda_runtime_api.h>

#include <type_traits>

#include "kernels/cuda_status.h"
#include "kernels/runs/device/runs_launch.h"

namespace narrow {
namespace run_threads {
namespace {

constexpr int kThreads = 128;
constexpr int kTeamsOfBlock = kThreads / kTeam;

struct NoGrid {};

template <class Grid, class Task>
__global__ void __launch_bounds__(kThreads) RunEach(const Task task) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < task.n()) {
    if constexpr (Task::kGrids) {
      task.template Run<Grid>(i);
    } else {
      task.Run(i);
    }
  }
}

template <class Grid, class Task>
__global__ void __launch_bounds__(kThreads) RunTeams(const Task task) {
  __shared__ typename Task::Partial lanes[kTeamsOfBlock][kTeam];
  const int of_block = static_cast<int>(threadIdx.x) / kTeam;
  const int lane = static_cast<int>(threadIdx.x) % kTeam;
  const int64_t team =
      static_cast<int64_t>(blockIdx.x) * kTeamsOfBlock + of_block;
  const bool exists = team < task.n_teams() && task.Exists(team);
  if (exists) {
    if constexpr (Task::kGrids) {
      lanes[of_block][lane] = task.template Lane<Grid>(team, lane);
    } else {
      lanes[of_block][lane] = task.Lane(team, lane);
    }
  }
  __syncthreads();
  if (exists && lane == 0) {
    task.Fold(team, lanes[of_block]);
  }
}

template <class Task, class Start>
absl::Status StartWithGrid(const Task& task, const char* name,
                           const Start& start) {
  if constexpr (Task::kGrids) {
    WithGridOf(task.grid.kind, start);
  } else {
    start(static_cast<NoGrid*>(nullptr));
  }
  return LaunchStatus(name);
}

template <class Grid, class Task>
void StartEach(const Task& task, cudaStream_t stream) {
  const int64_t n_blocks = (task.n() + kThreads - 1) / kThreads;
  RunEach<Grid, Task>
      <<<static_cast<unsigned>(n_blocks), kThreads, 0, stream>>>(task);
}

template <class Grid, class Task>
void StartTeams(const Task& task, cudaStream_t stream) {
  const int64_t n_blocks = (task.n_teams() + kTeamsOfBlock - 1) / kTeamsOfBlock;
  RunTeams<Grid, Task>
      <<<static_cast<unsigned>(n_blocks), kThreads, 0, stream>>>(task);
}

}  // namespace

#define NARROW_RUN_TASK(type)                           \
  absl::Status Launch(const type& task, void* stream) { \
    return StartWithGrid(task, #type, [&](auto* grid) { \
      StartEach<std::remove_pointer_t<decltype(grid)>>( \
          task, static_cast<cudaStream_t>(stream));     \
    });                                                 \
  }
#define NARROW_RUN_TEAMS(type)                           \
  absl::Status Launch(const type& task, void* stream) {  \
    return StartWithGrid(task, #type, [&](auto* grid) {  \
      StartTeams<std::remove_pointer_t<decltype(grid)>>( \
          task, static_cast<cudaStream_t>(stream));      \
    });                                                  \
  }
#include "kernels/runs/device/tasks.inc"
#undef NARROW_RUN_TEAMS
#undef NARROW_RUN_TASK

}  // namespace run_threads
}  // namespace narrow
