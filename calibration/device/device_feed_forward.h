// The feed-forward half of a block on a device, dense or of experts; what it
// computes is in feed_forward.h.
//
// Experts: the router's logits come to the host, which chooses. Rows then lie
// expert after expert, a step's at a time, and one launch multiplies all of
// them where the device's kernel takes them (kernels/matmul/device), else one
// an expert.

#ifndef NARROW_CALIBRATION_DEVICE_DEVICE_FEED_FORWARD_H_
#define NARROW_CALIBRATION_DEVICE_DEVICE_FEED_FORWARD_H_

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "calibration/device/device_context.h"
#include "calibration/device/device_observing.h"
#include "calibration/model_runner.h"
#include "calibration/weights/block_tensors.h"

namespace narrow {

class DeviceFeedForward {
 public:
  explicit DeviceFeedForward(DeviceContext* context) : context_(context) {}

  // As DeviceAttentionLayer's.
  absl::Status Run(int64_t block, const BlockTensors& tensors,
                   absl::Span<const DeviceMatrix> matrices, PartEnd end,
                   DeviceObserving* observing, HiddenStates* hidden);
  absl::Status EndDense(int64_t block, const BlockTensors& tensors,
                        absl::Span<const DeviceMatrix> matrices,
                        const float* inner, HiddenStates* hidden);
  // Routers are read again.
  void Forget() { routers_.clear(); }

 private:
  struct Step {
    const BlockTensors& tensors;
    absl::Span<const DeviceMatrix> matrices;
    int64_t first_row;
    int64_t n_rows;
    PartEnd end;
  };
  // The rows of a step by expert.
  struct Assignment {
    std::vector<int64_t> offsets;  // [n_experts + 1]
    std::vector<int32_t> tokens;   // of the step, by row
    std::vector<int32_t> rows;     // [n_rows of the step, n_used]
    std::vector<float> weights;    // likewise
    int64_t n_rows() const { return offsets.back(); }
  };

  absl::StatusOr<int64_t> Reserve(const BlockTensors& tensors, int64_t n_all);
  absl::Status CheckHidden(int64_t block, const HiddenStates& hidden,
                           FiniteFlags* flags);
  absl::Status RunDense(const Step& step, const DeviceRows& normed,
                        DeviceObserving* observing, float* hidden);
  absl::Status AddDense(const Step& step, const DeviceRows& inner,
                        float* hidden);
  // The gate's product of n_rows rows into the rooms of inner rows.
  absl::StatusOr<DeviceRows> Gate(int64_t n_rows, int64_t n_cols, bool floats);

  absl::Status RunExperts(const Step& step, const DeviceRows& normed,
                          DeviceObserving* observing, float* hidden);
  absl::StatusOr<const float*> RouterOf(const BlockTensors& tensors);
  absl::StatusOr<Assignment> Route(const Step& step, const DeviceRows& normed);
  absl::Status ShowExperts(const Step& step, const Assignment& assignment,
                           const float* rows, int64_t n_cols,
                           absl::Span<const WeightRows* const> weights,
                           DeviceObserving* observing);
  // out = each expert's rows times its matrix of the stack.
  absl::Status MultiplyExperts(const Assignment& assignment,
                               const DeviceRows& rows,
                               const DeviceMatrix& stack, float* out);
  absl::Status Combine(const Step& step, const Assignment& assignment,
                       float* hidden);

  DeviceContext* const context_;
  std::map<const CheckpointTensor*, DeviceBuffer> routers_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_DEVICE_FEED_FORWARD_H_
