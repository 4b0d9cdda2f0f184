// Runs a task of block_tasks.h on a stream's device: on a card in the stream,
// on the CPU at once. For the sources of this folder.

#ifndef NARROW_KERNELS_COMPENSATED_DEVICE_RUN_TASK_H_
#define NARROW_KERNELS_COMPENSATED_DEVICE_RUN_TASK_H_

#include "absl/status/status.h"
#include "kernels/compensated/device/block_launch.h"
#include "kernels/device.h"

namespace narrow {
namespace block_tasks {

template <class Task>
absl::Status Run(const Task& task, DeviceStream* stream) {
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

}  // namespace block_tasks
}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_DEVICE_RUN_TASK_H_
