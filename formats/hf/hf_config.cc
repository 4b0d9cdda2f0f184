#include "formats/hf/hf_config.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

// Largest count any config may hold; users multiply three of them.
constexpr int64_t kMaxContext = int64_t{1} << 40;

// As which GGUF stores numbers, and the forward pass uses them.
bool FitsFloat(double n) {
  return std::abs(n) <= static_cast<double>(std::numeric_limits<float>::max());
}

std::string Quoted(HfConfig::Keys keys) {
  return absl::StrCat("'", absl::StrJoin(keys, "' or '"), "'");
}

absl::Status Annotated(const absl::Status& status, absl::string_view key) {
  return Annotate(status, absl::StrCat("key '", key, "'"));
}

// An object with members; null, absent and {} count as nothing, as they are
// all false in Python.
std::optional<JsonValue> FindFilledObject(const HfConfig& hf,
                                          absl::string_view key) {
  std::optional<JsonValue> value = hf.Find({key});
  if (!value || !value->is_object()) {
    return std::nullopt;
  }
  auto members = value->GetMembers();
  if (!members.ok() || members->empty()) {
    return std::nullopt;
  }
  return value;
}

absl::Status ReadNumber(const JsonValue& dict, absl::string_view key,
                        std::optional<double>* number) {
  if (std::optional<JsonValue> value = dict.FindNonNull(key)) {
    ASSIGN_OR_RETURN(const double n, value->GetNumber());
    if (!FitsFloat(n)) {
      return value->Error(
          absl::StrCat("the number ", n, " is beyond a float32's range"));
    }
    *number = n;
  }
  return absl::OkStatus();
}

absl::Status ReadFactors(const JsonValue& dict, absl::string_view key,
                         std::vector<double>* factors) {
  std::optional<JsonValue> list = dict.FindNonNull(key);
  if (!list) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<JsonValue> elements, list->GetElements());
  factors->clear();
  for (const JsonValue& element : elements) {
    ASSIGN_OR_RETURN(const double factor, element.GetNumber());
    if (!FitsFloat(factor) || !(static_cast<float>(factor) > 0)) {
      return element.Error("a rotary factor must be positive and finite");
    }
    factors->push_back(factor);
  }
  return absl::OkStatus();
}

