#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/arch/config/read_model_config.h"
#include "formats/arch/config/rope_factors.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Bounds within which products of sizes fit an int64_t.
constexpr int64_t kMaxWidth = 1 << 24;
constexpr int64_t kMaxLayers = 1 << 16;
constexpr int64_t kMaxHeads = 1 << 16;
constexpr int64_t kMaxVocab = 1 << 28;
constexpr int64_t kMaxContext = 0xffffffff;  // stored in 32 bits
constexpr double kMaxFloat = std::numeric_limits<float>::max();

// As it is stored: a tiny number may be 0 then. Numbers of HfConfig are within
// float32's range.
bool IsPositive(double n) { return static_cast<float>(n) > 0; }

absl::Status Unsupported(const HfConfig& hf, absl::string_view what) {
  return absl::UnimplementedError(
      absl::StrCat(what, " is not supported; reading ", hf.file()));
}

absl::Status ReadHeads(const HfConfig& hf, ModelConfig* c) {
  ASSIGN_OR_RETURN(c->n_heads,
                   hf.RequireSize({"num_attention_heads"}, kMaxHeads));
  ASSIGN_OR_RETURN(const std::optional<int64_t> n_kv_heads,
                   hf.FindSize({"num_key_value_heads"}, kMaxHeads));
  c->n_kv_heads = n_kv_heads.value_or(c->n_heads);
  if (c->n_kv_heads < 1 || c->n_heads % c->n_kv_heads != 0) {
    return hf.Error(absl::StrCat("num_attention_heads ", c->n_heads,
                                 " is no multiple of num_key_value_heads ",
                                 c->n_kv_heads));
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> head_dim,
                   hf.FindSize({"head_dim"}, kMaxHeads));
  if (head_dim) {
    c->head_dim = *head_dim;
  } else if (c->hidden_size % c->n_heads == 0) {
    c->head_dim = c->hidden_size / c->n_heads;
  } else {
    return hf.Error(absl::StrCat("hidden_size ", c->hidden_size,
                                 " is no multiple of num_attention_heads ",
                                 c->n_heads, " and there is no head_dim"));
  }
  if (c->head_dim < 2 || c->head_dim % 2 != 0) {
    return hf.Error(absl::StrCat("head_dim ", c->head_dim,
                                 " is not even, so it cannot be rotated"));
  }
  return absl::OkStatus();
}

absl::Status ReadWidths(const HfConfig& hf, ModelConfig* c) {
  ASSIGN_OR_RETURN(c->n_layers,
                   hf.RequireSize({"num_hidden_layers"}, kMaxLayers));
  ASSIGN_OR_RETURN(c->hidden_size, hf.RequireSize({"hidden_size"}, kMaxWidth));
  ASSIGN_OR_RETURN(c->ffn_size,
                   hf.RequireSize({"intermediate_size"}, kMaxWidth));
  ASSIGN_OR_RETURN(c->vocab_size, hf.RequireSize({"vocab_size"}, kMaxVocab));
  ASSIGN_OR_RETURN(c->context_length,
                   hf.RequireSize({"max_position_embeddings"}, kMaxContext));
  ASSIGN_OR_RETURN(const double eps, hf.RequireNumber({"rms_norm_eps"}));
  if (eps < 0 || eps > 1) {
    return hf.Error(absl::StrCat("rms_norm_eps is ", eps));
  }
  c->norm_eps = static_cast<float>(eps);
  return ReadHeads(hf, c);
}

