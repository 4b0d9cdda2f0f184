// Phi-3, Phi-3.5 mini and Phi-4: queries, keys and values in one matrix, gate
// and up in another.
#include <cmath>
#include <optional>

#include "formats/arch/arch_metadata.h"
#include "formats/arch/arch_spec.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using P = TensorPresence;
using S = TensorSize;
using T = TensorTransform;

constexpr const char* kHfNames[] = {"Phi3ForCausalLM"};

constexpr TensorRule kRules[] = {
    {"model.embed_tokens.weight",
     "token_embd.weight",
     T::kNone,
     P::kAlways,
     {S::kVocab, S::kHidden}},
    {"model.norm.weight",
     "output_norm.weight",
     T::kNone,
     P::kAlways,
     {S::kHidden}},
    {"lm_head.weight",
     "output.weight",
     T::kNone,
     P::kUntied,
     {S::kVocab, S::kHidden}},
    {"model.layers.{}.input_layernorm.weight",
     "blk.{}.attn_norm.weight",
     T::kNone,
     P::kAlways,
     {S::kHidden}},
    {"model.layers.{}.post_attention_layernorm.weight",
     "blk.{}.ffn_norm.weight",
     T::kNone,
     P::kAlways,
     {S::kHidden}},
    {"model.layers.{}.self_attn.qkv_proj.weight",
     "blk.{}.attn_qkv.weight",
     T::kNone,
     P::kAlways,
     {S::kQkv, S::kHidden}},
    {"model.layers.{}.self_attn.o_proj.weight",
     "blk.{}.attn_output.weight",
     T::kNone,
     P::kAlways,
     {S::kHidden, S::kQuery}},
    {"model.layers.{}.mlp.gate_up_proj.weight",
     "blk.{}.ffn_up.weight",
     T::kNone,
     P::kAlways,
     {S::kTwoFfn, S::kHidden}},
    {"model.layers.{}.mlp.down_proj.weight",
     "blk.{}.ffn_down.weight",
     T::kNone,
     P::kAlways,
     {S::kHidden, S::kFfn}},
};

// Factor of cosines and sines under longrope. The stored one follows from the
// context lengths alone, whatever the config says of it.
absl::Status AddLeadingMetadata(const MetadataInputs& inputs,
                                Metadata* metadata) {
  const RopeScaling& scaling = inputs.config.rope_scaling;
  if (scaling.kind != RopeScaling::Kind::kLongRope) {
    return absl::OkStatus();
  }
  const double original = static_cast<double>(scaling.original_context);
  const double scale =
      static_cast<double>(inputs.config.context_length) / original;
  ArchKeys(inputs, metadata)
      .SetFloat(
          "rope.scaling.attn_factor",
          scale > 1 ? std::sqrt(1 + std::log(scale) / std::log(original)) : 1);
  return absl::OkStatus();
}

absl::Status AddMetadata(const MetadataInputs& inputs, Metadata* metadata) {
  const ModelConfig& c = inputs.config;
  ArchKeys keys(inputs, metadata);
  keys.SetSize("context_length", c.context_length);
  keys.SetSize("rope.scaling.original_context_length",
               inputs.hf.rope().original_context.value_or(c.context_length));
  keys.SetSize("embedding_length", c.hidden_size);
  keys.SetSize("feed_forward_length", c.ffn_size);
  keys.SetSize("block_count", c.n_layers);
  keys.SetSize("attention.head_count", c.n_heads);
  keys.SetSize("attention.head_count_kv", c.n_kv_heads);
  keys.SetFloat("attention.layer_norm_rms_epsilon", double{c.norm_eps});
  keys.SetSize("rope.dimension_count", c.rope_dim);
  keys.SetFloat("rope.freq_base", c.rope_theta);
  metadata->Set("general.file_type", static_cast<uint32_t>(inputs.file_type));
  // 0 tells Phi-4 from Phi-3.
  ASSIGN_OR_RETURN(const std::optional<int64_t> window,
                   inputs.hf.FindSize({"sliding_window"}, int64_t{0xffffffff}));
  keys.SetSize("attention.sliding_window", window.value_or(0));
  return absl::OkStatus();
}

}  // namespace

extern const ArchSpec kPhi3Arch;
const ArchSpec kPhi3Arch = {
    "phi3",
    kHfNames,
    kRules,
    {BlockTraits::Rope::kHalves, BlockTraits::Activation::kSilu,
     /*fused_qkv=*/true, /*fused_gate_up=*/true, /*qk_norm=*/false,
     /*post_norms=*/false},
    AddMetadata,
    AddLeadingMetadata,
};

}  // namespace narrow
