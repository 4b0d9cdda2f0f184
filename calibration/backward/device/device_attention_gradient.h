// The gradient of a block's attention half on a device; what it computes is in
// layers/attention_gradient.h.
//
// Queries go through in chunks of some tokens, all heads of a window at once:
// scores and gradients at shares are products of the chunk with the keys that
// it sees, [chunk, keys] numbers each, and so are the gradients at queries,
// keys and values. Sums have the processor's order (kernels/gradients/device/
// share_threads.h); beside its tiles' there are only products with 0.
//
// Where memory is short, windows go through some at a time, and what they
// gave, which no longer is there then, is computed again.

#ifndef NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_ATTENTION_GRADIENT_H_
#define NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_ATTENTION_GRADIENT_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "calibration/backward/device/block_work.h"
#include "calibration/backward/device/gradient_places.h"
#include "calibration/backward/device/gradient_showing.h"
#include "kernels/gradients/device/share_threads.h"

namespace narrow {

class DeviceAttentionGradient {
 public:
  // Pointers must outlive it; `layer` has the context's memory.
  DeviceAttentionGradient(DeviceContext* context, const GradientMemory* memory,
                          DeviceAttentionLayer* layer)
      : context_(context), memory_(memory), layer_(layer), showing_(context) {}

  // The half's forward pass over places().input into `hidden`, whose memory is
  // the device's. Whether it left a trace for Run.
  absl::StatusOr<bool> Forward(const BlockWork& work, HiddenStates* hidden);
  // places().gradient at what the half gave becomes that at its input.
  // `hidden` has room for it.
  absl::Status Run(const BlockWork& work, bool traced, HiddenStates* hidden);

 private:
  // Of queries, keys and values in a row.
  struct Layout {
    int64_t n_query, n_key, width;
  };
  // Some windows of the work.
  struct Part {
    const BlockWork& work;
    int64_t first_window;
    int64_t n_windows;
    int64_t first_row() const { return first_window * work.window_tokens; }
    int64_t n_rows() const { return n_windows * work.window_tokens; }
  };
  // What is shown when all parts are there.
  struct Shown {
    std::vector<float> output, norms, qkv;
  };

  absl::Status Trace(const Part& part, bool keep, HiddenStates* hidden);
  absl::Status OutputLayer(const Part& part);
  absl::Status Attend(const Part& part);
  absl::Status AttendChunk(int64_t row,
                           const gradient_threads::QueryChunk& chunk,
                           int64_t window);
  absl::Status AddKeyGradients(const gradient_threads::QueryChunk& chunk,
                               int64_t row, int64_t first_key, int64_t n_keys);
  absl::Status NormAndRotate(const Part& part);
  absl::Status AddInput(const Part& part);
  absl::Status Collect(const Part& part, Shown* shown);
  absl::Status ShowAll(const BlockWork& work, const Shown* collected);
  Layout layout() const;
  const GradientPlaces& places() const { return memory_->places(); }

  DeviceContext* const context_;
  const GradientMemory* const memory_;
  DeviceAttentionLayer* const layer_;
  GradientShowing showing_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_DEVICE_DEVICE_ATTENTION_GRADIENT_H_
