// The gradient of a block's feed-forward half (calibration/feed_forward.h).
//
//   RETURN_IF_ERROR(gradient.Run(block, input, observer, values));
//
// The half is computed again, some rows at a time, and each step's gradient
// is taken while it is there. Of experts: y = sum over the chosen of
// w_e f_e(x), so an expert gets w_e dy, and its weight <dy, f_e(x)>, which goes
// on to the router: with weights rescaled to sum to 1, w is the softmax of
// the chosen logits, else the chosen part of the softmax of all. Which
// experts are chosen is constant. Belongs to one thread, and uses the
// context's.

#ifndef NARROW_CALIBRATION_BACKWARD_LAYERS_FEED_FORWARD_GRADIENT_H_
#define NARROW_CALIBRATION_BACKWARD_LAYERS_FEED_FORWARD_GRADIENT_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "calibration/backward/gradient_observer.h"
#include "calibration/backward/layers/decoded_weights.h"
#include "calibration/feed_forward.h"
#include "calibration/forward_context.h"
#include "calibration/weights/block_tensors.h"

namespace narrow {

// The softmax of a row of the router's logits, in place.
void RouterSoftmax(int64_t n, float* row);
// Gradients at a row's weights, 0 for experts that were not chosen, become
// those at its logits. `shares`: what the weights are the chosen ones of.
void RouterSoftmaxGradient(const float* shares, int64_t n, float* gradient);

class FeedForwardGradient {
 public:
  FeedForwardGradient(ForwardContext* context, DecodedWeights* weights)
      : context_(context), weights_(weights), layer_(context) {}

  // `gradient` [rows, hidden] at the hidden states that the half gave becomes
  // that at `input`. `observer` may be null.
  absl::Status Run(const BlockTensors& block, const HiddenStates& input,
                   GradientObserver* observer, float* gradient);

 private:
  class Dense;
  class ExpertSums;
  class Experts;

  // From output_, the gradient at a step's outputs, to normed_, that at its
  // inputs.
  absl::Status BackStep(const BlockTensors& block, const FeedForwardStep& step,
                        GradientObserver* observer);
  std::vector<float> InputNorms(const FeedForwardStep& step, int64_t n_inner);
  absl::Status ObserveStep(const FeedForwardStep& step, const WeightRows& layer,
                           const float* rows, int64_t n_cols, int64_t stride,
                           const float* input_norms,
                           GradientObserver* observer) const;
  // gradient += that of the norm before the half, from `normed` at what it
  // gave for a row of `input`; `normed` is overwritten.
  void AddNormGradient(const BlockTensors& block, const float* input,
                       float* normed, float* gradient) const;

  ForwardContext* const context_;
  DecodedWeights* const weights_;
  FeedForward layer_;
  // Working memory of one step; gradients at ...
  std::vector<float> output_;   // [n_rows, hidden]
  std::vector<float> inner_;    // [n_rows, inner columns]
  std::vector<float> gate_up_;  // [n_rows, gates and ups]
  std::vector<float> normed_;   // [n_rows, hidden]
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_LAYERS_FEED_FORWARD_GRADIENT_H_
