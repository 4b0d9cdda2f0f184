#include "formats/packing/integers/gptq_config.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/base/status.h"
#include "formats/json/json_copy.h"
#include "formats/json/json_writer.h"
#include "formats/packing/layout_facts.h"

namespace narrow {
namespace {

absl::StatusOr<std::string> StringOr(const JsonValue& config,
                                     absl::string_view key,
                                     absl::string_view otherwise) {
  const std::optional<JsonValue> value = config.FindNonNull(key);
  if (!value) {
    return std::string(otherwise);
  }
  ASSIGN_OR_RETURN(const absl::string_view text, value->GetString());
  return std::string(text);
}

int64_t ConfigGroupSize(const WeightScheme& scheme) {
  return scheme.block_cols == 0 ? -1 : scheme.block_cols;
}

// A Python regular expression that this name alone matches.
std::string ExactPattern(absl::string_view sign, absl::string_view name) {
  return absl::StrCat(sign, "^", absl::StrReplaceAll(name, {{".", "\\."}}),
                      "$");
}

void WriteScheme(const WeightScheme& scheme, JsonWriter* json) {
  json->Key("bits").Integer(scheme.bits);
  json->Key("group_size").Integer(ConfigGroupSize(scheme));
  json->Key("sym").Bool(scheme.zero == ZeroKind::kNone);
  json->Key("desc_act").Bool(scheme.column_groups);
}

// GPTQModel and vLLM read this; transformers does not, and wants
// modules_in_block_to_quantize for what it must leave alone.
void WriteDynamic(const PackedLayout& layout, const WeightScheme& base,
                  JsonWriter* json) {
  // A head is dense unless "lm_head" says otherwise.
  std::vector<std::string> dense;
  for (const std::string& name : layout.dense_linears) {
    if (!NameInBlock(name).empty()) {
      dense.push_back(name);
    }
  }
  bool any = !dense.empty();
  for (const PackedModule& module : layout.modules) {
    any = any || module.scheme != base;
  }
  if (!any) {
    return;
  }
  json->Key("dynamic").BeginObject();
  for (const std::string& name : dense) {
    json->Key(ExactPattern("-:", name)).BeginObject().EndObject();
  }
  for (const PackedModule& module : layout.modules) {
    if (module.scheme != base) {
      json->Key(ExactPattern("+:", module.name)).BeginObject();
      WriteScheme(module.scheme, json);
      json->EndObject();
    }
  }
  json->EndObject();
  if (dense.empty()) {
    return;
  }
  // Names within a block that are packed in some block.
  std::vector<std::string> names;
  for (const PackedModule& module : layout.modules) {
    std::string name = NameInBlock(module.name);
    if (!name.empty() &&
        std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  json->Key("modules_in_block_to_quantize").BeginArray().BeginArray();
  for (const std::string& name : names) {
    json->String(name);
  }
  json->EndArray().EndArray();
}

// Facts that clients look for at the top; the others go to "meta".
constexpr const char* kTopFacts[] = {"damp_percent", "damp_auto_increment",
                                     "static_groups", "true_sequential", "mse"};

absl::Status WriteFacts(const PackedLayout& layout, JsonWriter* json) {
  bool any_meta = false;
  for (const auto& [key, text] : layout.facts) {
    if (std::find(std::begin(kTopFacts), std::end(kTopFacts), key) !=
        std::end(kTopFacts)) {
      json->Key(key);
      RETURN_IF_ERROR(WriteJsonText(text, key, json));
    } else {
      any_meta = any_meta || key != "desc_act";
    }
  }
  if (!any_meta) {
    return absl::OkStatus();
  }
  json->Key("meta").BeginObject();
  for (const auto& [key, text] : layout.facts) {
    if (key != "desc_act" &&
        std::find(std::begin(kTopFacts), std::end(kTopFacts), key) ==
            std::end(kTopFacts)) {
      json->Key(key);
      RETURN_IF_ERROR(WriteJsonText(text, key, json));
    }
  }
  json->EndObject();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> WriteGptqConfig(const PackedLayout& layout,
                                            absl::string_view format) {
  if (layout.modules.empty()) {
    return absl::InvalidArgumentError("no layer is quantized");
  }
  const WeightScheme& base = CommonScheme(layout);
  bool packs_head = false;
  for (const PackedModule& module : layout.modules) {
    packs_head = packs_head || absl::EndsWith(module.name, "lm_head");
  }
  // "format" and "checkpoint_format": readers know one or the other. vLLM
  // wants bits, group_size, desc_act and sym, all of them.
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("quant_method").String("gptq");
  json.Key("checkpoint_format").String(format);
  json.Key("format").String(format);
  WriteScheme(base, &json);
  json.Key("lm_head").Bool(packs_head);
  json.Key("pack_dtype").String("int32");
  WriteDynamic(layout, base, &json);
  RETURN_IF_ERROR(WriteFacts(layout, &json));
  json.EndObject();
  return json.text();
}

std::string GptqFormatOf(const JsonValue& config) {
  const auto method = StringOr(config, "quant_method", "");
  if (!method.ok()) {
    return "";
  }
  if (*method == "auto-round") {
    const auto packing = StringOr(config, "packing_format", "");
    return packing.ok() && absl::StrContains(*packing, "gptq") ? "gptq" : "";
  }
  if (*method != "gptq") {
    return "";
  }
  const auto older = StringOr(config, "format", "gptq");
  const auto format =
      StringOr(config, "checkpoint_format", older.ok() ? *older : "?");
  return format.ok() ? *format : "?";
}

absl::StatusOr<GptqChoices> ReadGptqChoices(const JsonValue& config) {
  GptqChoices choices;
  ASSIGN_OR_RETURN(const JsonValue bits, config.Get("bits"));
  ASSIGN_OR_RETURN(choices.bits.emplace_back(), bits.GetInteger());
  int64_t group_size = 128;
  if (const auto value = config.FindNonNull("group_size")) {
    ASSIGN_OR_RETURN(group_size, value->GetInteger());
  }
  choices.group_sizes.push_back(group_size);
  if (const auto value = config.FindNonNull("sym")) {
    ASSIGN_OR_RETURN(choices.may_be_symmetric, value->GetBool());
  }
  if (const auto value = config.FindNonNull("desc_act")) {
    ASSIGN_OR_RETURN(choices.any_order, value->GetBool());
  }
  for (absl::string_view key : {"dynamic", "extra_config"}) {
    const std::optional<JsonValue> dynamic = config.FindNonNull(key);
    if (!dynamic) {
      continue;
    }
    ASSIGN_OR_RETURN(const auto members, dynamic->GetMembers());
    for (const JsonValue::Member& member : members) {
      if (const auto value = member.second.FindNonNull("bits")) {
        ASSIGN_OR_RETURN(choices.bits.emplace_back(), value->GetInteger());
      }
      if (const auto value = member.second.FindNonNull("group_size")) {
        ASSIGN_OR_RETURN(choices.group_sizes.emplace_back(),
                         value->GetInteger());
      }
      if (const auto value = member.second.FindNonNull("sym")) {
        ASSIGN_OR_RETURN(const bool sym, value->GetBool());
        choices.may_be_symmetric = choices.may_be_symmetric || sym;
      }
    }
  }
  return choices;
}

}  // namespace narrow
