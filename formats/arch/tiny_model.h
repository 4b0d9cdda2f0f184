// A checkpoint of every family in memory, for tests.
//
//   for (const TinyFamily& family : kTinyFamilies) {
//     TinyModel model(family);
//     Use(model.source, *model.spec, model.config, *model.hf);

#ifndef NARROW_FORMATS_ARCH_TINY_MODEL_H_
#define NARROW_FORMATS_ARCH_TINY_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/arch/arch_spec.h"
#include "formats/arch/config/read_model_config.h"
#include "formats/arch/fake_source.h"
#include "formats/arch/tensor_assembly.h"
#include "formats/hf/hf_config.h"

namespace narrow {

// Every size differs, so that a wrong one shows.
inline constexpr char kTinySizes[] = R"(
  "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
  "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
  "vocab_size": 50, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
  "num_local_experts": 3, "num_experts_per_tok": 2,
  "moe_intermediate_size": 12, "tie_word_embeddings": false,
  "attention_bias": true, "mlp_bias": true)";

struct TinyFamily {
  const char* architecture;
  const char* model_type;
  bool fused_experts;
};

inline constexpr TinyFamily kTinyFamilies[] = {
    {"LlamaForCausalLM", "llama", false},
    {"MistralForCausalLM", "mistral", false},
    {"MixtralForCausalLM", "mixtral", false},
    {"MixtralForCausalLM", "mixtral", true},
    {"Qwen2ForCausalLM", "qwen2", false},
    {"Qwen3ForCausalLM", "qwen3", false},
    {"Qwen3MoeForCausalLM", "qwen3_moe", false},
    {"Qwen3MoeForCausalLM", "qwen3_moe", true},
    {"Gemma2ForCausalLM", "gemma2", false},
    {"Gemma3ForCausalLM", "gemma3_text", false},
    {"Phi3ForCausalLM", "phi3", false},
};

inline int64_t TinySizeOf(TensorSize size, const ModelConfig& c) {
  const int64_t sizes[] = {0,
                           c.hidden_size,
                           c.n_heads * c.head_dim,
                           c.n_kv_heads * c.head_dim,
                           (c.n_heads + 2 * c.n_kv_heads) * c.head_dim,
                           c.head_dim,
                           c.ffn_size,
                           2 * c.ffn_size,
                           c.n_experts,
                           c.expert_ffn_size,
                           2 * c.expert_ffn_size,
                           c.vocab_size};
  return sizes[static_cast<int>(size)];
}

// A checkpoint with one tensor for each rule, layer and expert.
struct TinyModel {
  explicit TinyModel(const TinyFamily& family,
                     QuantType type = QuantType::kBF16,
                     const std::string& more = "") {
    spec = FindArchByHfName(family.architecture);
    hf = *HfConfig::Parse(
        absl::StrCat("{\"architectures\": [\"", family.architecture,
                     "\"], \"model_type\": \"", family.model_type, "\",",
                     kTinySizes, more, "}"),
        "config.json");
    config = *ModelConfigFromHf(*hf, *spec);
    for (const TensorRule& rule : spec->rules) {
      const absl::string_view name = rule.hf_name;
      const bool is_expert = absl::StrContains(name, "experts");
      const bool is_fused = is_expert && !absl::StrContains(name, "experts.{}");
      const bool is_dense_only =
          rule.presence == TensorPresence::kDenseLayers ||
          (rule.presence == TensorPresence::kMlpBias && config.n_experts > 0);
      const bool is_moe_only = rule.presence == TensorPresence::kExpertLayers;
      const bool is_new_router = absl::EndsWith(name, ".mlp.gate.weight");
      const bool skip =
          (config.n_experts > 0 ? is_dense_only : is_moe_only) ||
          (is_expert && is_fused != family.fused_experts) ||
          (is_new_router && spec->gguf_arch == std::string("llama") &&
           !family.fused_experts) ||
          (absl::StrContains(name, "block_sparse_moe") &&
           family.fused_experts) ||
          source.Find(Instance(name, 0, 0)) != nullptr;
      if (skip) {
        continue;
      }
      const bool in_layers = absl::StrContains(name, "layers.{}");
      for (int64_t l = 0; l < (in_layers ? config.n_layers : 1); ++l) {
        const bool per_expert = absl::StrContains(name, "experts.{}");
        for (int64_t e = 0; e < (per_expert ? config.n_experts : 1); ++e) {
          std::vector<int64_t> shape;
          for (TensorSize size : rule.shape) {
            if (size != TensorSize::kNone) {
              shape.push_back(TinySizeOf(size, config));
            }
          }
          source.Add(Instance(name, l, e), type, shape);
        }
      }
    }
  }

  static std::string Instance(absl::string_view name, int64_t layer,
                              int64_t expert) {
    return absl::StrReplaceAll(
        name, {{"layers.{}", absl::StrCat("layers.", layer)},
               {"experts.{}", absl::StrCat("experts.", expert)}});
  }

  absl::StatusOr<Assembly> Assemble(const std::string& intermediate = "auto",
                                    int64_t max_vocab = -1) {
    return AssembleTensors(
        {source, *spec, config, *hf, intermediate, max_vocab});
  }

  const ArchSpec* spec;
  std::unique_ptr<const HfConfig> hf;
  ModelConfig config;
  FakeSource source;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_TINY_MODEL_H_
