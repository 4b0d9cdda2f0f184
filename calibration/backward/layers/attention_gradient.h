// The gradient of a block's attention half (calibration/attention_layer.h).
//
//   AttentionTrace trace;   // of the run over `input`
//   RETURN_IF_ERROR(gradient.Run(block, sliding, transposed, input, trace,
//                                observer, values));
//
// With p = softmax(s), s = cap(scale q k), o = p v:
//   dv = p^T do,  dp = do v^T,  ds = p (dp - sum_keys p dp),
//   dq = scale ds k,  dk = scale ds^T q,
// the cap's slope between. The scores are computed again, a tile of
// queries at a time, for all heads that share a key-value head; a task is one
// key-value head of one window, so that every sum has one order.
// Belongs to one thread, and uses the context's.

#ifndef NARROW_CALIBRATION_BACKWARD_LAYERS_ATTENTION_GRADIENT_H_
#define NARROW_CALIBRATION_BACKWARD_LAYERS_ATTENTION_GRADIENT_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "calibration/attention_layer.h"
#include "calibration/backward/gradient_observer.h"
#include "calibration/backward/layers/decoded_weights.h"
#include "calibration/forward_context.h"
#include "calibration/rope_table.h"
#include "calibration/weights/block_tensors.h"

namespace narrow {

class AttentionGradient {
 public:
  AttentionGradient(ForwardContext* context, DecodedWeights* weights)
      : context_(context), weights_(weights) {}

  // `gradient` [rows, hidden] at the hidden states that the half gave becomes
  // that at `input`. `transposed` turns by the opposite angles. `observer` may
  // be null.
  absl::Status Run(const BlockTensors& block, bool sliding,
                   const RopeTable& transposed, const HiddenStates& input,
                   const AttentionTrace& trace, GradientObserver* observer,
                   float* gradient);

 private:
  // Of queries, keys and values in a row of qkv_.
  struct Layout {
    int64_t n_query, n_key, width;
  };

  absl::Status OutputLayer(const BlockTensors& block,
                           const AttentionTrace& trace,
                           GradientObserver* observer, const float* gradient);
  void Attend(bool sliding, int64_t n_windows, int64_t window_tokens,
              const float* qkv);
  void NormAndRotate(const BlockTensors& block, const RopeTable& transposed,
                     int64_t window_tokens, const AttentionTrace& trace);
  absl::Status ObserveInputs(const BlockTensors& block,
                             GradientObserver* observer) const;
  Layout layout() const;

  ForwardContext* const context_;
  DecodedWeights* const weights_;
  // Working memory of one run; gradients at ...
  int64_t n_rows_ = 0;
  std::vector<float> output_;    // what the output layer gave
  std::vector<float> attended_;  // what it was given
  std::vector<float> qkv_;
  std::vector<float> normed_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_LAYERS_ATTENTION_GRADIENT_H_
