// In a build without CUDA no device is a card, so nobody comes here.

#include "kernels/runs/device/runs_launch.h"

namespace narrow {
namespace run_threads {

#define NARROW_RUN_TASK(type)                                              \
  absl::Status Launch(const type& /*task*/, void* /*stream*/) {            \
    return absl::UnimplementedError("this narrow was built without CUDA"); \
  }
#define NARROW_RUN_TEAMS(type) NARROW_RUN_TASK(type)
#include "kernels/runs/device/tasks.inc"
#undef NARROW_RUN_TEAMS
#undef NARROW_RUN_TASK

}  // namespace run_threads
}  // namespace narrow
