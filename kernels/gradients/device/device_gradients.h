// The tasks of gradient_tasks.inc on a device: on a card in the stream, on the
// CPU at once. Pointers in tasks are the device's.
//
//   RETURN_IF_ERROR(RunGradients(NormGradientTask{...}, &stream));

#ifndef NARROW_KERNELS_GRADIENTS_DEVICE_DEVICE_GRADIENTS_H_
#define NARROW_KERNELS_GRADIENTS_DEVICE_DEVICE_GRADIENTS_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/gradients/device/draw_threads.h"
#include "kernels/gradients/device/gradient_threads.h"
#include "kernels/gradients/device/share_threads.h"

namespace narrow {

#define NARROW_GRADIENT_LANES(Task)                             \
  absl::Status RunGradients(const gradient_threads::Task& task, \
                            DeviceStream* stream);
#define NARROW_GRADIENT_EACH(Task) NARROW_GRADIENT_LANES(Task)
#include "kernels/gradients/device/gradient_tasks.inc"
#undef NARROW_GRADIENT_LANES
#undef NARROW_GRADIENT_EACH

}  // namespace narrow

#endif  // NARROW_KERNELS_GRADIENTS_DEVICE_DEVICE_GRADIENTS_H_
