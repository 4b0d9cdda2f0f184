// How much of a model's loss the noise of a tensor makes, beside that of the
// other tensors: which of them matter.
//
//   RoleWeights weights(names);         // of all matrices of the model
//   loss += weights.Of("blk.3.ffn_down.weight") * noise;
//
// A linear layer's output has the noise of its weights, relative to its
// energy, however many weights there are: a small matrix counts as much as a
// large one. So a role has a weight, which its layers share. The weights are
// measured: the KL divergence of a trained model of the llama family (4 blocks,
// 3.7M weights, WikiText-2) with one role alone in Q3_K. In percent: queries
// and keys 1 each, values 6, attention's output 4, gate 14, up 11, down 19, the
// matrix that is embedding and output at once 44; with matrices of their own,
// the output has most of that, since its noise is that of the logits. Only the
// order of file types is made of it. Immutable after construction.

#ifndef NARROW_CONVERTER_FIT_ROLE_WEIGHT_H_
#define NARROW_CONVERTER_FIT_ROLE_WEIGHT_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow {

class RoleWeights {
 public:
  // GGUF names of the model's matrices, each once.
  explicit RoleWeights(const std::vector<std::string>& names);

  // Of one matrix; 0 for a name that was not given. All sum to 1.
  double Of(absl::string_view name) const;

 private:
  double WeightOf(const std::string& role) const;

  std::map<std::string, int> n_by_role_;
  double total_ = 0;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_FIT_ROLE_WEIGHT_H_
