// The gradient of the loss at the last block's output: through the output
// matrix and the final norm.
//
//   LossGradient loss(&context, &weights, &tensors, seed);
//   RETURN_IF_ERROR(loss.Run(hidden, counts, first_token, labels, gradient,
//                            &total, observer));
//
// The loss is the sum over positions that count of -log p(label), so that a
// position's gradient at the logits is p - onehot(label). A label below 0 is
// drawn from p itself, which makes the mean of g g^T the Fisher information
// (Kunstner, Hennig and Balles, "Limitations of the empirical Fisher
// approximation", 2019, equation 3).
//
// Where a label is drawn, kDraws of them are, the label the first, and what
// goes back into the model is
//   g = sum over i of s_i onehot(draw i) / sqrt(kDraws),   s_i = -1, 1, -1, ...
// instead. Signs add up to 0 and squares to 1, so that its mean is 0 and its
// covariance that of p - onehot(label): the products <g g^T> of all layers have
// the same expectation. But the product of all probabilities with the output
// matrix, as costly as the logits, becomes a sum of kDraws of its rows, and
// what is drawn scatters less. Of a number X with variance v and fourth moment
// m about its mean, the square of such a sum has variance
//   2 v^2 + (m - 3 v^2) / kDraws,
// with one draw and its mean instead of others 2 v^2 + (m - 3 v^2): more where
// tails are heavier than a Gaussian's, as where a model is nearly sure. Draws
// at a position depend on the seed and the number of the token alone.
//
// Logits of some rows are held at a time, as many as fit kLogitBytes; the
// output matrix is decoded in slices where it does not fit the budget of
// `weights`. Belongs to one thread, and uses the context's.

#ifndef NARROW_CALIBRATION_BACKWARD_LAYERS_LOSS_GRADIENT_H_
#define NARROW_CALIBRATION_BACKWARD_LAYERS_LOSS_GRADIENT_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "calibration/backward/gradient_observer.h"
#include "calibration/backward/layers/decoded_weights.h"
#include "calibration/forward_context.h"
#include "calibration/model_runner.h"
#include "calibration/weights/block_tensors.h"

namespace narrow {

class LossGradient {
 public:
  static constexpr int kDraws = 16;  // an even number
  // Logits of rows that are held, and shown, at a time.
  static int64_t MostRows(int64_t n_vocab);
  // Of draw i; with it as the seed, that draw is the first one.
  static uint64_t SeedOfDraw(uint64_t seed, int i);

  LossGradient(ForwardContext* context, DecodedWeights* weights,
               const ModelTensors* tensors, uint64_t seed)
      : context_(context), weights_(weights), tensors_(tensors), seed_(seed) {}

  // One of `counts` and `labels` a token of `hidden`, the last block's output;
  // the first token is number `first_token`. Labels drawn are written.
  // `gradient` [n_tokens, hidden] is 0 for tokens that do not count. The loss
  // is added to `total`. The observer, which may be null, sees the gradients
  // at the logits before their soft cap, under the name output.weight: of the
  // labels, also where what goes back is of more draws.
  // InvalidArgument: a label outside the vocabulary; DataLoss: logits that are
  // not finite.
  absl::Status Run(const HiddenStates& hidden, const uint8_t* counts,
                   int64_t first_token, int32_t* labels, float* gradient,
                   double* total, GradientObserver* observer);

 private:
  absl::Status RunRows(const HiddenStates& hidden,
                       absl::Span<const int64_t> tokens, int64_t first_token,
                       int32_t* labels, float* gradient, double* total,
                       GradientObserver* observer);
  absl::Status Multiply(int64_t n_rows);
  absl::Status MultiplyBack(int64_t n_rows);
  absl::Status AddDraws(int64_t n_rows);
  // Calls use(first row, rows, values) for slices of the output matrix.
  absl::Status ForEachSlice(
      absl::FunctionRef<void(int64_t, int64_t, const float*)> use);
  // What goes back of a row whose label was drawn.
  struct Draws {
    bool drawn = false;
    int32_t tokens[kDraws] = {};
    float factors[kDraws] = {};  // with the slope of the soft cap there
  };

  // The row's logits become gradients; returns the loss.
  double Softmax(float* logits, int64_t token, int32_t* label,
                 Draws* draws) const;

  ForwardContext* const context_;
  DecodedWeights* const weights_;
  const ModelTensors* const tensors_;
  const uint64_t seed_;
  std::vector<float> normed_;    // [n_rows, hidden], then gradients there
  std::vector<float> logits_;    // [n_rows, vocabulary]
  std::vector<float> products_;  // [n_rows, hidden], of one slice
  std::vector<double> sums_;     // the same, of all
  std::vector<Draws> draws_;     // [n_rows]
  std::vector<float> slice_;     // rows of the output matrix
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_LAYERS_LOSS_GRADIENT_H_
