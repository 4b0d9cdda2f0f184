#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/arch/config/read_model_config.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr int64_t kMaxWidth = 1 << 24;
constexpr int64_t kMaxLayers = 1 << 16;
constexpr int64_t kMaxHeads = 1 << 16;
constexpr int64_t kMaxVocab = 1 << 28;
constexpr int64_t kMaxContext = int64_t{1} << 40;

// Reads "<arch>.<name>" of one file's metadata.
class Keys {
 public:
  Keys(const TensorSource& source, std::string arch)
      : metadata_(source.metadata()), arch_(std::move(arch)) {
    if (!source.tensors().empty()) {
      file_ = source.tensors()[0].origin.file;
    }
  }

  std::string Name(absl::string_view key) const {
    return absl::StrCat(arch_, ".", key);
  }

  absl::Status Error(absl::string_view cause) const {
    return absl::DataLossError(file_.empty()
                                   ? std::string(cause)
                                   : absl::StrCat(cause, "; reading ", file_));
  }

  // A scalar, or the first entry of an array with one a layer.
  absl::StatusOr<std::optional<int64_t>> FindSize(absl::string_view key,
                                                  int64_t max) const {
    const std::string name = Name(key);
    if (!metadata_.Has(name)) {
      return std::nullopt;
    }
    std::optional<int64_t> n = metadata_.GetInteger(name);
    if (!n) {
      std::optional<std::vector<int64_t>> list = metadata_.GetIntegers(name);
      if (list && !list->empty()) {
        n = list->front();
      }
    }
    if (!n) {
      return Error(absl::StrCat("key '", name, "' is no integer"));
    }
    if (*n < 0 || *n > max) {
      return Error(absl::StrCat("key '", name, "' is ", *n, ", not within [0, ",
                                max, "]"));
    }
    return n;
  }

  absl::StatusOr<std::optional<double>> FindNumber(
      absl::string_view key) const {
    const std::string name = Name(key);
    if (!metadata_.Has(name)) {
      return std::nullopt;
    }
    std::optional<double> n = metadata_.GetNumber(name);
    if (!n || !std::isfinite(*n)) {
      return Error(absl::StrCat("key '", name, "' is no finite number"));
    }
    return n;
  }

  // Sets `size` if the key is there; an error if it must be and is not.
  absl::Status ReadSize(absl::string_view key, int64_t max, bool required,
                        int64_t* size) const {
    ASSIGN_OR_RETURN(const std::optional<int64_t> n, FindSize(key, max));
    if (required && n.value_or(0) == 0) {
      return Error(absl::StrCat("key '", Name(key), "' is missing or 0"));
    }
    *size = n.value_or(*size);
    return absl::OkStatus();
  }

  absl::Status ReadNumber(absl::string_view key, float* number) const {
    ASSIGN_OR_RETURN(const std::optional<double> n, FindNumber(key));
    if (n) {
      *number = static_cast<float>(*n);
    }
    return absl::OkStatus();
  }

  const Metadata& metadata() const { return metadata_; }

 private:
  const Metadata& metadata_;
  std::string arch_;
  std::string file_;
};

// A stored list of float32, such as rope_freqs.weight; empty if absent.
absl::StatusOr<std::vector<float>> ReadFactors(const TensorSource& source,
                                               const Keys& keys,
                                               absl::string_view name,
                                               int64_t n) {
  const TensorView* view = source.Find(name);
  if (view == nullptr) {
    return std::vector<float>();
  }
  if (view->meta.type != QuantType::kF32 || view->meta.n_elements() != n) {
    return keys.Error(absl::StrCat(
        "tensor '", name, "' is ", TypeName(view->meta.type), " ",
        ShapeString(view->meta.shape), ", expected f32 [", n, "]"));
  }
  std::vector<float> factors(static_cast<size_t>(n));
  std::memcpy(factors.data(), view->data.data(), view->data.size());
  for (float factor : factors) {
    if (!(factor > 0) || !std::isfinite(factor)) {
      return keys.Error(absl::StrCat("tensor '", name,
                                     "' holds a factor that is not positive"));
    }
  }
  return factors;
}

