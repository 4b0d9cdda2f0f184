#include "formats/hf_export/hf_config_writer.h"

#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/arch/model_config.h"
#include "formats/base/status.h"
#include "formats/hf_export/llama3_rope.h"
#include "formats/json/json.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

using Kind = RopeScaling::Kind;

struct Facts {
  const Checkpoint& model;
  const ModelConfig& config;
  const Disassembly& tensors;
};

bool AnyLayerSlides(const Facts& f) { return f.config.sliding_window > 0; }

// null stands for "none" in all of these.
void NumberOrNull(float value, JsonWriter* json) {
  value == 0 ? json->Null() : json->Real(value);
}

void Activation(const Facts& f, JsonWriter* json) {
  const bool is_gelu =
      f.model.arch()->traits.activation == BlockTraits::Activation::kGeluTanh;
  json->String(is_gelu ? "gelu_pytorch_tanh" : "silu");
}

// 1 / scale^2, a whole number in every published model; a scale read from
// float32 is off by a few units in the last place.
void QueryScalar(const Facts& f, JsonWriter* json) {
  const double scale = f.config.attention_scale;
  const double scalar = 1 / (scale * scale);
  const double whole = std::round(scalar);
  if (std::abs(scalar - whole) < 1e-5 * scalar) {
    json->Integer(static_cast<int64_t>(whole));
  } else {
    json->Real(static_cast<float>(scalar));
  }
}

struct KeyRow {
  const char* key;
  void (*write)(const Facts& facts, JsonWriter* json);
};

constexpr KeyRow kKeys[] = {
    {"attention_bias",
     [](const Facts& f, JsonWriter* j) { j->Bool(f.tensors.attention_bias); }},
    {"attn_logit_softcapping",
     [](const Facts& f, JsonWriter* j) {
       NumberOrNull(f.config.attn_logit_softcap, j);
     }},
    {"decoder_sparse_step", [](const Facts&, JsonWriter* j) { j->Integer(1); }},
    {"final_logit_softcapping",
     [](const Facts& f, JsonWriter* j) {
       NumberOrNull(f.config.final_logit_softcap, j);
     }},
    {"head_dim",
     [](const Facts& f, JsonWriter* j) { j->Integer(f.config.head_dim); }},
    {"hidden_act", Activation},
    {"hidden_activation", Activation},
    {"hidden_size",
     [](const Facts& f, JsonWriter* j) { j->Integer(f.config.hidden_size); }},
    {"intermediate_size",
     [](const Facts& f, JsonWriter* j) { j->Integer(f.config.ffn_size); }},
    {"max_position_embeddings",
     [](const Facts& f, JsonWriter* j) {
       j->Integer(f.config.context_length);
     }},
    // Windows are given layer by layer where a class can tell late layers.
    {"max_window_layers",
     [](const Facts& f, JsonWriter* j) {
       j->Integer(AnyLayerSlides(f) ? 0 : f.config.n_layers);
     }},
    {"mlp_bias",
     [](const Facts& f, JsonWriter* j) { j->Bool(f.tensors.mlp_bias); }},
    {"moe_intermediate_size",
     [](const Facts& f, JsonWriter* j) {
       j->Integer(f.config.expert_ffn_size);
     }},
    {"norm_topk_prob",
     [](const Facts& f, JsonWriter* j) { j->Bool(f.config.norm_topk_prob); }},
    {"num_attention_heads",
     [](const Facts& f, JsonWriter* j) { j->Integer(f.config.n_heads); }},
    {"num_experts",
     [](const Facts& f, JsonWriter* j) { j->Integer(f.config.n_experts); }},
    {"num_experts_per_tok",
     [](const Facts& f, JsonWriter* j) {
       j->Integer(f.config.n_experts_used);
     }},
    {"num_hidden_layers",
     [](const Facts& f, JsonWriter* j) { j->Integer(f.config.n_layers); }},
    {"num_key_value_heads",
     [](const Facts& f, JsonWriter* j) { j->Integer(f.config.n_kv_heads); }},
    {"num_local_experts",
     [](const Facts& f, JsonWriter* j) { j->Integer(f.config.n_experts); }},
    {"original_max_position_embeddings",
     [](const Facts& f, JsonWriter* j) {
       j->Integer(f.config.rope_scaling.original_context);
     }},
    {"query_pre_attn_scalar", QueryScalar},
    {"rms_norm_eps",
     [](const Facts& f, JsonWriter* j) { j->Real(f.config.norm_eps); }},
    {"sliding_window",
     [](const Facts& f, JsonWriter* j) {
       AnyLayerSlides(f) ? j->Integer(f.config.sliding_window) : j->Null();
     }},
    {"tie_word_embeddings",
     [](const Facts& f, JsonWriter* j) { j->Bool(f.config.tied_embeddings); }},
    {"use_bidirectional_attention",
     [](const Facts&, JsonWriter* j) { j->Bool(false); }},
    {"use_sliding_window",
     [](const Facts& f, JsonWriter* j) { j->Bool(AnyLayerSlides(f)); }},
    {"vocab_size",
     [](const Facts& f, JsonWriter* j) { j->Integer(f.config.vocab_size); }},
};

