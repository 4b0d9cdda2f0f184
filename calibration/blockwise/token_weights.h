// What each calibration token counts in the statistics of a layer, for example
// the squared norm of the loss's gradient at the layer's output.
//
//   TokenWeights weights;
//   weights.layers["blk.0.attn_q.weight"] = shared;  // mean 1
//   request.weights = &weights;                      // observe_request.h
//   const TokenWeights::Values* w = weights.Find("blk.0.attn_q.weight");
//
// Layers fed by one input share their statistics, and the time they take,
// where they share the values themselves (the pointers). Plain values.

#ifndef NARROW_CALIBRATION_BLOCKWISE_TOKEN_WEIGHTS_H_
#define NARROW_CALIBRATION_BLOCKWISE_TOKEN_WEIGHTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow {

struct TokenWeights {
  // One a token of all samples, counted or not, [n_samples, sample_tokens];
  // finite and not negative. The mean should be 1 over those that count: sums
  // are then comparable with sums without weights.
  using Values = std::vector<float>;
  // By GGUF tensor name; of stacked tensors for all experts. Layers that are
  // missing, or nullptr: all 1.
  std::map<std::string, std::shared_ptr<const Values>> layers;

  // Of the tokens that one expert saw in the original model. A token that
  // the quantized model alone sends there counts 1, as on average.
  struct ExpertValues {
    std::vector<int64_t> tokens;  // sample * sample_tokens + place, rising
    Values weights;               // one of each; mean 1
  };
  // Goes before `layers`, expert by expert.
  std::map<std::pair<std::string, int>, std::shared_ptr<const ExpertValues>>
      experts;

  const Values* Find(absl::string_view name) const {
    const auto it = layers.find(std::string(name));
    return it == layers.end() ? nullptr : it->second.get();
  }
  const ExpertValues* FindExpert(absl::string_view name, int expert) const {
    const auto it = experts.find({std::string(name), expert});
    return it == experts.end() ? nullptr : it->second.get();
  }
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_TOKEN_WEIGHTS_H_
