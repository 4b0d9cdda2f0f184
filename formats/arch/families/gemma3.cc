// Gemma 3: the text model alone, and the text part of the multimodal one.
#include "formats/arch/arch_metadata.h"
#include "formats/arch/arch_spec.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using P = TensorPresence;
using S = TensorSize;
using T = TensorTransform;

constexpr const char* kHfNames[] = {"Gemma3ForCausalLM",
                                    "Gemma3ForConditionalGeneration"};

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
     "output.weight",
     T::kNone,
     P::kUntied,
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
    {"model.layers.{}.self_attn.q_norm.weight",
     "blk.{}.attn_q_norm.weight",
     T::kAddOne,
     P::kAlways,
     {S::kHeadDim}},
    {"model.layers.{}.self_attn.k_norm.weight",
     "blk.{}.attn_k_norm.weight",
     T::kAddOne,
     P::kAlways,
     {S::kHeadDim}},
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

absl::Status AddMetadata(const MetadataInputs& inputs, Metadata* metadata) {
  RETURN_IF_ERROR(AddCommonMetadata(inputs, metadata));
  ArchKeys keys(inputs, metadata);
  // Already there unless the config left them out without a default.
  keys.SetSize("attention.key_length", inputs.config.head_dim);
  keys.SetSize("attention.value_length", inputs.config.head_dim);
  if (inputs.config.final_logit_softcap != 0) {
    keys.SetFloat("final_logit_softcapping",
                  double{inputs.config.final_logit_softcap});
  }
  ASSIGN_OR_RETURN(
      const std::optional<int64_t> pattern,
      inputs.hf.FindSize({"sliding_window_pattern"}, int64_t{1} << 31));
  if (pattern == 1) {
    return absl::OkStatus();
  }
  return keys.CopySize({"sliding_window"}, "attention.sliding_window");
}

}  // namespace

extern const ArchSpec kGemma3Arch;
const ArchSpec kGemma3Arch = {
    "gemma3",
    kHfNames,
    kRules,
    {BlockTraits::Rope::kHalves, BlockTraits::Activation::kGeluTanh,
     /*fused_qkv=*/false, /*fused_gate_up=*/false, /*qk_norm=*/true,
     /*post_norms=*/true},
    AddMetadata,
    nullptr,
};

}  // namespace narrow
