#include "kernels/rows/device/device_rows.h"

#include "kernels/rows/device/row_launch.h"

namespace narrow {
namespace {

using row_threads::kRowThreads;
using row_threads::RowSums;

template <class Task, int kPhase>
void RunPhases(const Task& task, int64_t row, RowSums* sums) {
  if constexpr (kPhase < Task::kPhases) {
    for (int thread = 0; thread < kRowThreads; ++thread) {
      task.template Run<kPhase>(row, thread, sums);
    }
    RunPhases<Task, kPhase + 1>(task, row, sums);
  }
}

template <class Task>
absl::Status RunSummed(const Task& task, DeviceStream* stream) {
  if (task.n_rows == 0 || task.n == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return row_threads::Launch(task, stream->handle());
  }
  RowSums sums;
  for (int64_t row = 0; row < task.n_rows; ++row) {
    RunPhases<Task, 0>(task, row, &sums);
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
  return RunSummed(task, stream);
}
absl::Status RunRows(const row_threads::LogProbTask& task,
                     DeviceStream* stream) {
  return RunSummed(task, stream);
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

}  // namespace narrow