absl::Status ReadExperts(const HfConfig& hf, ModelConfig* c) {
  const bool is_mixtral = hf.architecture() == "MixtralForCausalLM";
  if (!is_mixtral && c->arch != "qwen3moe") {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(
      c->n_experts,
      hf.RequireSize({"num_local_experts", "num_experts"}, kMaxHeads));
  ASSIGN_OR_RETURN(c->n_experts_used,
                   hf.RequireSize({"num_experts_per_tok"}, kMaxHeads));
  if (c->n_experts_used > c->n_experts) {
    return hf.Error(absl::StrCat("num_experts_per_tok ", c->n_experts_used,
                                 " exceeds the ", c->n_experts, " experts"));
  }
  if (is_mixtral) {
    c->expert_ffn_size = c->ffn_size;
    c->norm_topk_prob = true;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(c->expert_ffn_size,
                   hf.RequireSize({"moe_intermediate_size"}, kMaxWidth));
  ASSIGN_OR_RETURN(c->norm_topk_prob, hf.FindBool({"norm_topk_prob"}, false));
  return absl::OkStatus();
}

// layer_types of the config, one word a layer; empty if it has none.
absl::StatusOr<std::vector<bool>> ReadLayerTypes(const HfConfig& hf,
                                                 int64_t n_layers) {
  std::vector<bool> is_sliding;
  std::optional<JsonValue> list = hf.Find({"layer_types"});
  if (!list) {
    return is_sliding;
  }
  ASSIGN_OR_RETURN(const std::vector<JsonValue> types, list->GetElements());
  if (static_cast<int64_t>(types.size()) != n_layers) {
    return hf.Error(absl::StrCat("layer_types has ", types.size(),
                                 " entries for ", n_layers, " layers"));
  }
  for (const JsonValue& type : types) {
    ASSIGN_OR_RETURN(const absl::string_view name, type.GetString());
    if (name != "sliding_attention" && name != "full_attention") {
      return Unsupported(hf, absl::StrCat("layer type '", name, "'"));
    }
    is_sliding.push_back(name == "sliding_attention");
  }
  return is_sliding;
}

absl::StatusOr<bool> RuleSays(const HfConfig& hf, const HfClass& cls,
                              int64_t layer) {
  switch (cls.window) {
    case WindowRule::kNever:
      return false;
    case WindowRule::kAllLayers:
      return true;
    case WindowRule::kLateLayers: {
      ASSIGN_OR_RETURN(const std::optional<int64_t> first,
                       hf.FindSize({"max_window_layers"}, kMaxContext));
      return layer >= first.value_or(0);
    }
    case WindowRule::kAlternate:
      return layer % 2 == 0;
    case WindowRule::kPattern: {
      ASSIGN_OR_RETURN(const std::optional<int64_t> pattern,
                       hf.FindSize({"sliding_window_pattern"}, kMaxLayers));
      if (pattern.value_or(6) == 0) {
        return hf.Error("key 'sliding_window_pattern' is 0");
      }
      return (layer + 1) % pattern.value_or(6) != 0;
    }
  }
  return false;
}

absl::Status ReadWindow(const HfConfig& hf, ModelConfig* c) {
  const HfClass* cls = hf.hf_class() != nullptr
                           ? hf.hf_class()
                           : FindHfClassOfArchitecture(hf.architecture());
  if (cls == nullptr || cls->window == WindowRule::kNever) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> window,
                   hf.FindSize({"sliding_window"}, kMaxContext));
  std::vector<bool> is_sliding;
  if (cls->has_layer_types) {
    ASSIGN_OR_RETURN(is_sliding, ReadLayerTypes(hf, c->n_layers));
  }
  if (!window || *window == 0) {
    return absl::OkStatus();
  }
  if (is_sliding.empty()) {
    for (int64_t i = 0; i < c->n_layers; ++i) {
      ASSIGN_OR_RETURN(const bool slides, RuleSays(hf, *cls, i));
      is_sliding.push_back(slides);
    }
  }
  bool any = false;
  for (bool slides : is_sliding) {
    any = any || slides;
  }
  if (any) {
    c->sliding_window = *window;
    c->layer_is_sliding = std::move(is_sliding);
  }
  return absl::OkStatus();
}

double YarnMscale(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

// Factor of cosines and sines where the config does not give it.
double DefaultAttentionFactor(const HfRope& rope, const RopeScaling& scaling) {
  if (scaling.kind == RopeScaling::Kind::kYarn) {
    if (rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0) {
      return YarnMscale(scaling.factor, *rope.mscale) /
             YarnMscale(scaling.factor, *rope.mscale_all_dim);
    }
    return YarnMscale(scaling.factor, 1);
  }
  return scaling.factor <= 1
             ? 1
             : std::sqrt(1 + std::log(scaling.factor) /
                                 std::log(static_cast<double>(
                                     scaling.original_context)));
}

absl::StatusOr<RopeScaling::Kind> KindOf(const HfConfig& hf,
                                         const ModelConfig& c) {
  using Kind = RopeScaling::Kind;
  const std::string& type = hf.rope().type;
  if (type.empty() || type == "default") {
    return Kind::kNone;
  }
  // llama.cpp's converter accepts it everywhere and stores nothing.
  if (type == "dynamic") {
    return Kind::kDynamic;
  }
  const bool is_phi3 = c.arch == "phi3";
  // llama.cpp's converter stores these kinds only for these families.
  if (type == "linear" && !is_phi3 && c.arch != "gemma2") {
    return Kind::kLinear;
  }
  if (type == "yarn" && !is_phi3 && c.arch != "gemma2") {
    return Kind::kYarn;
  }
  if (type == "llama3" && c.arch == "llama") {
    return Kind::kLlama3;
  }
  if ((type == "longrope" || type == "su") && is_phi3) {
    return Kind::kLongRope;
  }
  return Unsupported(hf, absl::StrCat("rope_type '", type, "' of ", c.arch));
}

absl::Status ReadRopeScaling(const HfConfig& hf, ModelConfig* c) {
  using Kind = RopeScaling::Kind;
  const HfRope& rope = hf.rope();
  RopeScaling& s = c->rope_scaling;
  ASSIGN_OR_RETURN(s.kind, KindOf(hf, *c));
  if (s.kind == Kind::kNone) {
    return absl::OkStatus();
  }
  // What transformers measures "dynamic" by, whatever else is given.
  s.original_context = s.kind == Kind::kDynamic
                           ? c->context_length
                           : rope.original_context.value_or(c->context_length);
  if (s.kind == Kind::kLongRope) {
    s.factor = rope.factor.value_or(static_cast<double>(c->context_length) /
                                    static_cast<double>(s.original_context));
    s.long_factors.assign(rope.long_factors.begin(), rope.long_factors.end());
    s.short_factors.assign(rope.short_factors.begin(),
                           rope.short_factors.end());
    for (const std::vector<float>* list : {&s.long_factors, &s.short_factors}) {
      if (static_cast<int64_t>(list->size()) != c->rope_dim / 2) {
        return hf.Error(absl::StrCat("long_factor and short_factor need ",
                                     c->rope_dim / 2, " entries each, not ",
                                     list->size()));
      }
    }
  } else if (rope.factor) {
    s.factor = *rope.factor;
  } else if (s.kind == Kind::kLlama3) {
    s.factor = 8;
  } else {
    return hf.Error(
        absl::StrCat("rope_type '", rope.type, "' without a factor"));
  }
  if (!IsPositive(s.factor)) {
    return hf.Error(absl::StrCat("rotary factor is ", s.factor));
  }
  s.low_freq_factor = rope.low_freq_factor.value_or(1);
  s.high_freq_factor = rope.high_freq_factor.value_or(4);
  s.beta_fast = rope.beta_fast.value_or(0) != 0 ? *rope.beta_fast : 32;
  s.beta_slow = rope.beta_slow.value_or(0) != 0 ? *rope.beta_slow : 1;
  s.truncate = rope.truncate;
  if (!IsPositive(s.beta_fast) || !IsPositive(s.beta_slow)) {
    return hf.Error(absl::StrCat("beta_fast and beta_slow are ", s.beta_fast,
                                 " and ", s.beta_slow, ", not positive"));
  }
  if (s.kind == Kind::kYarn || s.kind == Kind::kLongRope) {
    const double factor =
        rope.attention_factor.value_or(DefaultAttentionFactor(rope, s));
    if (!(factor <= kMaxFloat) || !IsPositive(factor)) {
      return hf.Error(absl::StrCat("rotary attention_factor is ", factor));
    }
    s.attention_factor = static_cast<float>(factor);
  }
  if (s.kind == Kind::kLlama3) {
    if (!(s.low_freq_factor > 0 && s.high_freq_factor > 0)) {
      return hf.Error("low_freq_factor and high_freq_factor must be positive");
    }
    s.freq_factors = Llama3RopeFactors(
        {c->rope_theta, c->rope_dim, s.factor, s.low_freq_factor,
         s.high_freq_factor, static_cast<double>(s.original_context)});
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const HfConfig& hf, ModelConfig* c) {
  const HfRope& rope = hf.rope();
  c->rope_theta = rope.theta.value_or(10000);
  if (c->arch == "gemma3") {
    c->rope_theta_local = rope.local_theta.value_or(10000);
  }
  for (double theta : {c->rope_theta, c->rope_theta_local.value_or(10000)}) {
    if (!(theta > 1)) {
      return hf.Error(absl::StrCat("rope_theta is ", theta));
    }
  }
  const double part = rope.partial_rotary_factor.value_or(1);
  if (!(part > 0 && part <= 1)) {
    return hf.Error(absl::StrCat("partial_rotary_factor is ", part));
  }
  c->rope_dim = c->head_dim;
  if (c->arch == "phi3") {
    c->rope_dim =
        static_cast<int64_t>(part * static_cast<double>(c->hidden_size)) /
        c->n_heads;
  } else if (part != 1) {
    return Unsupported(
        hf, absl::StrCat("partial_rotary_factor ", part, " of ", c->arch));
  }
  if (c->rope_dim < 2 || c->rope_dim % 2 != 0 || c->rope_dim > c->head_dim) {
    return hf.Error(absl::StrCat("cannot rotate ", c->rope_dim, " of ",
                                 c->head_dim, " dimensions of a head"));
  }
  return ReadRopeScaling(hf, c);
}

absl::Status ReadGemma(const HfConfig& hf, ModelConfig* c) {
  c->embedding_scale = std::sqrt(static_cast<float>(c->hidden_size));
  ASSIGN_OR_RETURN(const std::optional<double> scalar,
                   hf.FindNumber({"query_pre_attn_scalar"}));
  if (scalar) {
    // The inverse root of a tiny one is beyond a float32's range.
    if (!(*scalar > 0 && 1 / std::sqrt(*scalar) <= kMaxFloat)) {
      return hf.Error(absl::StrCat("query_pre_attn_scalar is ", *scalar));
    }
    c->attention_scale = static_cast<float>(1 / std::sqrt(*scalar));
  }
  ASSIGN_OR_RETURN(const std::optional<double> attention_cap,
                   hf.FindNumber({"attn_logit_softcapping"}));
  ASSIGN_OR_RETURN(const std::optional<double> final_cap,
                   hf.FindNumber({"final_logit_softcapping"}));
  if (c->arch == "gemma3" && attention_cap) {
    return Unsupported(hf, "attn_logit_softcapping of gemma3");
  }
  if (c->arch == "gemma2" && (!attention_cap || !final_cap)) {
    // A GGUF file without the keys means the usual caps, not none.
    return Unsupported(hf, "gemma2 without soft caps");
  }
  for (const std::optional<double>& cap : {attention_cap, final_cap}) {
    if (cap.value_or(0) < 0) {
      return hf.Error(absl::StrCat("a soft cap of logits is ", *cap));
    }
  }
  c->attn_logit_softcap = static_cast<float>(attention_cap.value_or(0));
  c->final_logit_softcap = static_cast<float>(final_cap.value_or(0));
  ASSIGN_OR_RETURN(const bool sees_ahead,
                   hf.FindBool({"use_bidirectional_attention"}, false));
  if (sees_ahead) {
    return Unsupported(hf, "use_bidirectional_attention");
  }
  return absl::OkStatus();
}

absl::Status CheckActivation(const HfConfig& hf, const ArchSpec& spec) {
  const bool is_gelu =
      spec.traits.activation == BlockTraits::Activation::kGeluTanh;
  const absl::string_view expected = is_gelu ? "gelu_pytorch_tanh" : "silu";
  absl::StatusOr<std::string> found =
      is_gelu ? hf.FindString({"hidden_activation", "hidden_act"}, expected)
              : hf.FindString({"hidden_act"}, expected);
  RETURN_IF_ERROR(found.status());
  if (*found != expected && !(!is_gelu && *found == "swish")) {
    return Unsupported(
        hf, absl::StrCat("activation '", *found, "' of ", spec.gguf_arch));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ModelConfigFromHf(const HfConfig& hf,
                                              const ArchSpec& spec) {
  ModelConfig c;
  c.arch = spec.gguf_arch;
  RETURN_IF_ERROR(ReadWidths(hf, &c));
  RETURN_IF_ERROR(ReadExperts(hf, &c));
  RETURN_IF_ERROR(ReadWindow(hf, &c));
  RETURN_IF_ERROR(ReadRope(hf, &c));
  RETURN_IF_ERROR(CheckActivation(hf, spec));
  c.attention_scale =
      static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim)));
  if (c.arch == "gemma2" || c.arch == "gemma3") {
    RETURN_IF_ERROR(ReadGemma(hf, &c));
  }
  ASSIGN_OR_RETURN(c.tied_embeddings,
                   hf.FindBool({"tie_word_embeddings"}, false));
  return c;
}

}  // namespace narrow
