// Starts the tasks of gradient_tasks.inc on a card, in a stream that is a
// cudaStream_t. In a build without CUDA they are Unimplemented.

#ifndef NARROW_KERNELS_GRADIENTS_DEVICE_GRADIENT_LAUNCH_H_
#define NARROW_KERNELS_GRADIENTS_DEVICE_GRADIENT_LAUNCH_H_

#include "absl/status/status.h"
#include "kernels/gradients/device/draw_threads.h"
#include "kernels/gradients/device/gradient_threads.h"
#include "kernels/gradients/device/share_threads.h"

namespace narrow {
namespace gradient_threads {

#define NARROW_GRADIENT_LANES(Task) \
  absl::Status Launch(const Task& task, void* stream);
#define NARROW_GRADIENT_EACH(Task) NARROW_GRADIENT_LANES(Task)
#include "kernels/gradients/device/gradient_tasks.inc"
#undef NARROW_GRADIENT_LANES
#undef NARROW_GRADIENT_EACH

}  // namespace gradient_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_GRADIENTS_DEVICE_GRADIENT_LAUNCH_H_
