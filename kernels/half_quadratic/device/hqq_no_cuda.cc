// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/half_quadratic/device/hqq_launch.h"

namespace narrow {
namespace hqq_threads {

absl::Status Launch(const Task& /*task*/, void* /*stream*/) {
  return absl::UnimplementedError("this narrow was built without CUDA");
}

}  // namespace hqq_threads
}  // namespace narrow
