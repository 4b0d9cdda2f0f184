#include "kernels/gradients/device/device_gradients.h"

#include "kernels/gradients/device/gradient_launch.h"
#include "kernels/rows/device/row_run.h"

namespace narrow {

#define NARROW_GRADIENT_LANES(Task)                             \
  absl::Status RunGradients(const gradient_threads::Task& task, \
                            DeviceStream* stream) {             \
    return row_threads::RunLanes(task, stream);                 \
  }
#define NARROW_GRADIENT_EACH(Task)                              \
  absl::Status RunGradients(const gradient_threads::Task& task, \
                            DeviceStream* stream) {             \
    return row_threads::RunEach(task, stream);                  \
  }
#include "kernels/gradients/device/gradient_tasks.inc"
#undef NARROW_GRADIENT_LANES
#undef NARROW_GRADIENT_EACH

}  // namespace narrow
