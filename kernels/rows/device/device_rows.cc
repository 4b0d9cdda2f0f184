#include "kernels/rows/device/device_rows.h"

#include "kernels/rows/device/row_launch.h"

namespace narrow {
namespace {

using row_threads::kLanes;
using row_threads::LaneSums;

template <class Task, int kPhase>
void RunPhases(const Task& task, int64_t row, int64_t step, LaneSums* sums) {
  if constexpr (kPhase < Task::kPhases) {
    for (int lane = 0; lane < kLanes; ++lane) {
      task.template Run<kPhase>(row, step, lane, sums);
    }
    RunPhases<Task, kPhase + 1>(task, row, step, sums);
  }
}

template <class Task>
absl::Status RunLanes(const Task& task, DeviceStream* stream) {
  if (task.n_rows == 0 || task.n == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return row_threads::Launch(task, stream->handle());
  }
  LaneSums sums;
  for (int64_t row = 0; row < task.n_rows; ++row) {
    for (int64_t step = 0; step < task.n_steps(); ++step) {
      RunPhases<Task, 0>(task, row, step, &sums);
    }
  }
  return absl::OkStatus();
}

template <class Task>
absl::Status RunEach(const Task& task, DeviceStream* stream) {
  if (task.n() == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return row_threads::Launch(task, stream->handle());
  }
  for (int64_t i = 0; i < task.n(); ++i) {
    task.Run(i);
  }
  return absl::OkStatus();
}

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