// Overwrites what `dict` gives, keeps the rest. "type" is the older name of
// "rope_type" and counts only without it.
absl::Status ReadRopeDict(const JsonValue& dict, HfRope* rope) {
  std::optional<JsonValue> type = dict.FindNonNull("rope_type");
  if (!type && rope->type.empty()) {
    type = dict.FindNonNull("type");
  }
  if (type) {
    ASSIGN_OR_RETURN(const absl::string_view text, type->GetString());
    rope->type = std::string(text);
  }
  RETURN_IF_ERROR(ReadNumber(dict, "rope_theta", &rope->theta));
  RETURN_IF_ERROR(ReadNumber(dict, "factor", &rope->factor));
  RETURN_IF_ERROR(ReadNumber(dict, "low_freq_factor", &rope->low_freq_factor));
  RETURN_IF_ERROR(
      ReadNumber(dict, "high_freq_factor", &rope->high_freq_factor));
  RETURN_IF_ERROR(
      ReadNumber(dict, "partial_rotary_factor", &rope->partial_rotary_factor));
  RETURN_IF_ERROR(ReadNumber(dict, "attn_factor", &rope->attention_factor));
  RETURN_IF_ERROR(
      ReadNumber(dict, "attention_factor", &rope->attention_factor));
  RETURN_IF_ERROR(
      ReadNumber(dict, "extrapolation_factor", &rope->extrapolation_factor));
  RETURN_IF_ERROR(ReadNumber(dict, "beta_fast", &rope->beta_fast));
  RETURN_IF_ERROR(ReadNumber(dict, "beta_slow", &rope->beta_slow));
  RETURN_IF_ERROR(ReadNumber(dict, "mscale", &rope->mscale));
  RETURN_IF_ERROR(ReadNumber(dict, "mscale_all_dim", &rope->mscale_all_dim));
  RETURN_IF_ERROR(ReadFactors(dict, "long_factor", &rope->long_factors));
  RETURN_IF_ERROR(ReadFactors(dict, "short_factor", &rope->short_factors));
  if (auto truncate = dict.FindNonNull("truncate")) {
    ASSIGN_OR_RETURN(rope->truncate, truncate->GetBool());
  }
  if (auto original = dict.FindNonNull("original_max_position_embeddings")) {
    ASSIGN_OR_RETURN(const int64_t n, original->GetInteger());
    if (n < 1 || n > kMaxContext) {
      return original->Error(absl::StrCat("context of ", n, " positions"));
    }
    rope->original_context = n;
  }
  if (dict.FindNonNull("mrope_section")) {
    return absl::UnimplementedError(
        "rotary sections (mrope_section) of multimodal models are not "
        "supported");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<const HfConfig>> HfConfig::Read(
    absl::string_view folder) {
  const std::string path = JoinPath(folder, "config.json");
  if (!FileExists(path)) {
    return absl::NotFoundError(absl::StrCat(
        "no config.json, so this is no model folder; reading ", folder));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, 64 << 20));
  return Parse(text, path);
}

absl::StatusOr<std::unique_ptr<const HfConfig>> HfConfig::Parse(
    absl::string_view text, absl::string_view file) {
  auto hf = std::unique_ptr<HfConfig>(new HfConfig);
  ASSIGN_OR_RETURN(hf->document_, JsonDocument::Parse(text, file));
  if (!hf->root().is_object()) {
    return hf->root().Error("expected an object");
  }
  RETURN_IF_ERROR(hf->ReadArchitecture());
  RETURN_IF_ERROR(hf->Normalise());
  absl::Status rope = hf->ReadRope();
  if (!rope.ok()) {
    return absl::StrContains(rope.message(), file)
               ? rope
               : Annotate(rope, absl::StrCat("reading ", file));
  }
  return hf;
}

absl::Status HfConfig::ReadArchitecture() {
  // A multimodal config may name the text model's own class.
  for (const char* parent : {"text_config", ""}) {
    std::optional<JsonValue> config =
        *parent == '\0' ? root() : root().FindNonNull(parent);
    if (!config) {
      continue;
    }
    std::optional<JsonValue> list = config->FindNonNull("architectures");
    if (!list) {
      continue;
    }
    ASSIGN_OR_RETURN(const std::vector<JsonValue> names, list->GetElements());
    if (names.empty()) {
      continue;
    }
    ASSIGN_OR_RETURN(const absl::string_view name, names[0].GetString());
    architecture_ = std::string(name);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "no 'architectures', so the model's family is unknown; reading ",
      file()));
}

absl::Status HfConfig::Normalise() {
  JsonValue text = root();
  std::optional<JsonValue> text_config = root().FindNonNull("text_config");
  if (text_config) {
    if (!text_config->is_object()) {
      return text_config->Error("expected an object");
    }
    text = *text_config;
  }
  if (auto type = text.FindNonNull("model_type")) {
    ASSIGN_OR_RETURN(const absl::string_view model_type, type->GetString());
    class_ = FindHfClass(model_type);
  } else if (text_config && architecture_ == "Gemma3ForConditionalGeneration") {
    class_ = FindHfClass("gemma3_text");
  }
  layers_ = {text};
  if (class_ != nullptr) {
    ASSIGN_OR_RETURN(defaults_, JsonDocument::Parse(class_->defaults, file()));
    layers_.push_back(defaults_->root());
  }
  if (text_config) {
    layers_.push_back(root());
  }
  if (class_ == nullptr) {
    return absl::OkStatus();
  }

  JsonWriter adjusted(JsonWriter::kCompact);
  adjusted.BeginObject();
  ASSIGN_OR_RETURN(const int64_t n_heads,
                   RequireSize({"num_attention_heads"}, 1 << 16));
  if (class_->fills_kv_heads && !Find({"num_key_value_heads"})) {
    adjusted.Key("num_key_value_heads").Integer(n_heads);
  }
  if (class_->fills_head_dim && !Find({"head_dim"})) {
    ASSIGN_OR_RETURN(const int64_t hidden,
                     RequireSize({"hidden_size"}, 1 << 24));
    adjusted.Key("head_dim").Integer(hidden / n_heads);
  }
  if (class_->window_needs_switch) {
    ASSIGN_OR_RETURN(const bool use, FindBool({"use_sliding_window"}, false));
    if (!use) {
      adjusted.Key("sliding_window").Null();
    }
  }
  adjusted.EndObject();
  ASSIGN_OR_RETURN(adjusted_, JsonDocument::Parse(adjusted.text(), file()));
  layers_.insert(layers_.begin(), adjusted_->root());
  return absl::OkStatus();
}

