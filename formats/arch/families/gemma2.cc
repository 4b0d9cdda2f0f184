// Gemma 2. lm_head.weight, which some tools write, equals the embedding.
#include "formats/arch/arch_metadata.h"
#include "formats/arch/arch_spec.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using P = TensorPresence;
using S = TensorSize;
using T = TensorTransform;

constexpr const char* kHfNames[] = {"Gemma2ForCausalLM"};

constexpr TensorRule kRules[] = {
    {"model.embed_tokens.weight",
     "token_embd.weight",
     T::kNone,
     P::kAlways,
     {S::kVocab, S::kHidden}},
    {"model.norm.weight",
     "output_norm.weight",
     T::kAddOne,
     P::kAlways,
     {S::kHidden}},
    {"lm_head.weight",
     nullptr,
     T::kNone,
     P::kOptional,
     {S::kVocab, S::kHidden}},
    {"model.layers.{}.input_layernorm.weight",
     "blk.{}.attn_norm.weight",
     T::kAddOne,
     P::kAlways,
     {S::kHidden}},
    {"model.layers.{}.post_attention_layernorm.weight",
     "blk.{}.post_attention_norm.weight",
     T::kAddOne,
     P::kAlways,
     {S::kHidden}},
    {"model.layers.{}.pre_feedforward_layernorm.weight",
     "blk.{}.ffn_norm.weight",
     T::kAddOne,
     P::kAlways,
     {S::kHidden}},
    {"model.layers.{}.post_feedforward_layernorm.weight",
     "blk.{}.post_ffw_norm.weight",
     T::kAddOne,
     P::kAlways,
     {S::kHidden}},
    {"model.layers.{}.self_attn.q_proj.weight",
     "blk.{}.attn_q.weight",
     T::kNone,
     P::kAlways,
     {S::kQuery, S::kHidden}},
    {"model.layers.{}.self_attn.k_proj.weight",
     "blk.{}.attn_k.weight",
     T::kNone,
     P::kAlways,
     {S::kKey, S::kHidden}},
    {"model.layers.{}.self_attn.v_proj.weight",
     "blk.{}.attn_v.weight",
     T::kNone,
     P::kAlways,
     {S::kKey, S::kHidden}},
    {"model.layers.{}.self_attn.o_proj.weight",
     "blk.{}.attn_output.weight",
     T::kNone,
     P::kAlways,
     {S::kHidden, S::kQuery}},
    {"model.layers.{}.self_attn.q_proj.bias",
     "blk.{}.attn_q.bias",
     T::kNone,
     P::kAttentionBias,
     {S::kQuery}},
    {"model.layers.{}.self_attn.k_proj.bias",
     "blk.{}.attn_k.bias",
     T::kNone,
     P::kAttentionBias,
     {S::kKey}},
    {"model.layers.{}.self_attn.v_proj.bias",
     "blk.{}.attn_v.bias",
     T::kNone,
     P::kAttentionBias,
     {S::kKey}},
    {"model.layers.{}.self_attn.o_proj.bias",
     "blk.{}.attn_output.bias",
     T::kNone,
     P::kAttentionBias,
     {S::kHidden}},
    {"model.layers.{}.mlp.gate_proj.weight",
     "blk.{}.ffn_gate.weight",
     T::kNone,
     P::kAlways,
     {S::kFfn, S::kHidden}},
    {"model.layers.{}.mlp.up_proj.weight",
     "blk.{}.ffn_up.weight",
     T::kNone,
     P::kAlways,
     {S::kFfn, S::kHidden}},
    {"model.layers.{}.mlp.down_proj.weight",
     "blk.{}.ffn_down.weight",
     T::kNone,
     P::kAlways,
     {S::kHidden, S::kFfn}},
};

// No rotary keys: readers take theta 10000.
absl::Status AddMetadata(const MetadataInputs& inputs, Metadata* metadata) {
  const ModelConfig& c = inputs.config;
  ArchKeys keys(inputs, metadata);
  keys.SetSize("context_length", c.context_length);
  keys.SetSize("embedding_length", c.hidden_size);
  keys.SetSize("block_count", c.n_layers);
  keys.SetSize("feed_forward_length", c.ffn_size);
  keys.SetSize("attention.head_count", c.n_heads);
  keys.SetSize("attention.head_count_kv", c.n_kv_heads);
  keys.SetFloat("attention.layer_norm_rms_epsilon", double{c.norm_eps});
  keys.SetSize("attention.key_length", c.head_dim);
  keys.SetSize("attention.value_length", c.head_dim);
  metadata->Set("general.file_type", static_cast<uint32_t>(inputs.file_type));
  keys.SetFloat("attn_logit_softcapping", double{c.attn_logit_softcap});
  keys.SetFloat("final_logit_softcapping", double{c.final_logit_softcap});
  return keys.CopySize({"sliding_window"}, "attention.sliding_window");
}

}  // namespace

extern const ArchSpec kGemma2Arch;
const ArchSpec kGemma2Arch = {
    "gemma2",
    kHfNames,
    kRules,
    {BlockTraits::Rope::kHalves, BlockTraits::Activation::kGeluTanh,
     /*fused_qkv=*/false, /*fused_gate_up=*/false, /*qk_norm=*/false,
     /*post_norms=*/true},
    AddMetadata,
    nullptr,
};

}  // namespace narrow
