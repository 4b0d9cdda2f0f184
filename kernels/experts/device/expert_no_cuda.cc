// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/experts/device/expert_launch.h"

namespace narrow {
namespace expert_threads {

absl::Status Launch(const GatherTask& /*task*/, void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

absl::Status Launch(const CombineTask& /*task*/, void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace expert_threads
}  // namespace narrow
