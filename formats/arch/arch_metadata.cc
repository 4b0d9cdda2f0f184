#include "formats/arch/arch_metadata.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json.h"

namespace narrow {
namespace {

constexpr int64_t kMaxU32 = 0xffffffff;

void AddRope(const MetadataInputs& inputs, ArchKeys* keys) {
  const HfRope& rope = inputs.hf.rope();
  if (rope.type == "linear" && rope.factor) {
    keys->Set("rope.scaling.type", std::string("linear"));
    keys->SetFloat("rope.scaling.factor", *rope.factor);
  } else if (rope.type == "yarn" && rope.factor) {
    keys->Set("rope.scaling.type", std::string("yarn"));
    keys->SetFloat("rope.scaling.factor", *rope.factor);
    keys->SetSize("rope.scaling.original_context_length",
                  inputs.config.rope_scaling.original_context);
    const std::pair<const char*, std::optional<double>> numbers[] = {
        {"rope.scaling.yarn_ext_factor", rope.extrapolation_factor},
        {"rope.scaling.yarn_attn_factor", rope.attention_factor},
        {"rope.scaling.yarn_beta_fast", rope.beta_fast},
        {"rope.scaling.yarn_beta_slow", rope.beta_slow},
    };
    for (const auto& [name, number] : numbers) {
      if (number) {
        keys->SetFloat(name, *number);
      }
    }
  }
  if (rope.theta) {
    keys->SetFloat("rope.freq_base", *rope.theta);
  }
  if (rope.local_theta) {
    keys->SetFloat("rope.freq_base_swa", *rope.local_theta);
  }
}

absl::Status AddGatingFunction(const HfConfig& hf, ArchKeys* keys) {
  ASSIGN_OR_RETURN(
      const std::string function,
      hf.FindString({"score_function", "scoring_func", "score_func",
                     "moe_router_activation", "moe_router_activation_func",
                     "expert_selection_fn", "router_score_func"},
                    ""));
  if (function.empty()) {
    return absl::OkStatus();
  }
  if (function != "softmax") {
    return absl::UnimplementedError(
        absl::StrCat("expert scores by '", function,
                     "' are not supported; reading ", hf.file()));
  }
  keys->SetSize("expert_gating_func", 1);
  return absl::OkStatus();
}

// Numbers of pooling_type in GGUF; frozen.
constexpr int64_t kMeanPooling = 1;
constexpr int64_t kClsPooling = 2;
constexpr int64_t kLastPooling = 3;

bool IsTrue(const JsonValue& config, absl::string_view key) {
  std::optional<JsonValue> value = config.FindNonNull(key);
  return value && value->is_bool() && *value->GetBool();
}

// Path of the first module whose type ends in "Pooling"; empty: none.
absl::StatusOr<std::string> FindPoolingModule(absl::string_view folder) {
  const std::string file = JoinPath(folder, "modules.json");
  if (!FileExists(file)) {
    return std::string();
  }
  ASSIGN_OR_RETURN(const auto document, JsonDocument::ReadFile(file));
  ASSIGN_OR_RETURN(const std::vector<JsonValue> modules,
                   document->root().GetElements());
  for (const JsonValue& module : modules) {
    ASSIGN_OR_RETURN(const JsonValue type, module.Get("type"));
    ASSIGN_OR_RETURN(const absl::string_view type_name, type.GetString());
    if (absl::EndsWith(type_name, "Pooling")) {
      ASSIGN_OR_RETURN(const JsonValue path, module.Get("path"));
      ASSIGN_OR_RETURN(const absl::string_view text, path.GetString());
      return std::string(text);
    }
  }
  return std::string();
}

absl::StatusOr<int64_t> ReadPoolingModule(absl::string_view file) {
  ASSIGN_OR_RETURN(const auto document, JsonDocument::ReadFile(file));
  const JsonValue& config = document->root();
  std::string mode;
  if (std::optional<JsonValue> value = config.FindNonNull("pooling_mode")) {
    ASSIGN_OR_RETURN(const absl::string_view text, value->GetString());
    mode = std::string(text);
  }
  if (IsTrue(config, "pooling_mode_mean_tokens")) {
    return kMeanPooling;
  }
  if (IsTrue(config, "pooling_mode_cls_token")) {
    return kClsPooling;
  }
  if (IsTrue(config, "pooling_mode_lasttoken")) {
    return kLastPooling;
  }
  if (mode == "mean" || mode == "cls" || mode == "lasttoken") {
    return mode == "mean"  ? kMeanPooling
           : mode == "cls" ? kClsPooling
                           : kLastPooling;
  }
  return absl::UnimplementedError(absl::StrCat(
      "pooling other than mean, cls and lasttoken; reading ", file));
}

}  // namespace

absl::Status AddPoolingMetadata(const MetadataInputs& inputs,
                                Metadata* metadata) {
  const std::string folder(absl::StripSuffix(inputs.hf.file(), "config.json"));
  ArchKeys keys(inputs, metadata);
  ASSIGN_OR_RETURN(const std::string module, FindPoolingModule(folder));
  if (!module.empty()) {
    ASSIGN_OR_RETURN(
        const int64_t pooling,
        ReadPoolingModule(JoinPath(JoinPath(folder, module), "config.json")));
    keys.SetSize("pooling_type", pooling);
    return absl::OkStatus();
  }
  const std::string file = JoinPath(folder, "embedding_config.json");
  if (!FileExists(file)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto document, JsonDocument::ReadFile(file));
  std::optional<JsonValue> pooling = document->root().FindNonNull("pooling");
  if (!pooling) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const absl::string_view mode, pooling->GetString());
  if (mode != "last_token") {
    return absl::UnimplementedError(
        absl::StrCat("pooling '", mode, "'; reading ", file));
  }
  keys.SetSize("pooling_type", kLastPooling);
  return absl::OkStatus();
}

