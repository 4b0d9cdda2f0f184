// Hyperparameters of a decoder-only language model, neutral to the container:
// read from a Hugging Face config.json or from GGUF metadata.
//
// A plain value. Sizes are checked when it is made: positive, bounded, heads
// divisible by key-value heads, so users may multiply them.

#ifndef NARROW_FORMATS_ARCH_MODEL_CONFIG_H_
#define NARROW_FORMATS_ARCH_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace narrow {

// How rotary angles are stretched beyond the trained context.
struct RopeScaling {
  enum class Kind { kNone, kLinear, kDynamic, kLlama3, kYarn, kLongRope };
  Kind kind = Kind::kNone;
  double factor = 1;
  double low_freq_factor = 1;   // llama3
  double high_freq_factor = 4;  // llama3
  int64_t original_context = 0;
  double beta_fast = 32;  // yarn
  double beta_slow = 1;   // yarn
  bool truncate = true;   // yarn: bounds of the ramp are whole dimensions
  // llama3: one divisor a frequency, [rope_dim / 2]; also the tensor
  // rope_freqs.weight.
  std::vector<float> freq_factors;
  // longrope: one divisor a frequency, [rope_dim / 2] each.
  std::vector<float> long_factors;
  std::vector<float> short_factors;
  // Multiplies cosines and sines; 1 when the kind has none.
  float attention_factor = 1;
};

struct ModelConfig {
  std::string arch;  // general.architecture of GGUF: llama, qwen3moe, gemma3
  int64_t n_layers = 0;
  int64_t hidden_size = 0;
  int64_t ffn_size = 0;  // of dense layers
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;    // of queries, keys and values
  int64_t vocab_size = 0;  // rows of the token embedding
  int64_t context_length = 0;
  float norm_eps = 0;

  double rope_theta = 10000;
  // Base of the sliding-window layers where they have rotary angles of their
  // own, which nothing stretches (Gemma 3); else all layers share one set.
  std::optional<double> rope_theta_local;
  int64_t rope_dim = 0;  // rotated leading dimensions of a head
  // Of the layers without angles of their own.
  RopeScaling rope_scaling;

  // 0: no window. A query at t sees keys t - window + 1 … t.
  int64_t sliding_window = 0;
  // By layer; whether sliding_window applies. Empty when none has one.
  std::vector<bool> layer_is_sliding;

  // Query-key products are multiplied by this; 1 / sqrt(head_dim) unless the
  // config says otherwise (Gemma's query_pre_attn_scalar).
  float attention_scale = 0;
  float attn_logit_softcap = 0;   // 0: none
  float final_logit_softcap = 0;  // 0: none
  float embedding_scale = 1;      // Gemma: sqrt(hidden_size)

  // Mixture of experts; n_experts 0 for dense models.
  int64_t n_experts = 0;
  int64_t n_experts_used = 0;
  int64_t expert_ffn_size = 0;
  bool norm_topk_prob = false;  // chosen weights are rescaled to sum to 1

  // No output.weight: the token embedding is used.
  bool tied_embeddings = false;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_MODEL_CONFIG_H_
