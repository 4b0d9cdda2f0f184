// Shows an observer gradients that lie on a device.

#ifndef NARROW_CALIBRATION_BACKWARD_DEVICE_GRADIENT_SHOWING_H_
#define NARROW_CALIBRATION_BACKWARD_DEVICE_GRADIENT_SHOWING_H_

#include <vector>

#include "absl/status/status.h"
#include "calibration/backward/gradient_observer.h"
#include "calibration/device/device_context.h"

namespace narrow {

class GradientShowing {
 public:
  explicit GradientShowing(DeviceContext* context) : context_(context) {}

  // Rows and input norms are the device's. Nothing if there is no observer.
  absl::Status Show(const LayerGradient& gradient, GradientObserver* observer);

 private:
  DeviceContext* const context_;
  std::vector<float> rows_, norms_;  // copies for who does not take them there
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_DEVICE_GRADIENT_SHOWING_H_
