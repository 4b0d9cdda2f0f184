#include "kernels/experts/device/device_experts.h"

#include "kernels/experts/device/expert_launch.h"

namespace narrow {
namespace {

template <class Task>
absl::Status RunEach(const Task& task, DeviceStream* stream) {
  if (task.n_numbers() == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return expert_threads::Launch(task, stream->handle());
  }
  for (int64_t i = 0; i < task.n_numbers(); ++i) {
    task.Run(i);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunGather(const expert_threads::GatherTask& task,
                       DeviceStream* stream) {
  return RunEach(task, stream);
}

absl::Status RunCombine(const expert_threads::CombineTask& task,
                        DeviceStream* stream) {
  return RunEach(task, stream);
}

}  // namespace narrow
