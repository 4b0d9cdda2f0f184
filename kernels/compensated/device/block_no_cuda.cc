// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/compensated/device/block_launch.h"

namespace narrow {
namespace block_tasks {

#define NARROW_BLOCK_TASK(type)                                            \
  absl::Status Launch(const type& /*task*/, void* /*stream*/) {            \
    return absl::UnimplementedError("this narrow was built without CUDA"); \
  }
#include "kernels/compensated/device/tasks.inc"
#undef NARROW_BLOCK_TASK

}  // namespace block_tasks
}  // namespace narrow
