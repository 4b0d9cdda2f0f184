#include "kernels/runs/device/run_task.h"

#include <type_traits>

namespace narrow {
namespace run_threads {
namespace {

template <class Task>
void RunEach(const Task& task) {
  for (int64_t i = 0; i < task.n(); ++i) {
    task.Run(i);
  }
}

template <class Grid, class Task>
void RunEachWithGrid(const Task& task) {
  for (int64_t i = 0; i < task.n(); ++i) {
    task.template Run<Grid>(i);
  }
}

// All threads of a team, then the first one.
template <class Task, class Lane>
void RunTeams(const Task& task, const Lane& lane_of) {
  for (int64_t team = 0; team < task.n_teams(); ++team) {
    if (!task.Exists(team)) {
      continue;
    }
    typename Task::Partial lanes[kTeam];
    for (int lane = 0; lane < kTeam; ++lane) {
      lanes[lane] = lane_of(team, lane);
    }
    task.Fold(team, lanes);
  }
}

template <class Task>
absl::Status Each(const Task& task, DeviceStream* stream) {
  if (task.n() == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return Launch(task, stream->handle());
  }
  if constexpr (Task::kGrids) {
    WithGridOf(task.grid.kind, [&](auto* grid) {
      RunEachWithGrid<std::remove_pointer_t<decltype(grid)>>(task);
    });
  } else {
    RunEach(task);
  }
  return absl::OkStatus();
}

template <class Task>
absl::Status Teams(const Task& task, DeviceStream* stream) {
  if (task.n_teams() == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return Launch(task, stream->handle());
  }
  if constexpr (Task::kGrids) {
    WithGridOf(task.grid.kind, [&](auto* grid) {
      RunTeams(task, [&](int64_t team, int lane) {
        return task.template Lane<std::remove_pointer_t<decltype(grid)>>(team,
                                                                         lane);
      });
    });
  } else {
    RunTeams(task,
             [&](int64_t team, int lane) { return task.Lane(team, lane); });
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace run_threads

#define NARROW_RUN_TASK(type)                             \
  absl::Status RunOnDevice(const run_threads::type& task, \
                           DeviceStream* stream) {        \
    return run_threads::Each(task, stream);               \
  }
#define NARROW_RUN_TEAMS(type)                            \
  absl::Status RunOnDevice(const run_threads::type& task, \
                           DeviceStream* stream) {        \
    return run_threads::Teams(task, stream);              \
  }
#include "kernels/runs/device/tasks.inc"
#undef NARROW_RUN_TEAMS
#undef NARROW_RUN_TASK

}  // namespace narrow
