// The feed-forward half of a block: hidden += down(act(gate(x)) * up(x)), x =
// norm(hidden); or the weighted sum of what the chosen experts make of x.
//
// Experts: the router's logits of all experts go through a softmax, the
// n_experts_used largest are chosen, the lower index of equals, and are
// rescaled to sum to 1 where the configuration says so. (Mixtral's order,
// choose and then softmax, gives the same numbers as choose and rescale.)
// Rows are gathered by expert, in order; each expert's weights are unpacked
// once a block, and a token's experts are added in order of index, so that
// grouping does not matter.

#ifndef NARROW_CALIBRATION_FEED_FORWARD_H_
#define NARROW_CALIBRATION_FEED_FORWARD_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "calibration/forward_context.h"
#include "calibration/model_runner.h"
#include "calibration/weights/block_tensors.h"

namespace narrow {

// One expert chosen for one row.
struct Choice {
  int64_t expert;
  float weight;
};

// The experts of a row with these logits, by index.
std::vector<Choice> ChooseExperts(absl::Span<const float> logits,
                                  int64_t n_used, bool rescale);

// Some rows on their way through a dense layer or one expert. Borrows, until
// the call that shows it returns.
struct FeedForwardStep {
  int expert = -1;  // -1: a dense layer
  int64_t n_rows = 0;
  // Row r is of token tokens[r] and counts weights[r] times; of token
  // first_token + r, and once, where they are empty (dense layers).
  int64_t first_token = 0;
  absl::Span<const int64_t> tokens;
  absl::Span<const float> weights;
  // [n_rows, inner columns], before the activation.
  const float* gates = nullptr;
  const float* ups = nullptr;
  // [n_rows, hidden], before the norm of the output; of dense layers only
  // where there is one, else nullptr.
  const float* outputs = nullptr;

  int64_t token(int64_t row) const {
    return tokens.empty() ? first_token + row
                          : tokens[static_cast<size_t>(row)];
  }
};

// Sees what the layer computes on the way; for its gradient
// (calibration/backward/).
class FeedForwardTrace {
 public:
  virtual ~FeedForwardTrace() = default;
  // Logits of the experts, [n_rows, n_experts], of tokens from first_token on;
  // all of them before the first step.
  virtual absl::Status OnRouter(int64_t first_token, int64_t n_rows,
                                const float* logits) = 0;
  // Steps of a dense layer, or expert after expert, in order of tokens.
  virtual absl::Status OnStep(const FeedForwardStep& step) = 0;
};

class FeedForward {
 public:
  explicit FeedForward(ForwardContext* context) : context_(context) {}

  // Up to `end`.
  absl::Status Run(const BlockTensors& block, PartEnd end, Observer* observer,
                   HiddenStates* hidden);
  // What Run to kOutput does after kInner, where `inner` are the rows that the
  // last matrix saw, [rows of hidden, its columns]. REQUIRES: a dense block.
  absl::Status EndDense(const BlockTensors& block, const float* inner,
                        HiddenStates* hidden);
  // Computes the same as Run, shows it and adds it to nothing.
  absl::Status Trace(const BlockTensors& block, const HiddenStates& hidden,
                     FeedForwardTrace* trace);

 private:
  struct Assigned {
    int64_t row;
    float weight;
  };
  struct Matrices {
    std::shared_ptr<const PackedMatrix> gate, up, down;
  };

  absl::Status RunDense(const BlockTensors& block, PartEnd end,
                        Observer* observer, HiddenStates* hidden);
  absl::Status RunExperts(const BlockTensors& block, PartEnd end,
                          Observer* observer, HiddenStates* hidden);
  absl::Status TraceDense(const BlockTensors& block, const HiddenStates& hidden,
                          FeedForwardTrace* trace);
  absl::Status TraceExperts(const BlockTensors& block,
                            const HiddenStates& hidden,
                            FeedForwardTrace* trace);
  // `trace` may be null.
  absl::StatusOr<std::vector<std::vector<Assigned>>> Route(
      const BlockTensors& block, Observer* observer, const HiddenStates& hidden,
      FeedForwardTrace* trace);
  absl::Status RunExpert(const BlockTensors& block, int64_t expert,
                         absl::Span<const Assigned> assigned, PartEnd end,
                         Observer* observer, const HiddenStates& hidden,
                         std::vector<float>* sums);
  absl::StatusOr<Matrices> Unpack(const WeightRows& gate, const WeightRows& up,
                                  const WeightRows& down, PartEnd end);
  absl::StatusOr<Matrices> UnpackExpert(const BlockTensors& block,
                                        int64_t expert, PartEnd end);
  absl::Status TraceExpert(const BlockTensors& block, int64_t expert,
                           absl::Span<const Assigned> assigned,
                           const HiddenStates& hidden, FeedForwardTrace* trace);
  void NormRow(const BlockTensors& block, const float* hidden_row, int64_t r);
  // normed_ = the norms of n_rows rows from `from` on, or of some.
  void NormRows(const BlockTensors& block, const float* from, int64_t n_rows);
  void NormAssigned(const BlockTensors& block, const HiddenStates& hidden,
                    absl::Span<const Assigned> assigned);
  // inner_ = act(gate(normed_)) * up(normed_); with `keep`, gates_ and ups_ get
  // the factors before the activation.
  void Gate(const Matrices& matrices, const std::vector<float>& gate_bias,
            const std::vector<float>& up_bias, bool keep = false);
  // projected_ = down(inner_).
  void Project(const Matrices& matrices, const std::vector<float>& bias);
  void AddRow(const BlockTensors& block, float* from, float* to) const;
  void AddDense(const BlockTensors& block, const Matrices& matrices,
                float* residual);

  ForwardContext* const context_;
  // Working memory of one step, kept between steps.
  Activations normed_;
  Activations inner_;
  std::vector<float> projected_;
  std::vector<float> gates_, ups_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_FEED_FORWARD_H_
