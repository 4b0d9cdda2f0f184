// Runs a task of this folder on a stream's device: on a card in the stream, on
// the CPU at once, thread after thread.

#ifndef NARROW_KERNELS_RUNS_DEVICE_RUN_TASK_H_
#define NARROW_KERNELS_RUNS_DEVICE_RUN_TASK_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/runs/device/runs_launch.h"

namespace narrow {

#define NARROW_RUN_TASK(type) \
  absl::Status RunOnDevice(const run_threads::type& task, DeviceStream* stream);
#define NARROW_RUN_TEAMS(type) NARROW_RUN_TASK(type)
#include "kernels/runs/device/tasks.inc"
#undef NARROW_RUN_TEAMS
#undef NARROW_RUN_TASK

}  // namespace narrow

#endif  // NARROW_KERNELS_RUNS_DEVICE_RUN_TASK_H_