const KeyRow* FindKey(absl::string_view key) {
  for (const KeyRow& row : kKeys) {
    if (key == row.key) {
      return &row;
    }
  }
  return nullptr;
}

// Scaled rotary parameters as transformers names them, without the base.
struct RopeNumbers {
  std::string type = "default";
  std::vector<std::pair<const char*, double>> numbers;
  std::vector<std::pair<const char*, std::vector<float>>> lists;
};

class Writer {
 public:
  explicit Writer(const HfConfigInputs& inputs)
      : in_(inputs),
        config_(inputs.model.config()),
        facts_{inputs.model, config_, inputs.tensors} {}

  absl::StatusOr<HfConfigFiles> Run() {
    RETURN_IF_ERROR(ChooseClass());
    RETURN_IF_ERROR(CheckExpressible());
    RETURN_IF_ERROR(ReadRope());
    AddWarnings();
    WriteConfig();
    HfConfigFiles files;
    files.hf_class = class_;
    files.config = json_.text() + "\n";
    files.generation_config = GenerationConfig();
    files.warnings = std::move(warnings_);
    return files;
  }

 private:
  absl::Status Unsupported(absl::string_view what) const {
    return absl::UnimplementedError(
        absl::StrCat(what,
                     " cannot be written as a Hugging Face directory; "
                     "reading ",
                     in_.model.path()));
  }

  bool HasKey(absl::string_view key) const {
    return in_.model.metadata().Has(absl::StrCat(config_.arch, ".", key));
  }
  bool ClassHas(absl::string_view key) const {
    return defaults_->root().Find(key).has_value();
  }

  // The first class of the family that has experts, and a window, exactly if
  // the model has.
  absl::Status ChooseClass() {
    for (const char* name : in_.model.arch()->hf_names) {
      const HfClass* candidate = FindHfClassOfArchitecture(name);
      if (candidate == nullptr) {
        continue;
      }
      ASSIGN_OR_RETURN(defaults_, JsonDocument::Parse(candidate->defaults,
                                                      candidate->model_type));
      const bool has_experts =
          ClassHas("num_local_experts") || ClassHas("num_experts");
      const bool fits_window = config_.sliding_window == 0 ||
                               candidate->window != WindowRule::kNever;
      if (has_experts == (config_.n_experts > 0) && fits_window) {
        class_ = candidate;
        return absl::OkStatus();
      }
    }
    return Unsupported(absl::StrCat(
        "a model of family ", config_.arch, " with ", config_.n_experts,
        " experts and a window of ", config_.sliding_window));
  }

