// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/linalg/device/factor_launch.h"

namespace narrow {
namespace factor {
namespace {

absl::Status NoCuda() {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace

absl::Status Launch(const SquareBatch& /*squares*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const BlockBatch& /*blocks*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const ZeroBelowTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const ReverseTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const OutcomeTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const UnitTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const MetricTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const WidenTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const MoveTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const EnergyTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}
absl::Status Launch(const LimitTask& /*task*/, void* /*stream*/) {
  return NoCuda();
}

}  // namespace factor
}  // namespace narrow
