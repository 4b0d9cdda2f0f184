#include "calibration/weights/block_tensors.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/weights/weights.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// Finds the tensors of one block, or with an empty prefix of the model.
class Finder {
 public:
  Finder(const Checkpoint& model, std::string prefix)
      : model_(model), prefix_(std::move(prefix)) {}

  bool Has(absl::string_view name) const {
    return model_.Find(absl::StrCat(prefix_, name)) != nullptr;
  }

  absl::StatusOr<const CheckpointTensor*> Find(
      absl::string_view short_name, const std::vector<int64_t>& shape) const {
    const std::string name = absl::StrCat(prefix_, short_name);
    const CheckpointTensor* tensor = model_.Find(name);
    if (tensor == nullptr) {
      return absl::NotFoundError(absl::StrCat(
          "tensor '", name, "' is missing; reading ", model_.path()));
    }
    if (tensor->meta.shape != shape) {
      return absl::DataLossError(absl::StrCat(
          "tensor '", name, "' is ", ShapeString(tensor->meta.shape),
          ", the configuration needs ", ShapeString(shape), "; at offset ",
          tensor->origin.offset, "; reading ", tensor->origin.file));
    }
    if (FindCodec(tensor->stored) == nullptr) {
      return absl::UnimplementedError(absl::StrCat(
          "tensor '", name, "' is stored as ", TypeName(tensor->stored),
          ", which cannot be decoded; reading ", tensor->origin.file));
    }
    return tensor;
  }

  absl::Status Vector(absl::string_view name, int64_t size,
                      std::vector<float>* out) const {
    ASSIGN_OR_RETURN(const CheckpointTensor* tensor, Find(name, {size}));
    out->resize(static_cast<size_t>(size));
    return ReadRows(model_, *tensor, 0, 1, out->data());
  }

  absl::Status Weight(absl::string_view name, int64_t n_rows, int64_t n_cols,
                      WeightRows* out) const {
    ASSIGN_OR_RETURN(const CheckpointTensor* tensor,
                     Find(name, {n_rows, n_cols}));
    *out = {tensor, 0, n_rows};
    return absl::OkStatus();
  }

  // `name`.weight and, where there is one, `name`.bias.
  absl::Status Linear(absl::string_view name, int64_t n_rows, int64_t n_cols,
                      LinearTensors* out) const {
    RETURN_IF_ERROR(
        Weight(absl::StrCat(name, ".weight"), n_rows, n_cols, &out->weight));
    const std::string bias = absl::StrCat(name, ".bias");
    return Has(bias) ? Vector(bias, n_rows, &out->bias) : absl::OkStatus();
  }

  absl::Status Stacked(absl::string_view name, int64_t n, int64_t n_rows,
                       int64_t n_cols, WeightRows* out) const {
    ASSIGN_OR_RETURN(const CheckpointTensor* tensor,
                     Find(name, {n, n_rows, n_cols}));
    *out = {tensor, 0, n_rows};
    return absl::OkStatus();
  }

 private:
  const Checkpoint& model_;
  const std::string prefix_;
};

// The rows [first, first + n) of a fused layer, as a layer.
LinearTensors Part(const LinearTensors& whole, int64_t first, int64_t n) {
  LinearTensors part;
  part.weight = {whole.weight.tensor, first, n};
  if (!whole.bias.empty()) {
    part.bias.assign(whole.bias.begin() + first,
                     whole.bias.begin() + first + n);
  }
  return part;
}

absl::Status FindAttention(const Finder& find, const ModelConfig& c,
                           const BlockTraits& traits, BlockTensors* block) {
  const int64_t n_query = c.n_heads * c.head_dim;
  const int64_t n_key = c.n_kv_heads * c.head_dim;
  if (traits.fused_qkv) {
    LinearTensors qkv;
    RETURN_IF_ERROR(
        find.Linear("attn_qkv", n_query + 2 * n_key, c.hidden_size, &qkv));
    block->q = Part(qkv, 0, n_query);
    block->k = Part(qkv, n_query, n_key);
    block->v = Part(qkv, n_query + n_key, n_key);
  } else {
    RETURN_IF_ERROR(find.Linear("attn_q", n_query, c.hidden_size, &block->q));
    RETURN_IF_ERROR(find.Linear("attn_k", n_key, c.hidden_size, &block->k));
    RETURN_IF_ERROR(find.Linear("attn_v", n_key, c.hidden_size, &block->v));
  }
  if (traits.qk_norm) {
    RETURN_IF_ERROR(
        find.Vector("attn_q_norm.weight", c.head_dim, &block->q_norm));
    RETURN_IF_ERROR(
        find.Vector("attn_k_norm.weight", c.head_dim, &block->k_norm));
  }
  return find.Linear("attn_output", c.hidden_size, n_query,
                     &block->attn_output);
}