  absl::Status CheckExpressible() const {
    if (in_.tensors.attention_bias && !ClassHas("attention_bias")) {
      return Unsupported(
          absl::StrCat("an attention bias of class ", class_->architecture));
    }
    if (in_.tensors.mlp_bias && !ClassHas("mlp_bias")) {
      return Unsupported(
          absl::StrCat("a feed-forward bias of class ", class_->architecture));
    }
    if (!in_.tensors.dense_layers.empty() && !ClassHas("decoder_sparse_step")) {
      return Unsupported(absl::StrCat("layer ", in_.tensors.dense_layers[0],
                                      " without experts of class ",
                                      class_->architecture));
    }
    if (config_.rope_theta_local && class_->window != WindowRule::kPattern) {
      return Unsupported(
          absl::StrCat("a rotary base of its own for the window layers of ",
                       class_->architecture));
    }
    if (config_.n_experts > 0 && config_.expert_ffn_size != config_.ffn_size &&
        !ClassHas("moe_intermediate_size")) {
      return Unsupported(absl::StrCat("experts of width ",
                                      config_.expert_ffn_size, " of class ",
                                      class_->architecture));
    }
    const bool all_slide = [&] {
      for (const bool slides : config_.layer_is_sliding) {
        if (!slides) return false;
      }
      return true;
    }();
    if (!all_slide && !class_->has_layer_types) {
      return Unsupported(absl::StrCat("a window in some layers of class ",
                                      class_->architecture));
    }
    for (const char* key :
         {"attn_logit_softcapping", "final_logit_softcapping"}) {
      if (HasKey(key) && !ClassHas(key)) {
        return Unsupported(absl::StrCat("key '", config_.arch, ".", key, "'"));
      }
    }
    if (config_.attn_logit_softcap != 0 && config_.arch == "gemma3") {
      return Unsupported("attn_logit_softcapping of gemma3");
    }
    if (config_.rope_dim != config_.head_dim &&
        !ClassHas("original_max_position_embeddings")) {
      return Unsupported(absl::StrCat("rotating ", config_.rope_dim, " of ",
                                      config_.head_dim,
                                      " dimensions of a head"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadRope() {
    const RopeScaling& s = config_.rope_scaling;
    switch (s.kind) {
      case Kind::kNone:
        break;
      case Kind::kDynamic:
        return Unsupported("rotary scaling 'dynamic'");
      case Kind::kLinear:
        rope_.type = "linear";
        rope_.numbers = {{"factor", s.factor}};
        break;
      case Kind::kLlama3:
        return ReadLlama3();
      case Kind::kYarn:
        rope_.type = "yarn";
        rope_.numbers = {
            {"factor", s.factor},
            {"original_max_position_embeddings",
             static_cast<double>(s.original_context)},
        };
        for (const auto& [key, name] :
             {std::make_pair("rope.scaling.yarn_attn_factor",
                             "attention_factor"),
              std::make_pair("rope.scaling.yarn_ext_factor",
                             "extrapolation_factor"),
              std::make_pair("rope.scaling.yarn_beta_fast", "beta_fast"),
              std::make_pair("rope.scaling.yarn_beta_slow", "beta_slow")}) {
          if (const auto number = in_.model.metadata().GetNumber(
                  absl::StrCat(config_.arch, ".", key))) {
            rope_.numbers.emplace_back(name, *number);
          }
        }
        break;
      case Kind::kLongRope:
        rope_.type = "longrope";
        rope_.lists = {{"long_factor", s.long_factors},
                       {"short_factor", s.short_factors}};
        rope_.numbers = {{"original_max_position_embeddings",
                          static_cast<double>(s.original_context)}};
        // The usual one follows from the two context lengths.
        if (HasKey("rope.scaling.attn_factor") &&
            std::abs(s.attention_factor - UsualLongRopeFactor()) > 1e-5) {
          rope_.numbers.emplace_back("attention_factor",
                                     double{s.attention_factor});
        }
        break;
    }
    return absl::OkStatus();
  }

  double UsualLongRopeFactor() const {
    const double original =
        static_cast<double>(config_.rope_scaling.original_context);
    const double scale = static_cast<double>(config_.context_length) / original;
    return scale <= 1 ? 1 : std::sqrt(1 + std::log(scale) / std::log(original));
  }

  absl::Status ReadLlama3() {
    const RopeScaling& s = config_.rope_scaling;
    bool any = false;
    for (const float factor : s.freq_factors) {
      any = any || factor != 1;
    }
    if (!any) {
      return absl::OkStatus();  // divisors of 1 scale nothing
    }
    const std::optional<Llama3RopeInputs> found =
        FindLlama3Rope(s.freq_factors, config_.rope_theta, config_.rope_dim);
    if (!found || config_.arch != "llama") {
      return Unsupported(
          "rotary divisors (rope_freqs.weight) that no rope_type 'llama3' "
          "gives");
    }
    rope_.type = "llama3";
    rope_.numbers = {
        {"factor", found->factor},
        {"low_freq_factor", found->low_freq_factor},
        {"high_freq_factor", found->high_freq_factor},
        {"original_max_position_embeddings", found->original_context},
    };
    return absl::OkStatus();
  }

  // What GGUF cannot hold, with the value that llama.cpp assumes.
  void AddWarnings() {
    const auto assumed = [&](absl::string_view what, absl::string_view value) {
      warnings_.push_back(absl::StrCat("GGUF does not hold ", what,
                                       "; config.json has ", value,
                                       ", as llama.cpp assumes"));
    };
    if (ClassHas("query_pre_attn_scalar")) {
      JsonWriter scalar(JsonWriter::kCompact);
      QueryScalar(facts_, &scalar);
      assumed("query_pre_attn_scalar", scalar.text());
    }
    if (class_->has_layer_types && config_.sliding_window > 0 &&
        !HasKey("attention.sliding_window_pattern")) {
      assumed("which layers have the sliding window",
              "the usual pattern of the family");
    }
    if (ClassHas("norm_topk_prob")) {
      assumed("norm_topk_prob", "true");
    }
    if (config_.rope_scaling.kind == Kind::kYarn) {
      assumed("whether yarn's ramp ends at whole dimensions", "that it does");
    }
    // Files of one family that are told apart by their name alone.
    const Metadata& metadata = in_.model.metadata();
    const std::string name = absl::AsciiStrToLower(
        absl::StrCat(metadata.GetString("general.name").value_or(""), " ",
                     metadata.GetString("general.basename").value_or("")));
    if (class_->model_type == absl::string_view("llama") &&
        absl::StrContains(name, "mistral")) {
      assumed("Mistral's sliding window", "none");
    }
    if (!HasKey("rope.freq_base")) {
      warnings_.push_back(absl::StrCat(
          "the file does not give the rotary base; config.json has ",
          config_.rope_theta, ", as llama.cpp assumes"));
    }
  }

  // Floats of GGUF with the digits that make the same float again.
  void WriteRopeNumber(const char* key, double value) {
    json_.Key(key);
    if (value == std::floor(value) &&
        absl::string_view(key) == "original_max_position_embeddings") {
      json_.Integer(static_cast<int64_t>(value));
    } else {
      json_.Real(static_cast<float>(value));
    }
  }

  void WriteScaling() {
    json_.Key("rope_type").String(rope_.type);
    for (const auto& [key, value] : rope_.numbers) {
      WriteRopeNumber(key, value);
    }
    for (const auto& [key, values] : rope_.lists) {
      json_.Key(key).BeginArray();
      for (const float value : values) {
        json_.Real(value);
      }
      json_.EndArray();
    }
  }

  float PartialRotaryFactor() const {
    return static_cast<float>(config_.rope_dim) /
           static_cast<float>(config_.head_dim);
  }

  void WriteRopeParameters(double theta, bool scaled) {
    json_.BeginObject();
    if (scaled) {
      WriteScaling();
    } else {
      json_.Key("rope_type").String("default");
    }
    WriteRopeNumber("rope_theta", theta);
    if (config_.rope_dim != config_.head_dim) {
      json_.Key("partial_rotary_factor").Real(PartialRotaryFactor());
    }
    json_.EndObject();
  }

  // As transformers 5 writes them, and beside it what earlier releases read.
  void WriteRope() {
    json_.Key("rope_parameters");
    if (config_.rope_theta_local) {
      json_.BeginObject().Key("full_attention");
      WriteRopeParameters(config_.rope_theta, true);
      json_.Key("sliding_attention");
      WriteRopeParameters(*config_.rope_theta_local, false);
      json_.EndObject();
    } else {
      WriteRopeParameters(config_.rope_theta, true);
    }
    WriteRopeNumber("rope_theta", config_.rope_theta);
    if (config_.rope_theta_local) {
      WriteRopeNumber("rope_local_base_freq", *config_.rope_theta_local);
    }
    if (config_.rope_dim != config_.head_dim) {
      json_.Key("partial_rotary_factor").Real(PartialRotaryFactor());
    }
    if (rope_.type != "default") {
      json_.Key("rope_scaling").BeginObject();
      WriteScaling();
      json_.EndObject();
    }
  }

  void WriteLayerTypes() {
    json_.Key("layer_types").BeginArray();
    for (int64_t i = 0; i < config_.n_layers; ++i) {
      const bool slides = !config_.layer_is_sliding.empty() &&
                          config_.layer_is_sliding[static_cast<size_t>(i)];
      json_.String(slides ? "sliding_attention" : "full_attention");
    }
    json_.EndArray();
  }

  std::optional<int64_t> TokenId(absl::string_view name) const {
    return in_.model.metadata().GetInteger(
        absl::StrCat("tokenizer.ggml.", name, "_token_id"));
  }

  void WriteTokenIds(JsonWriter* json) const {
    for (const auto& [key, name] :
         {std::make_pair("bos_token_id", "bos"),
          std::make_pair("eos_token_id", "eos"),
          std::make_pair("pad_token_id", "padding")}) {
      json->Key(key);
      const std::optional<int64_t> id = TokenId(name);
      id ? json->Integer(*id) : json->Null();
    }
  }

  void WriteConfig() {
    json_.BeginObject();
    json_.Key("architectures").BeginArray();
    json_.String(class_->architecture).EndArray();
    json_.Key("model_type").String(class_->model_type);
    json_.Key("torch_dtype").String(in_.dtype);
    for (const KeyRow& row : kKeys) {
      // A class without head_dim takes one that differs from the usual.
      const bool is_head_dim = absl::string_view(row.key) == "head_dim";
      const bool write = is_head_dim ? HasKey("attention.key_length") ||
                                           config_.head_dim * config_.n_heads !=
                                               config_.hidden_size
                                     : ClassHas(row.key);
      if (write) {
        json_.Key(row.key);
        row.write(facts_, &json_);
      }
    }
    if (class_->has_layer_types) {
      WriteLayerTypes();
    }
    if (ClassHas("decoder_sparse_step")) {
      json_.Key("mlp_only_layers").BeginArray();
      for (const int64_t layer : in_.tensors.dense_layers) {
        json_.Integer(layer);
      }
      json_.EndArray();
    }
    WriteRope();
    WriteTokenIds(&json_);
    json_.EndObject();
  }

  // Texts end at the ends of a turn and of a message too, as llama.cpp ends
  // them.
  std::string GenerationConfig() const {
    JsonWriter json(JsonWriter::kIndented);
    json.BeginObject();
    json.Key("_from_model_config").Bool(true);
    for (const auto& [key, name] :
         {std::make_pair("bos_token_id", "bos"),
          std::make_pair("pad_token_id", "padding")}) {
      if (const auto id = TokenId(name)) {
        json.Key(key).Integer(*id);
      }
    }
    std::vector<int64_t> ends;
    for (const char* name : {"eos", "eot", "eom"}) {
      if (const auto id = TokenId(name)) {
        bool is_new = true;
        for (const int64_t end : ends) is_new = is_new && end != *id;
        if (is_new) ends.push_back(*id);
      }
    }
    if (ends.size() == 1) {
      json.Key("eos_token_id").Integer(ends[0]);
    } else if (!ends.empty()) {
      json.Key("eos_token_id").BeginArray();
      for (const int64_t end : ends) json.Integer(end);
      json.EndArray();
    }
    json.EndObject();
    return json.text() + "\n";
  }

  const HfConfigInputs& in_;
  const ModelConfig& config_;
  const Facts facts_;
  const HfClass* class_ = nullptr;
  std::unique_ptr<const JsonDocument> defaults_;  // of the class
  RopeNumbers rope_;
  std::vector<std::string> warnings_;
  JsonWriter json_{JsonWriter::kIndented};
};

}  // namespace

absl::StatusOr<HfConfigFiles> WriteHfConfig(const HfConfigInputs& inputs) {
  return Writer(inputs).Run();
}

bool KnowsHfConfigKey(absl::string_view key) { return FindKey(key) != nullptr; }

}  // namespace narrow
