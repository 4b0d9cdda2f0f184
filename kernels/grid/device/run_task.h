// Runs a task of grid_tasks.h on a stream's device: on a card in the stream,
// on the CPU at once. For the sources of this folder.

#ifndef NARROW_KERNELS_GRID_DEVICE_RUN_TASK_H_
#define NARROW_KERNELS_GRID_DEVICE_RUN_TASK_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/grid/device/grid_launch.h"

namespace narrow {
namespace grid_tasks {

template <GridRounding kRounding, class Task>
void RunAll(const Task& task) {
  for (int64_t i = 0; i < task.n(); ++i) {
    task.template Run<kRounding>(i);
  }
}

template <class Task>
absl::Status Run(const Task& task, DeviceStream* stream) {
  if (task.n() == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return Launch(task, stream->handle());
  }
  if constexpr (Task::kRounds) {
    switch (task.rules.rounding) {
      case GridRounding::kInteger:
        RunAll<GridRounding::kInteger>(task);
        break;
      case GridRounding::kFloatZero:
        RunAll<GridRounding::kFloatZero>(task);
        break;
      case GridRounding::kLevels:
        RunAll<GridRounding::kLevels>(task);
        break;
      case GridRounding::kE4M3:
        RunAll<GridRounding::kE4M3>(task);
        break;
    }
  } else {
    for (int64_t i = 0; i < task.n(); ++i) {
      task.Run(i);
    }
  }
  return absl::OkStatus();
}

}  // namespace grid_tasks
}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_DEVICE_RUN_TASK_H_
