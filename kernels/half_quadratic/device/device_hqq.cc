#include "kernels/half_quadratic/device/device_hqq.h"

#include "kernels/half_quadratic/device/hqq_launch.h"

namespace narrow {
namespace {

// A team as the card runs it.
void SolveBatch(const hqq_threads::Task& task, int64_t index) {
  hqq_threads::Thread team[kGroupsAside];
  for (int lane = 0; lane < kGroupsAside; ++lane) {
    team[lane].Begin(task, index, lane);
  }
  bool active = true;
  for (int round = 0; active && round < task.iterations; ++round) {
    active = false;
    for (hqq_threads::Thread& thread : team) {
      active = thread.Step() || active;
    }
    for (int lane = 0; active && lane < kGroupsAside; ++lane) {
      team[lane].JudgeStep();
    }
  }
  for (hqq_threads::Thread& thread : team) {
    thread.End(index);
  }
}

}  // namespace

absl::Status RunHqq(const hqq_threads::Task& task, DeviceStream* stream) {
  if (task.n_batches == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return hqq_threads::Launch(task, stream->handle());
  }
  for (int64_t index = 0; index < task.n_batches; ++index) {
    SolveBatch(task, index);
  }
  return absl::OkStatus();
}

}  // namespace narrow
