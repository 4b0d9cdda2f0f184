// The attention half of a block on a device; what it computes is in
// attention_layer.h.

#ifndef NARROW_CALIBRATION_DEVICE_DEVICE_ATTENTION_LAYER_H_
#define NARROW_CALIBRATION_DEVICE_DEVICE_ATTENTION_LAYER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "calibration/device/device_context.h"
#include "calibration/device/device_observing.h"
#include "calibration/model_runner.h"
#include "calibration/weights/block_tensors.h"
#include "kernels/attention/device/attention_threads.h"

namespace narrow {

// What AttentionTrace (attention_layer.h) has, on the device, rows of all the
// hidden states; nullptr where it is not wanted.
struct DeviceAttentionTrace {
  float* projected_qkv = nullptr;
  float* qkv = nullptr;
  float* output = nullptr;
  float* attended = nullptr;
};

class DeviceAttentionLayer {
 public:
  explicit DeviceAttentionLayer(DeviceContext* context) : context_(context) {}

  // `matrices` are the block's group, or empty if the end is kInput; `rope`
  // lies on the device. DataLoss as the runner's, with `block` in it.
  struct Rope {
    const float* cosines;
    const float* sines;
    int64_t n_pairs;
  };
  absl::Status Run(int64_t block, const BlockTensors& tensors,
                   absl::Span<const DeviceMatrix> matrices, const Rope& rope,
                   PartEnd end, DeviceObserving* observing,
                   HiddenStates* hidden,
                   const DeviceAttentionTrace* trace = nullptr);
  absl::Status End(int64_t block, const BlockTensors& tensors,
                   absl::Span<const DeviceMatrix> matrices, const float* inner,
                   HiddenStates* hidden);

 private:
  // Rows of whole windows.
  struct Step {
    const BlockTensors& tensors;
    absl::Span<const DeviceMatrix> matrices;
    int64_t first_row;
    int64_t n_rows;
  };

  absl::StatusOr<int64_t> Reserve(const HiddenStates& hidden);
  absl::Status CheckFlags(int64_t block, const BlockTensors& tensors,
                          const HiddenStates& hidden, FiniteFlags* flags);
  absl::Status ObserveInput(const Step& step, const DeviceRows& normed,
                            DeviceObserving* observing);
  absl::Status Project(const Step& step, const DeviceRows& normed);
  absl::Status NormAndRotate(const Step& step, const Rope& rope,
                             int64_t window_tokens);
  absl::StatusOr<DeviceRows> Attend(const Step& step, bool sliding,
                                    int64_t window_tokens);
  // On tensor cores, of what is in Room::kQkv; nothing where its rows do not
  // fit them.
  absl::StatusOr<bool> AttendInHalves(
      const attention_threads::AttentionTask& task);
  // `kept`, which may be null, gets what the layer gives.
  absl::Status AddOutput(const Step& step, const DeviceRows& attended,
                         float* kept, float* hidden);
  // Copies a step's rows to their place among all, if that is not null.
  absl::Status Keep(const Step& step, Room room, int64_t n_cols, float* all);
  int64_t Width() const;

  DeviceContext* const context_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_DEVICE_DEVICE_ATTENTION_LAYER_H_