absl::Status HfConfig::ReadRope() {
  std::optional<JsonValue> scaling = FindFilledObject(*this, "rope_scaling");
  std::optional<JsonValue> parameters =
      FindFilledObject(*this, "rope_parameters");
  const bool is_gemma3 =
      class_ != nullptr && class_->window == WindowRule::kPattern;

  // The dictionary of layers with global attention, and that of the others.
  std::optional<JsonValue> global;
  std::optional<JsonValue> local;
  if (class_ == nullptr) {
    global = parameters ? parameters : scaling;
  } else {
    global = scaling && !is_gemma3 ? scaling : parameters;
  }
  bool is_nested = false;
  if (global) {
    std::optional<JsonValue> full = global->FindNonNull("full_attention");
    local = global->FindNonNull("sliding_attention");
    is_nested = full || local;
    if (full) {
      global = full;
    } else if (is_gemma3) {
      global = std::nullopt;
    }
  }
  if (is_gemma3) {
    rope_.type = "default";
  }
  if (global) {
    if (is_gemma3) {
      rope_.type.clear();
    }
    RETURN_IF_ERROR(ReadRopeDict(*global, &rope_));
  }
  if (is_gemma3) {
    if (rope_.type.empty()) {
      rope_.type = "default";
    }
    if (scaling) {
      RETURN_IF_ERROR(ReadRopeDict(*scaling, &rope_));
    }
  }
  if (local) {
    RETURN_IF_ERROR(ReadNumber(*local, "rope_theta", &rope_.local_theta));
  }

  // What the config gives beside the dictionaries.
  if (!rope_.theta) {
    ASSIGN_OR_RETURN(
        rope_.theta,
        FindNumber({"global_rope_theta", "rope_global_theta",
                    "rope_theta_global", "rope_theta", "rotary_emb_base"}));
  }
  if (!rope_.local_theta && (!is_nested || is_gemma3)) {
    ASSIGN_OR_RETURN(
        rope_.local_theta,
        FindNumber({"local_rope_theta", "rope_local_theta", "rope_theta_local",
                    "swa_rope_theta", "rope_local_base_freq"}));
  }
  if (!rope_.partial_rotary_factor) {
    ASSIGN_OR_RETURN(
        rope_.partial_rotary_factor,
        FindNumber({"partial_rotary_factor", "rope_pct", "rope_percent"}));
  }
  if (class_ != nullptr) {
    if (rope_.type.empty()) {
      rope_.type = "default";
    }
    if (!rope_.theta) {
      rope_.theta = class_->default_theta;
    }
    if (is_gemma3 && !rope_.local_theta) {
      rope_.local_theta = 10000;
    }
  }

  // Phi-3 keeps the trained context beside the dictionary, and that counts
  // more; elsewhere the dictionary counts, then the context itself.
  ASSIGN_OR_RETURN(const std::optional<int64_t> original,
                   FindSize({"original_max_position_embeddings"}, kMaxContext));
  const bool is_phi3 =
      class_ != nullptr && absl::string_view(class_->model_type) == "phi3";
  if (original && *original > 0 && (is_phi3 || !rope_.original_context)) {
    if (is_phi3 || rope_.type == "default" || rope_.type.empty() ||
        class_ == nullptr) {
      rope_.original_context = original;
    }
  }
  if (class_ != nullptr && !rope_.original_context &&
      (rope_.type == "llama3" || rope_.type == "yarn" ||
       rope_.type == "longrope")) {
    ASSIGN_OR_RETURN(rope_.original_context,
                     FindSize({"max_position_embeddings"}, kMaxContext));
  }
  if (is_phi3 && (rope_.type == "su" || rope_.type == "yarn")) {
    rope_.type = "longrope";
  }
  return absl::OkStatus();
}

