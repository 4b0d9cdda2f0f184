// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/grid/device/grid_launch.h"

namespace narrow {
namespace grid_tasks {

#define NARROW_GRID_TASK(type)                                             \
  absl::Status Launch(const type& /*task*/, void* /*stream*/) {            \
    return absl::UnimplementedError("this narrow was built without CUDA"); \
  }
#include "kernels/grid/device/tasks.inc"
#undef NARROW_GRID_TASK

}  // namespace grid_tasks
}  // namespace narrow
