#include "kernels/quant/device/device_finish.h"

namespace narrow {

absl::Status RunFinish(const FinishTask& task, DeviceStream* stream) {
  if (stream->kind() == DeviceKind::kCuda) {
    return task.n_weights == 0 ? absl::OkStatus()
                               : LaunchFinish(task, stream->handle());
  }
  for (int64_t i = 0; i < task.n_weights; ++i) {
    FinishWeight(task, i);
  }
  return absl::OkStatus();
}

}  // namespace narrow
