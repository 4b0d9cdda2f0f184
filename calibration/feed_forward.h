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
#include "calibration/block_tensors.h"
#include "calibration/forward_context.h"
#include "calibration/model_runner.h"

namespace narrow {

// One expert chosen for one row.
struct Choice {
  int64_t expert;
  float weight;
};

// The experts of a row with these logits, by index.
std::vector<Choice> ChooseExperts(absl::Span<const float> logits,
                                  int64_t n_used, bool rescale);

class FeedForward {
 public:
  explicit FeedForward(ForwardContext* context) : context_(context) {}

  absl::Status Run(const BlockTensors& block, Observer* observer,
                   HiddenStates* hidden);

 private:
  struct Assigned {
    int64_t row;
    float weight;
  };
  struct Matrices {
    std::shared_ptr<const PackedMatrix> gate, up, down;
  };

  absl::Status RunDense(const BlockTensors& block, Observer* observer,
                        HiddenStates* hidden);
  absl::Status RunExperts(const BlockTensors& block, Observer* observer,
                          HiddenStates* hidden);
  absl::StatusOr<std::vector<std::vector<Assigned>>> Route(
      const BlockTensors& block, Observer* observer,
      const HiddenStates& hidden);
  absl::Status RunExpert(const BlockTensors& block, int64_t expert,
                         absl::Span<const Assigned> assigned,
                         Observer* observer, const HiddenStates& hidden,
                         std::vector<float>* sums);
  absl::StatusOr<Matrices> Unpack(const WeightRows& gate, const WeightRows& up,
                                  const WeightRows& down);
  void NormRow(const BlockTensors& block, const float* hidden_row, int64_t r);
  // inner_ = act(gate(normed_)) * up(normed_).
  void Gate(const Matrices& matrices, const std::vector<float>& gate_bias,
            const std::vector<float>& up_bias);
  void AddRow(const BlockTensors& block, float* from, float* to) const;

  ForwardContext* const context_;
  // Working memory of one step, kept between steps.
  Activations normed_;
  Activations inner_;
  std::vector<float> projected_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_FEED_FORWARD_H_
