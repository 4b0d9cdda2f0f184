// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/gradients/device/gradient_launch.h"

namespace narrow {
namespace gradient_threads {

#define NARROW_GRADIENT_LANES(Task)                                        \
  absl::Status Launch(const Task& /*task*/, void* /*stream*/) {            \
    return absl::UnimplementedError("this narrow was built without CUDA"); \
  }
#define NARROW_GRADIENT_EACH(Task) NARROW_GRADIENT_LANES(Task)
#include "kernels/gradients/device/gradient_tasks.inc"
#undef NARROW_GRADIENT_LANES
#undef NARROW_GRADIENT_EACH

}  // namespace gradient_threads
}  // namespace narrow