absl::Status ReadWidths(const Keys& keys, bool required, ModelConfig* c) {
  RETURN_IF_ERROR(
      keys.ReadSize("block_count", kMaxLayers, required, &c->n_layers));
  RETURN_IF_ERROR(
      keys.ReadSize("embedding_length", kMaxWidth, required, &c->hidden_size));
  RETURN_IF_ERROR(
      keys.ReadSize("feed_forward_length", kMaxWidth, required, &c->ffn_size));
  RETURN_IF_ERROR(keys.ReadSize("context_length", kMaxContext, required,
                                &c->context_length));
  RETURN_IF_ERROR(
      keys.ReadSize("attention.head_count", kMaxHeads, required, &c->n_heads));
  c->n_kv_heads = c->n_heads;
  RETURN_IF_ERROR(keys.ReadSize("attention.head_count_kv", kMaxHeads, false,
                                &c->n_kv_heads));
  if (c->n_heads > 0) {
    c->head_dim = c->hidden_size / c->n_heads;
  }
  RETURN_IF_ERROR(
      keys.ReadSize("attention.key_length", kMaxHeads, false, &c->head_dim));
  RETURN_IF_ERROR(
      keys.ReadSize("expert_count", kMaxHeads, false, &c->n_experts));
  RETURN_IF_ERROR(
      keys.ReadSize("expert_used_count", kMaxHeads, false, &c->n_experts_used));
  RETURN_IF_ERROR(keys.ReadSize("expert_feed_forward_length", kMaxWidth, false,
                                &c->expert_ffn_size));
  return keys.ReadNumber("attention.layer_norm_rms_epsilon", &c->norm_eps);
}

absl::Status ReadVocabulary(const TensorSource& source, const Keys& keys,
                            ModelConfig* c) {
  c->tied_embeddings = source.Find("output.weight") == nullptr;
  if (const TensorView* view = source.Find("token_embd.weight")) {
    c->vocab_size = view->meta.n_rows();
  } else {
    RETURN_IF_ERROR(
        keys.ReadSize("vocab_size", kMaxVocab, false, &c->vocab_size));
  }
  if (c->vocab_size > kMaxVocab) {
    return keys.Error(absl::StrCat("tensor 'token_embd.weight' has ",
                                   c->vocab_size, " rows, more than ",
                                   kMaxVocab));
  }
  return absl::OkStatus();
}

// What a family that we compute must hold beyond what can be read.
absl::Status CheckHeads(const Keys& keys, const ModelConfig& c) {
  if (c.n_kv_heads < 1 || c.n_heads % c.n_kv_heads != 0) {
    return keys.Error(absl::StrCat(
        "key '", keys.Name("attention.head_count"), "' ", c.n_heads,
        " is no multiple of head_count_kv ", c.n_kv_heads));
  }
  if (c.head_dim < 2 || c.head_dim % 2 != 0 || c.rope_dim < 2 ||
      c.rope_dim % 2 != 0 || c.rope_dim > c.head_dim) {
    return keys.Error(absl::StrCat("cannot rotate ", c.rope_dim, " of ",
                                   c.head_dim, " dimensions of a head"));
  }
  for (absl::string_view key :
       {"attention.head_count", "attention.head_count_kv",
        "feed_forward_length"}) {
    auto list = keys.metadata().GetIntegers(keys.Name(key));
    for (int64_t n : list.value_or(std::vector<int64_t>())) {
      if (n != list->front()) {
        return absl::UnimplementedError(
            absl::StrCat("key '", keys.Name(key), "' differs between layers"));
      }
    }
  }
  if (c.n_experts_used > c.n_experts) {
    return keys.Error(absl::StrCat("key '", keys.Name("expert_used_count"),
                                   "' ", c.n_experts_used, " exceeds the ",
                                   c.n_experts, " experts"));
  }
  return absl::OkStatus();
}

