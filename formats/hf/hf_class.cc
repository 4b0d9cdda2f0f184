#include "formats/hf/hf_class.h"

namespace narrow {
namespace {

// Defaults as of transformers 5.23, only those that reach a GGUF file or the
// computation. tools/make_arch_goldens.py records what they lead to.
constexpr HfClass kClasses[] = {
    {"llama", "LlamaForCausalLM", WindowRule::kNever, false, false, 10000, true,
     true, R"({
       "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
       "num_hidden_layers": 32, "num_attention_heads": 32,
       "num_key_value_heads": null, "head_dim": null, "hidden_act": "silu",
       "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
       "tie_word_embeddings": false, "attention_bias": false,
       "mlp_bias": false})"},
    {"mistral", "MistralForCausalLM", WindowRule::kAllLayers, false, false,
     10000, true, true, R"({
       "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
       "num_hidden_layers": 32, "num_attention_heads": 32,
       "num_key_value_heads": 8, "head_dim": null, "hidden_act": "silu",
       "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
       "tie_word_embeddings": false, "sliding_window": 4096})"},
    {"mixtral", "MixtralForCausalLM", WindowRule::kAllLayers, false, false,
     1000000, true, false, R"({
       "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
       "num_hidden_layers": 32, "num_attention_heads": 32,
       "num_key_value_heads": 8, "head_dim": null, "hidden_act": "silu",
       "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
       "tie_word_embeddings": false, "sliding_window": null,
       "num_experts_per_tok": 2, "num_local_experts": 8})"},
    {"qwen2", "Qwen2ForCausalLM", WindowRule::kLateLayers, true, true, 10000,
     true, false, R"({
       "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
       "num_hidden_layers": 32, "num_attention_heads": 32,
       "num_key_value_heads": 32, "hidden_act": "silu",
       "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
       "tie_word_embeddings": false, "use_sliding_window": false,
       "sliding_window": 4096, "max_window_layers": 28})"},
    {"qwen3", "Qwen3ForCausalLM", WindowRule::kLateLayers, true, true, 10000,
     true, false, R"({
       "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
       "num_hidden_layers": 32, "num_attention_heads": 32,
       "num_key_value_heads": 32, "head_dim": 128, "hidden_act": "silu",
       "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
       "tie_word_embeddings": false, "attention_bias": false,
       "use_sliding_window": false, "sliding_window": 4096,
       "max_window_layers": 28})"},
    {"qwen3_moe", "Qwen3MoeForCausalLM", WindowRule::kAllLayers, true, false,
     10000, false, false, R"({
       "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144,
       "num_hidden_layers": 24, "num_attention_heads": 32,
       "num_key_value_heads": 4, "hidden_act": "silu",
       "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
       "tie_word_embeddings": false, "attention_bias": false,
       "use_sliding_window": false, "sliding_window": 4096,
       "decoder_sparse_step": 1, "moe_intermediate_size": 768,
       "num_experts_per_tok": 8, "num_experts": 128,
       "norm_topk_prob": false})"},
    {"gemma2", "Gemma2ForCausalLM", WindowRule::kAlternate, false, true, 10000,
     false, false, R"({
       "vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216,
       "num_hidden_layers": 26, "num_attention_heads": 8,
       "num_key_value_heads": 4, "head_dim": 256,
       "hidden_activation": "gelu_pytorch_tanh",
       "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
       "tie_word_embeddings": true, "attention_bias": false,
       "query_pre_attn_scalar": 256, "sliding_window": 4096,
       "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0})"},
    {"gemma3_text", "Gemma3ForCausalLM", WindowRule::kPattern, false, true,
     1000000, false, false, R"({
       "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216,
       "num_hidden_layers": 26, "num_attention_heads": 8,
       "num_key_value_heads": 4, "head_dim": 256,
       "hidden_activation": "gelu_pytorch_tanh",
       "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
       "tie_word_embeddings": true, "attention_bias": false,
       "query_pre_attn_scalar": 256, "sliding_window": 4096,
       "final_logit_softcapping": null, "attn_logit_softcapping": null,
       "use_bidirectional_attention": false})"},
    {"phi3", "Phi3ForCausalLM", WindowRule::kAllLayers, false, false, 10000,
     true, false, R"({
       "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192,
       "num_hidden_layers": 32, "num_attention_heads": 32,
       "num_key_value_heads": null, "hidden_act": "silu",
       "max_position_embeddings": 4096,
       "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
       "tie_word_embeddings": false, "sliding_window": null})"},
};

}  // namespace

absl::Span<const HfClass> AllHfClasses() { return kClasses; }

const HfClass* FindHfClass(absl::string_view model_type) {
  for (const HfClass& c : kClasses) {
    if (model_type == c.model_type) {
      return &c;
    }
  }
  return nullptr;
}

const HfClass* FindHfClassOfArchitecture(absl::string_view architecture) {
  for (const HfClass& c : kClasses) {
    if (architecture == c.architecture) {
      return &c;
    }
  }
  return nullptr;
}

}  // namespace narrow