void ArchKeys::Set(absl::string_view name, MetadataValue value) {
  metadata_->Set(absl::StrCat(arch_, ".", name), std::move(value));
}

void ArchKeys::SetSize(absl::string_view name, int64_t value) {
  Set(name, static_cast<uint32_t>(value));
}

void ArchKeys::SetFloat(absl::string_view name, double value) {
  Set(name, static_cast<float>(value));
}

absl::Status ArchKeys::CopySize(HfConfig::Keys keys, absl::string_view name) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> value,
                   hf_.FindSize(keys, kMaxU32));
  if (value) {
    SetSize(name, *value);
  }
  return absl::OkStatus();
}

absl::Status ArchKeys::CopyFloat(HfConfig::Keys keys, absl::string_view name) {
  ASSIGN_OR_RETURN(const std::optional<double> value, hf_.FindNumber(keys));
  if (value) {
    SetFloat(name, *value);
  }
  return absl::OkStatus();
}

absl::Status AddCommonMetadata(const MetadataInputs& inputs,
                               Metadata* metadata) {
  const HfConfig& hf = inputs.hf;
  ArchKeys keys(inputs, metadata);
  keys.SetSize("block_count", inputs.config.n_layers);
  RETURN_IF_ERROR(
      keys.CopySize({"max_position_embeddings", "n_ctx", "n_positions",
                     "max_length", "max_sequence_length", "model_max_length"},
                    "context_length"));
  RETURN_IF_ERROR(
      keys.CopySize({"hidden_size", "n_embd", "dim"}, "embedding_length"));
  RETURN_IF_ERROR(keys.CopySize(
      {"prefix_dense_intermediate_size", "dense_intermediate_size",
       "intermediate_size", "n_inner", "hidden_dim"},
      "feed_forward_length"));
  RETURN_IF_ERROR(keys.CopySize({"num_attention_heads", "n_head", "n_heads"},
                                "attention.head_count"));
  RETURN_IF_ERROR(keys.CopySize({"num_key_value_heads", "n_kv_heads"},
                                "attention.head_count_kv"));
  ASSIGN_OR_RETURN(const bool is_causal, hf.FindBool({"is_causal"}, true));
  if (!is_causal) {
    return absl::UnimplementedError(absl::StrCat(
        "a model that is not causal is not supported; reading ", hf.file()));
  }
  AddRope(inputs, &keys);
  RETURN_IF_ERROR(keys.CopyFloat({"rms_norm_eps", "norm_eps"},
                                 "attention.layer_norm_rms_epsilon"));
  RETURN_IF_ERROR(
      keys.CopyFloat({"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"},
                     "attention.layer_norm_epsilon"));
  RETURN_IF_ERROR(
      keys.CopySize({"num_local_experts", "num_experts", "n_routed_experts"},
                    "expert_count"));
  RETURN_IF_ERROR(keys.CopySize(
      {"num_experts_per_tok", "num_experts_per_token", "top_k_experts"},
      "expert_used_count"));
  RETURN_IF_ERROR(keys.CopySize({"n_group"}, "expert_group_count"));
  RETURN_IF_ERROR(keys.CopySize({"topk_group"}, "expert_group_used_count"));
  RETURN_IF_ERROR(AddGatingFunction(hf, &keys));
  RETURN_IF_ERROR(keys.CopySize({"head_dim"}, "attention.key_length"));
  RETURN_IF_ERROR(keys.CopySize({"head_dim"}, "attention.value_length"));
  metadata->Set("general.file_type", static_cast<uint32_t>(inputs.file_type));
  return absl::OkStatus();
}

}  // namespace narrow
