// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/rows/device/row_launch.h"

namespace narrow {
namespace row_threads {
namespace {

absl::Status NoCuda() {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace

absl::Status Launch(const NormTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const FiniteTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const ScoreTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const SoftmaxTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const CrossTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const GateTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const RotateTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const MixTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const BiasTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const ColumnsTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const MagnitudesTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const PickTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}

}  // namespace row_threads
}  // namespace narrow
