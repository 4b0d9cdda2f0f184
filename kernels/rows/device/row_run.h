// Passes over rows as blocks of threads do them (row_threads.h), for the files
// that run them: on a card by the task's Launch, found beside it, on the CPU
// thread after thread.

#ifndef NARROW_KERNELS_ROWS_DEVICE_ROW_RUN_H_
#define NARROW_KERNELS_ROWS_DEVICE_ROW_RUN_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/rows/device/row_threads.h"

namespace narrow {
namespace row_threads {

template <class Task, int kPhase>
void RunPhases(const Task& task, int64_t row, int64_t step, LaneSums* sums) {
  if constexpr (kPhase < Task::kPhases) {
    for (int lane = 0; lane < kLanes; ++lane) {
      task.template Run<kPhase>(row, step, lane, sums);
    }
    RunPhases<Task, kPhase + 1>(task, row, step, sums);
  }
}

// kLanes threads a row, phase after phase.
template <class Task>
absl::Status RunLanes(const Task& task, DeviceStream* stream) {
  if (task.n_rows == 0 || task.n == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return Launch(task, stream->handle());
  }
  LaneSums sums;
  for (int64_t row = 0; row < task.n_rows; ++row) {
    for (int64_t step = 0; step < task.n_steps(); ++step) {
      RunPhases<Task, 0>(task, row, step, &sums);
    }
  }
  return absl::OkStatus();
}

// A thread an element.
template <class Task>
absl::Status RunEach(const Task& task, DeviceStream* stream) {
  if (task.n() == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return Launch(task, stream->handle());
  }
  for (int64_t i = 0; i < task.n(); ++i) {
    task.Run(i);
  }
  return absl::OkStatus();
}

}  // namespace row_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_ROWS_DEVICE_ROW_RUN_H_