std::optional<JsonValue> HfConfig::Find(Keys keys) const {
  for (absl::string_view key : keys) {
    for (const JsonValue& layer : layers_) {
      if (std::optional<JsonValue> value = layer.Find(key)) {
        return value->is_null() ? std::nullopt : value;
      }
    }
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<int64_t>> HfConfig::FindSize(Keys keys,
                                                          int64_t max) const {
  std::optional<JsonValue> value = Find(keys);
  if (!value) {
    return std::nullopt;
  }
  absl::StatusOr<int64_t> n = value->GetInteger();
  if (!n.ok()) {
    return Annotated(n.status(), *keys.begin());
  }
  if (*n < 0 || *n > max) {
    return Error(absl::StrCat("key ", Quoted(keys), " is ", *n,
                              ", not within [0, ", max, "]"));
  }
  return *n;
}

absl::StatusOr<std::optional<double>> HfConfig::FindNumber(Keys keys) const {
  std::optional<JsonValue> value = Find(keys);
  if (!value) {
    return std::nullopt;
  }
  absl::StatusOr<double> n = value->GetNumber();
  if (!n.ok()) {
    return Annotated(n.status(), *keys.begin());
  }
  if (!FitsFloat(*n)) {
    return Error(absl::StrCat("key ", Quoted(keys), " is ", *n,
                              ", beyond a float32's range"));
  }
  return *n;
}

absl::StatusOr<bool> HfConfig::FindBool(Keys keys, bool otherwise) const {
  std::optional<JsonValue> value = Find(keys);
  if (!value) {
    return otherwise;
  }
  absl::StatusOr<bool> b = value->GetBool();
  return b.ok() ? b : Annotated(b.status(), *keys.begin());
}

absl::StatusOr<std::string> HfConfig::FindString(
    Keys keys, absl::string_view otherwise) const {
  std::optional<JsonValue> value = Find(keys);
  if (!value) {
    return std::string(otherwise);
  }
  absl::StatusOr<absl::string_view> text = value->GetString();
  if (!text.ok()) {
    return Annotated(text.status(), *keys.begin());
  }
  return std::string(*text);
}

absl::StatusOr<int64_t> HfConfig::RequireSize(Keys keys, int64_t max) const {
  ASSIGN_OR_RETURN(const std::optional<int64_t> n, FindSize(keys, max));
  if (!n) {
    return Error(absl::StrCat("no key ", Quoted(keys)));
  }
  if (*n == 0) {
    return Error(absl::StrCat("key ", Quoted(keys), " is 0"));
  }
  return *n;
}

absl::StatusOr<double> HfConfig::RequireNumber(Keys keys) const {
  ASSIGN_OR_RETURN(const std::optional<double> n, FindNumber(keys));
  if (!n) {
    return Error(absl::StrCat("no key ", Quoted(keys)));
  }
  return *n;
}

absl::Status HfConfig::Error(absl::string_view cause) const {
  return absl::InvalidArgumentError(absl::StrCat(cause, "; reading ", file()));
}

}  // namespace narrow