absl::Status ReadRopeScaling(const TensorSource& source, const Keys& keys,
                             ModelConfig* c) {
  using Kind = RopeScaling::Kind;
  RopeScaling& s = c->rope_scaling;
  const std::string type = keys.metadata()
                               .GetString(keys.Name("rope.scaling.type"))
                               .value_or("none");
  ASSIGN_OR_RETURN(const std::optional<double> factor,
                   keys.FindNumber("rope.scaling.factor"));
  s.factor = factor.value_or(1);
  s.original_context = c->context_length;
  RETURN_IF_ERROR(keys.ReadSize("rope.scaling.original_context_length",
                                kMaxContext, false, &s.original_context));
  if (!(s.factor > 0) || s.original_context < 1) {
    return keys.Error(absl::StrCat("rotary factor ", s.factor,
                                   " over a context of ", s.original_context));
  }
  ASSIGN_OR_RETURN(
      s.freq_factors,
      ReadFactors(source, keys, "rope_freqs.weight", c->rope_dim / 2));
  ASSIGN_OR_RETURN(
      s.long_factors,
      ReadFactors(source, keys, "rope_factors_long.weight", c->rope_dim / 2));
  ASSIGN_OR_RETURN(
      s.short_factors,
      ReadFactors(source, keys, "rope_factors_short.weight", c->rope_dim / 2));
  if (!s.freq_factors.empty()) {
    s.kind = Kind::kLlama3;
  } else if (!s.long_factors.empty() && !s.short_factors.empty()) {
    s.kind = Kind::kLongRope;
    RETURN_IF_ERROR(
        keys.ReadNumber("rope.scaling.attn_factor", &s.attention_factor));
  } else if (type == "linear") {
    s.kind = Kind::kLinear;
  } else if (type == "yarn") {
    s.kind = Kind::kYarn;
    s.attention_factor =
        static_cast<float>(s.factor <= 1 ? 1 : 0.1 * std::log(s.factor) + 1);
    RETURN_IF_ERROR(
        keys.ReadNumber("rope.scaling.yarn_attn_factor", &s.attention_factor));
    ASSIGN_OR_RETURN(const std::optional<double> fast,
                     keys.FindNumber("rope.scaling.yarn_beta_fast"));
    ASSIGN_OR_RETURN(const std::optional<double> slow,
                     keys.FindNumber("rope.scaling.yarn_beta_slow"));
    s.beta_fast = fast.value_or(32);
    s.beta_slow = slow.value_or(1);
  } else if (type != "none") {
    return absl::UnimplementedError(
        absl::StrCat("rotary scaling '", type, "' is not supported"));
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const TensorSource& source, const Keys& keys,
                      ModelConfig* c) {
  ASSIGN_OR_RETURN(const std::optional<double> theta,
                   keys.FindNumber("rope.freq_base"));
  ASSIGN_OR_RETURN(const std::optional<double> local,
                   keys.FindNumber("rope.freq_base_swa"));
  c->rope_theta = theta.value_or(10000);
  c->rope_theta_local = local;
  if (!local && c->arch == "gemma3") {
    c->rope_theta_local = 10000;
  }
  if (!(c->rope_theta > 1 && c->rope_theta_local.value_or(10000) > 1)) {
    return keys.Error(absl::StrCat("key '", keys.Name("rope.freq_base"),
                                   "' is ", c->rope_theta));
  }
  c->rope_dim = c->head_dim;
  RETURN_IF_ERROR(
      keys.ReadSize("rope.dimension_count", kMaxHeads, false, &c->rope_dim));
  RETURN_IF_ERROR(CheckHeads(keys, *c));
  return ReadRopeScaling(source, keys, c);
}

// Which layers see only the window. The key sliding_window_pattern is an
// integer or a flag a layer; without it each family has its own.
absl::Status ReadWindow(const Keys& keys, ModelConfig* c) {
  int64_t window = c->arch == "gemma2" ? 4096 : 0;
  RETURN_IF_ERROR(
      keys.ReadSize("attention.sliding_window", kMaxContext, false, &window));
  if (window == 0) {
    return absl::OkStatus();
  }
  const std::string pattern_key = keys.Name("attention.sliding_window_pattern");
  int64_t pattern = c->arch == "gemma2" ? 2 : c->arch == "gemma3" ? 6 : 0;
  const MetadataValue* value = keys.metadata().Find(pattern_key);
  const auto* flags =
      value == nullptr ? nullptr : std::get_if<std::vector<bool>>(value);
  if (flags != nullptr) {
    if (static_cast<int64_t>(flags->size()) < c->n_layers) {
      return keys.Error(absl::StrCat("key '", pattern_key, "' has ",
                                     flags->size(), " entries for ",
                                     c->n_layers, " layers"));
    }
  } else {
    RETURN_IF_ERROR(keys.ReadSize("attention.sliding_window_pattern",
                                  kMaxLayers, false, &pattern));
  }
  bool any = false;
  for (int64_t i = 0; i < c->n_layers; ++i) {
    const bool slides = flags != nullptr ? (*flags)[static_cast<size_t>(i)]
                        : pattern == 0   ? true
                                         : i % pattern < pattern - 1;
    c->layer_is_sliding.push_back(slides);
    any = any || slides;
  }
  if (any) {
    c->sliding_window = window;
  } else {
    c->layer_is_sliding.clear();
  }
  return absl::OkStatus();
}

absl::Status ReadGemma(const Keys& keys, ModelConfig* c) {
  c->embedding_scale = std::sqrt(static_cast<float>(c->hidden_size));
  // The key does not exist for Gemma: the 27B models, told by their depth,
  // scale by the width of the embedding instead of the head's.
  if (c->n_layers == (c->arch == "gemma2" ? 46 : 62)) {
    c->attention_scale = static_cast<float>(
        1 / std::sqrt(static_cast<double>(c->hidden_size / c->n_heads)));
  }
  if (c->arch == "gemma2") {
    c->attn_logit_softcap = 50;
    c->final_logit_softcap = 30;
  }
  RETURN_IF_ERROR(
      keys.ReadNumber("attn_logit_softcapping", &c->attn_logit_softcap));
  RETURN_IF_ERROR(
      keys.ReadNumber("final_logit_softcapping", &c->final_logit_softcap));
  if (c->attn_logit_softcap < 0 || c->final_logit_softcap < 0) {
    return keys.Error(absl::StrCat("soft caps of logits are ",
                                   c->attn_logit_softcap, " and ",
                                   c->final_logit_softcap));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ModelConfigFromGguf(const TensorSource& source,
                                                const ArchSpec* spec) {
  ModelConfig c;
  c.arch = source.metadata().GetString("general.architecture").value_or("");
  const Keys keys(source, c.arch);
  RETURN_IF_ERROR(ReadWidths(keys, spec != nullptr, &c));
  RETURN_IF_ERROR(ReadVocabulary(source, keys, &c));
  if (spec == nullptr) {
    return c;
  }
  c.attention_scale =
      static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim)));
  RETURN_IF_ERROR(ReadRope(source, keys, &c));
  RETURN_IF_ERROR(ReadWindow(keys, &c));
  if (c.n_experts > 0) {
    if (c.expert_ffn_size == 0) {
      c.expert_ffn_size = c.ffn_size;
    }
    c.norm_topk_prob = true;  // as llama.cpp computes both families
  }
  if (c.arch == "gemma2" || c.arch == "gemma3") {
    RETURN_IF_ERROR(ReadGemma(keys, &c));
  }
  if (c.vocab_size == 0) {
    return keys.Error("no tensor 'token_embd.weight'");
  }
  return c;
}

}  // namespace narrow
