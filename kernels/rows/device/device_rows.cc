#include "kernels/rows/device/device_rows.h"

#include "kernels/rows/device/row_launch.h"
#include "kernels/rows/device/row_run.h"

namespace narrow {
namespace {

using row_threads::RunEach;
using row_threads::RunLanes;

}  // namespace

absl::Status RunRows(const row_threads::NormTask& task, DeviceStream* stream) {
  return RunLanes(task, stream);
}
absl::Status RunRows(const row_threads::FiniteTask& task,
                     DeviceStream* stream) {
  return RunLanes(task, stream);
}
absl::Status RunRows(const row_threads::ScoreTask& task, DeviceStream* stream) {
  return RunLanes(task, stream);
}
absl::Status RunRows(const row_threads::SoftmaxTask& task,
                     DeviceStream* stream) {
  return RunLanes(task, stream);
}
absl::Status RunRows(const row_threads::CrossTask& task, DeviceStream* stream) {
  return RunLanes(task, stream);
}
absl::Status RunRows(const row_threads::GateTask& task, DeviceStream* stream) {
  return RunEach(task, stream);
}
absl::Status RunRows(const row_threads::RotateTask& task,
                     DeviceStream* stream) {
  return RunEach(task, stream);
}
absl::Status RunRows(const row_threads::MixTask& task, DeviceStream* stream) {
  return RunEach(task, stream);
}
absl::Status RunRows(const row_threads::BiasTask& task, DeviceStream* stream) {
  return RunEach(task, stream);
}
absl::Status RunRows(const row_threads::ColumnsTask& task,
                     DeviceStream* stream) {
  return RunEach(task, stream);
}
absl::Status RunRows(const row_threads::MagnitudesTask& task,
                     DeviceStream* stream) {
  return RunEach(task, stream);
}
absl::Status RunRows(const row_threads::PickTask& task, DeviceStream* stream) {
  return RunEach(task, stream);
}

}  // namespace narrow
