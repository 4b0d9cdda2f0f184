// The gradient of a block's feed-forward half on a device, dense or of
// experts; what it computes is in layers/feed_forward_gradient.h.
//
// Rows go through in the processor's steps. Of experts the host chooses, and
// has the gradients at the router's logits, which are few.

#ifndef NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_FEED_FORWARD_GRADIENT_H_
#define NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_FEED_FORWARD_GRADIENT_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "calibration/backward/device/block_work.h"
#include "calibration/backward/device/gradient_places.h"
#include "calibration/backward/device/gradient_showing.h"

namespace narrow {

class DeviceFeedForwardGradient {
 public:
  static constexpr int64_t kStepRows = 1024;  // feed_forward.cc's

  // Pointers must outlive it.
  DeviceFeedForwardGradient(DeviceContext* context,
                            const GradientMemory* memory)
      : context_(context), memory_(memory), showing_(context) {}

  // places().gradient at what the half gave becomes that at its input, which
  // is `input`, on the device.
  absl::Status Run(const BlockWork& work, const float* input);

 private:
  // Rows on their way through a dense layer or one expert.
  struct Step {
    const BlockWork& work;
    int expert;  // -1: a dense layer
    int64_t n_rows;
    int64_t first_token;
    absl::Span<const int64_t> tokens;  // of experts
    DeviceMatrix gate, up, down;
  };
  struct Assigned {
    std::vector<int64_t> tokens;
    std::vector<float> weights;
  };

  absl::Status RunDense(const BlockWork& work, const float* input);
  absl::Status RunExperts(const BlockWork& work, const float* input);
  // From places().normed to gates, ups, inner and, if wanted, outputs.
  absl::Status Forward(const Step& step, bool outputs);
  // From `output`, gradients at a step's outputs, to normed_gradient.
  absl::Status BackStep(const Step& step, const float* output);
  absl::Status Show(const Step& step, const WeightRows& layer,
                    const float* rows, int64_t n_cols, int64_t stride,
                    const float* norms);
  // gradient += that of the norm before the half.
  absl::Status AddNormGradient(const BlockWork& work, const float* input,
                               int64_t n_rows, const float* normed_gradient,
                               float* gradient);
  absl::Status NormGradient(const float* x, const std::vector<float>& weight,
                            const float* gradient, int64_t n_rows, float* out);
  // The router's logits, on the host, and each expert's tokens.
  absl::StatusOr<std::vector<Assigned>> Route(const BlockWork& work,
                                              std::vector<float>* logits);
  // Calls use(step, weights) after each step's forward pass.
  using StepFn = std::function<absl::Status(const Step& step,
                                            absl::Span<const float> weights)>;
  absl::Status ForEachStep(const BlockWork& work,
                           const std::vector<Assigned>& experts,
                           const StepFn& use);
  absl::Status BackExperts(const BlockWork& work,
                           const std::vector<Assigned>& experts,
                           std::vector<float> shares);
  absl::Status AddRouter(const BlockWork& work,
                         const std::vector<float>& gradients);
  const GradientPlaces::FeedForward& places() const {
    return memory_->places().feed_forward;
  }

  DeviceContext* const context_;
  const GradientMemory* const memory_;
  GradientShowing showing_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_FEED_FORWARD_GRADIENT_H_
