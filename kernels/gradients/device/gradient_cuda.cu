// The tasks of gradient_tasks.inc as kernels.

#include "kernels/gradients/device/gradient_launch.h"
#include "kernels/rows/device/row_kernels.h"

namespace narrow {
namespace gradient_threads {

#define NARROW_GRADIENT_LANES(Task)                     \
  absl::Status Launch(const Task& task, void* stream) { \
    return row_threads::LaunchLanes(task, stream);      \
  }
#define NARROW_GRADIENT_EACH(Task)                      \
  absl::Status Launch(const Task& task, void* stream) { \
    return row_threads::LaunchEach(task, stream);       \
  }
#include "kernels/gradients/device/gradient_tasks.inc"
#undef NARROW_GRADIENT_LANES
#undef NARROW_GRADIENT_EACH

}  // namespace gradient_threads
}  // namespace narrow
