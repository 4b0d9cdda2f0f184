// Qwen2 and Qwen2.5.
#include "formats/arch/arch_metadata.h"
#include "formats/arch/arch_spec.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using P = TensorPresence;
using S = TensorSize;
using T = TensorTransform;

constexpr const char* kHfNames[] = {"Qwen2ForCausalLM"};

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
     P::kAlways,
     {S::kQuery}},
    {"model.layers.{}.self_attn.k_proj.bias",
     "blk.{}.attn_k.bias",
     T::kNone,
     P::kAlways,
     {S::kKey}},
    {"model.layers.{}.self_attn.v_proj.bias",
     "blk.{}.attn_v.bias",
     T::kNone,
     P::kAlways,
     {S::kKey}},
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
  return AddPoolingMetadata(inputs, metadata);
}

}  // namespace

extern const ArchSpec kQwen2Arch;
const ArchSpec kQwen2Arch = {
    "qwen2",
    kHfNames,
    kRules,
    {BlockTraits::Rope::kHalves, BlockTraits::Activation::kSilu,
     /*fused_qkv=*/false, /*fused_gate_up=*/false, /*qk_norm=*/false,
     /*post_norms=*/false},
    AddMetadata,
    nullptr,
};

}  // namespace narrow
