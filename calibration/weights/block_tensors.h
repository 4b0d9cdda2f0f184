// A model's tensors as its forward pass needs them: found by name, checked
// for shape, fused ones taken apart, small vectors read.
//
//   ASSIGN_OR_RETURN(ModelTensors t, FindModelTensors(model));
//
// Pointers into the checkpoint, valid while it lives.

#ifndef NARROW_CALIBRATION_WEIGHTS_BLOCK_TENSORS_H_
#define NARROW_CALIBRATION_WEIGHTS_BLOCK_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// A weight matrix: rows of a tensor. A fused tensor holds several, a stacked
// one those of all experts.
struct WeightRows {
  const CheckpointTensor* tensor = nullptr;
  int64_t first_row = 0;
  int64_t n_rows = 0;

  const std::string& name() const { return tensor->meta.name; }
  int64_t n_cols() const { return tensor->meta.n_cols(); }
};

// One linear layer; `bias` is empty if there is none.
struct LinearTensors {
  WeightRows weight;
  std::vector<float> bias;
};

struct BlockTensors {
  std::vector<float> attn_norm, ffn_norm;
  std::vector<float> q_norm, k_norm;                 // with traits.qk_norm
  std::vector<float> post_attn_norm, post_ffn_norm;  // with traits.post_norms
  LinearTensors q, k, v, attn_output;
  LinearTensors gate, up, down;  // of a dense block

  // A block with experts; gate, up and down rows of expert e begin at
  // e * n_rows.
  bool has_experts = false;
  WeightRows router;
  WeightRows expert_gate, expert_up, expert_down;
};

struct ModelTensors {
  const CheckpointTensor* embedding = nullptr;
  WeightRows output;
  std::vector<float> output_norm;
  std::vector<BlockTensors> blocks;
};

// NotFound names a missing tensor, DataLoss one whose shape does not fit the
// configuration, with both; Unimplemented one whose type has no decoder.
absl::StatusOr<ModelTensors> FindModelTensors(const Checkpoint& model);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_WEIGHTS_BLOCK_TENSORS_H_
