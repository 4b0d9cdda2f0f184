#include "formats/lora/lora_config.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json.h"

namespace narrow {
namespace {

constexpr int64_t kMaxRank = 1 << 16;

// Keys that are read, or that say how an adapter was trained: they change
// nothing of what its tensors mean.
constexpr absl::string_view kHarmlessKeys[] = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
};

// Ways to begin training that leave the model's own weights alone.
constexpr absl::string_view kHarmlessBeginnings[] = {"gaussian", "orthogonal",
                                                     "eva"};

// null, false, "", [] and {}: an option that is off.
bool IsOff(const JsonValue& value) {
  if (value.is_null()) {
    return true;
  }
  if (value.is_bool()) {
    return !*value.GetBool();
  }
  if (value.is_string()) {
    return value.GetString()->empty();
  }
  if (value.is_array()) {
    return value.GetElements()->empty();
  }
  return value.is_object() && value.GetMembers()->empty();
}

template <size_t n>
bool IsAmong(absl::string_view name, const absl::string_view (&names)[n]) {
  for (const absl::string_view one : names) {
    if (one == name) {
      return true;
    }
  }
  return false;
}

absl::Status Unsupported(const JsonValue& root, absl::string_view what) {
  return absl::UnimplementedError(
      root.Error(absl::StrCat("merging an adapter with ", what)).message());
}

}  // namespace

class LoraConfigReader {
 public:
  LoraConfigReader(const JsonValue& root, LoraConfig* config)
      : root_(root), config_(config) {}

  absl::Status Run() {
    RETURN_IF_ERROR(CheckMethod());
    RETURN_IF_ERROR(CheckKeys());
    RETURN_IF_ERROR(CheckBeginning());
    if (const auto rank = root_.FindNonNull("r")) {
      ASSIGN_OR_RETURN(config_->rank_, rank->GetInteger());
    }
    if (config_->rank_ < 1 || config_->rank_ > kMaxRank) {
      return root_.Error(absl::StrCat("a rank, \"r\", of ", config_->rank_));
    }
    if (const auto alpha = root_.FindNonNull("lora_alpha")) {
      ASSIGN_OR_RETURN(config_->alpha_, alpha->GetNumber());
    }
    RETURN_IF_ERROR(ReadBool("use_rslora", &config_->use_rslora_));
    RETURN_IF_ERROR(ReadBool("use_dora", &config_->use_dora_));
    RETURN_IF_ERROR(ReadBool("fan_in_fan_out", &config_->fan_in_fan_out_));
    RETURN_IF_ERROR(ReadPatterns("rank_pattern", &config_->rank_pattern_));
    return ReadPatterns("alpha_pattern", &config_->alpha_pattern_);
  }

 private:
  absl::Status CheckMethod() {
    ASSIGN_OR_RETURN(const JsonValue type, root_.Get("peft_type"));
    ASSIGN_OR_RETURN(const absl::string_view name, type.GetString());
    return name == "LORA"
               ? absl::OkStatus()
               : Unsupported(root_, absl::StrCat("peft_type ", OneLine(name)));
  }

  absl::Status CheckKeys() {
    ASSIGN_OR_RETURN(const auto members, root_.GetMembers());
    for (const auto& [key, value] : members) {
      if (!IsAmong(key, kHarmlessKeys) && !IsOff(value)) {
        return Unsupported(root_, absl::StrCat("the option ", QuotedName(key)));
      }
    }
    return absl::OkStatus();
  }

  // Some beginnings (PiSSA, OLoRA, LoftQ ...) change the model's weights too,
  // and the adapter belongs to the changed ones.
  absl::Status CheckBeginning() {
    const auto begin = root_.FindNonNull("init_lora_weights");
    if (!begin.has_value() || !begin->is_string()) {
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const absl::string_view name, begin->GetString());
    return IsAmong(name, kHarmlessBeginnings)
               ? absl::OkStatus()
               : Unsupported(root_, absl::StrCat("init_lora_weights ",
                                                 QuotedName(name)));
  }

  absl::Status ReadBool(absl::string_view key, bool* value) {
    if (const auto found = root_.FindNonNull(key)) {
      ASSIGN_OR_RETURN(*value, found->GetBool());
    }
    return absl::OkStatus();
  }

  absl::Status ReadPatterns(absl::string_view key,
                            LoraConfig::Patterns* patterns) {
    const auto found = root_.FindNonNull(key);
    if (!found.has_value()) {
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const auto members, found->GetMembers());
    for (const auto& [pattern, value] : members) {
      absl::StatusOr<Regex> regex =
          Regex::Compile(absl::StrCat("(?:.*\\.)?(?:", pattern, ")\\z"));
      if (!regex.ok()) {
        return Annotate(regex.status(),
                        absl::StrCat("in ", key, "; reading ", config_->file_));
      }
      ASSIGN_OR_RETURN(const double number, value.GetNumber());
      if (key == "rank_pattern" && !(number >= 1 && number <= kMaxRank &&
                                     number == std::floor(number))) {
        return value.Error("no rank");
      }
      patterns->emplace_back(*std::move(regex), number);
    }
    return absl::OkStatus();
  }

  const JsonValue root_;
  LoraConfig* const config_;
};

absl::StatusOr<LoraConfig> LoraConfig::Read(absl::string_view folder) {
  LoraConfig config;
  config.file_ = JoinPath(folder, "adapter_config.json");
  ASSIGN_OR_RETURN(const auto document, JsonDocument::ReadFile(config.file_));
  if (!document->root().is_object()) {
    return document->root().Error("expected an object");
  }
  RETURN_IF_ERROR(LoraConfigReader(document->root(), &config).Run());
  return config;
}

const double* LoraConfig::Match(const Patterns& patterns,
                                absl::string_view module) {
  Regex::Scratch scratch;
  for (const auto& [regex, value] : patterns) {
    if (regex.MatchAt(module, 0, &scratch) != Regex::kNoMatch) {
      return &value;
    }
  }
  return nullptr;
}

absl::StatusOr<LoraStrength> LoraConfig::StrengthOf(
    absl::string_view module) const {
  const double* rank = Match(rank_pattern_, module);
  const double* alpha = Match(alpha_pattern_, module);
  LoraStrength strength;
  strength.rank = rank != nullptr ? static_cast<int64_t>(*rank) : rank_;
  const double r = static_cast<double>(strength.rank);
  const double scaling =
      (alpha != nullptr ? *alpha : alpha_) / (use_rslora_ ? std::sqrt(r) : r);
  strength.scaling = static_cast<float>(scaling);
  if (!std::isfinite(strength.scaling)) {
    return absl::DataLossError(absl::StrCat("lora_alpha of ",
                                            QuotedName(module),
                                            " is no number; reading ", file_));
  }
  return strength;
}

}  // namespace narrow