absl::Status FindFeedForward(const Finder& find, const ModelConfig& c,
                             const BlockTraits& traits, BlockTensors* block) {
  // A model with experts may have dense blocks; the router tells.
  block->has_experts = c.n_experts > 0 && find.Has("ffn_gate_inp.weight");
  if (block->has_experts) {
    RETURN_IF_ERROR(find.Weight("ffn_gate_inp.weight", c.n_experts,
                                c.hidden_size, &block->router));
    RETURN_IF_ERROR(find.Stacked("ffn_gate_exps.weight", c.n_experts,
                                 c.expert_ffn_size, c.hidden_size,
                                 &block->expert_gate));
    RETURN_IF_ERROR(find.Stacked("ffn_up_exps.weight", c.n_experts,
                                 c.expert_ffn_size, c.hidden_size,
                                 &block->expert_up));
    return find.Stacked("ffn_down_exps.weight", c.n_experts, c.hidden_size,
                        c.expert_ffn_size, &block->expert_down);
  }
  if (traits.fused_gate_up) {
    LinearTensors fused;
    RETURN_IF_ERROR(
        find.Linear("ffn_up", 2 * c.ffn_size, c.hidden_size, &fused));
    block->gate = Part(fused, 0, c.ffn_size);
    block->up = Part(fused, c.ffn_size, c.ffn_size);
  } else {
    RETURN_IF_ERROR(
        find.Linear("ffn_gate", c.ffn_size, c.hidden_size, &block->gate));
    RETURN_IF_ERROR(
        find.Linear("ffn_up", c.ffn_size, c.hidden_size, &block->up));
  }
  return find.Linear("ffn_down", c.hidden_size, c.ffn_size, &block->down);
}

absl::Status FindBlock(const Finder& find, const ModelConfig& c,
                       const BlockTraits& traits, BlockTensors* block) {
  RETURN_IF_ERROR(
      find.Vector("attn_norm.weight", c.hidden_size, &block->attn_norm));
  RETURN_IF_ERROR(
      find.Vector("ffn_norm.weight", c.hidden_size, &block->ffn_norm));
  if (traits.post_norms) {
    RETURN_IF_ERROR(find.Vector("post_attention_norm.weight", c.hidden_size,
                                &block->post_attn_norm));
    RETURN_IF_ERROR(find.Vector("post_ffw_norm.weight", c.hidden_size,
                                &block->post_ffn_norm));
  }
  RETURN_IF_ERROR(FindAttention(find, c, traits, block));
  return FindFeedForward(find, c, traits, block);
}

}  // namespace

absl::StatusOr<ModelTensors> FindModelTensors(const Checkpoint& model) {
  const ModelConfig& c = model.config();
  ModelTensors tensors;
  const Finder find(model, "");
  ASSIGN_OR_RETURN(tensors.embedding, find.Find("token_embd.weight",
                                                {c.vocab_size, c.hidden_size}));
  // Without an output matrix the embedding serves as one.
  RETURN_IF_ERROR(find.Weight(
      find.Has("output.weight") ? "output.weight" : "token_embd.weight",
      c.vocab_size, c.hidden_size, &tensors.output));
  RETURN_IF_ERROR(
      find.Vector("output_norm.weight", c.hidden_size, &tensors.output_norm));
  for (int64_t i = 0; i < c.n_layers; ++i) {
    tensors.blocks.emplace_back();
    RETURN_IF_ERROR(FindBlock(Finder(model, absl::StrCat("blk.", i, ".")), c,
                              model.arch()->traits, &tensors.blocks.back()));
  }
  return tensors;
}

}  // namespace narrow
