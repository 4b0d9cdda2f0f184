// The passes of row_threads.h as kernels.

#include "kernels/rows/device/row_kernels.h"
#include "kernels/rows/device/row_launch.h"

namespace narrow {
namespace row_threads {
absl::Status Launch(const NormTask& task, void* stream) {
  return LaunchLanes(task, stream);
}
absl::Status Launch(const FiniteTask& task, void* stream) {
  return LaunchLanes(task, stream);
}
absl::Status Launch(const ScoreTask& task, void* stream) {
  return LaunchLanes(task, stream);
}
absl::Status Launch(const SoftmaxTask& task, void* stream) {
  return LaunchLanes(task, stream);
}
absl::Status Launch(const CrossTask& task, void* stream) {
  return LaunchLanes(task, stream);
}
absl::Status Launch(const GateTask& task, void* stream) {
  return LaunchEach(task, stream);
}
absl::Status Launch(const RotateTask& task, void* stream) {
  return LaunchEach(task, stream);
}
absl::Status Launch(const MixTask& task, void* stream) {
  return LaunchEach(task, stream);
}
absl::Status Launch(const BiasTask& task, void* stream) {
  return LaunchEach(task, stream);
}
absl::Status Launch(const ColumnsTask& task, void* stream) {
  return LaunchEach(task, stream);
}
absl::Status Launch(const MagnitudesTask& task, void* stream) {
  return LaunchEach(task, stream);
}
absl::Status Launch(const PickTask& task, void* stream) {
  return LaunchEach(task, stream);
}

}  // namespace row_threads
}  // namespace narrow
