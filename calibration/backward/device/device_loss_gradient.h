// The gradient of the loss on a device; what it computes is in
// layers/loss_gradient.h, and its bits are these.
//
// The output matrix comes in the slices of DeviceContext. Where memory allows,
// logits of more rows than the processor's are there at once, so that a matrix
// that does not stay on the device is read less often; observers see them in
// the processor's pieces.

#ifndef NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_LOSS_GRADIENT_H_
#define NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_LOSS_GRADIENT_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "calibration/backward/device/gradient_places.h"
#include "calibration/backward/device/gradient_showing.h"
#include "calibration/backward/gradient_observer.h"
#include "calibration/device/device_context.h"

namespace narrow {

class DeviceLossGradient {
 public:
  // Pointers must outlive it.
  DeviceLossGradient(DeviceContext* context, const ModelTensors* tensors,
                     const GradientMemory* memory, uint64_t seed)
      : context_(context),
        tensors_(tensors),
        memory_(memory),
        showing_(context),
        seed_(seed) {}

  // As LossGradient::Run, of hidden states in places().input; the gradients
  // are left in places().gradient.
  absl::Status Run(int64_t n_tokens, const uint8_t* counts, int64_t first_token,
                   int32_t* labels, double* total, GradientObserver* observer);

 private:
  // Rows of logits that are worked on together.
  struct Rows {
    absl::Span<const int64_t> tokens;
    int64_t first_token;
    int32_t* labels;
    GradientObserver* observer;
    gradient_threads::LogitRows logits;

    int64_t n() const { return static_cast<int64_t>(tokens.size()); }
  };
  using SliceFn = std::function<absl::Status(int64_t first_token,
                                             const DeviceMatrix& weights)>;

  absl::Status RunSome(Rows* rows, double* total);
  absl::Status Multiply(const Rows& rows);
  absl::Status DrawLabels(Rows* rows, double* total);
  absl::Status AddLosses(Rows* rows,
                         const std::vector<gradient_threads::RowDraws>& draws,
                         double* total) const;
  // The gradients at the normed states, to places().loss.normed; `given` as
  // labels were before draws.
  absl::Status GoBack(const Rows& rows, const std::vector<int32_t>& given);
  absl::Status AddDraws(const Rows& rows, const std::vector<int32_t>& given);
  absl::Status MultiplyBack(const Rows& rows, int64_t first, int64_t n);
  absl::Status ForEachSlice(const SliceFn& use);
  const GradientPlaces::Loss& places() const { return memory_->places().loss; }

  DeviceContext* const context_;
  const ModelTensors* const tensors_;
  const GradientMemory* const memory_;
  GradientShowing showing_;
  const uint64_t seed_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_LOSS_GRADIENT_H_
