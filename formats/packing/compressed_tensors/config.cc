#include "formats/packing/compressed_tensors/config.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"
#include "formats/packing/module_planes.h"
#include "formats/packing/plane.h"

namespace narrow {
namespace compressed_tensors {
namespace {

constexpr char kPattern[] = "re:";

// The arguments of weights or inputs, as the file spells them.
struct Arguments {
  int64_t bits = 8;
  bool is_float = false;
  bool symmetric = true;
  std::string strategy;
  int64_t group_size = 0;
  int64_t block_rows = 0;
  int64_t block_cols = 0;
  bool dynamic = false;  // "local" included
};

absl::StatusOr<bool> ReadDynamic(const JsonValue& value) {
  // "local": a global scale from calibration, the others at run time.
  if (value.is_string()) {
    return true;
  }
  return value.GetBool();
}

absl::Status ReadBlock(const JsonValue& value, Arguments* arguments) {
  ASSIGN_OR_RETURN(const std::vector<JsonValue> sizes, value.GetElements());
  if (sizes.size() != 2) {
    return value.Error(
        absl::StrCat("expected two sizes, found ", sizes.size()));
  }
  ASSIGN_OR_RETURN(arguments->block_rows, sizes[0].GetInteger());
  ASSIGN_OR_RETURN(arguments->block_cols, sizes[1].GetInteger());
  if (arguments->block_rows < 1 || arguments->block_rows > INT32_MAX ||
      arguments->block_cols < 1 || arguments->block_cols > INT32_MAX) {
    return value.Error(absl::StrCat("blocks of ", arguments->block_rows, " x ",
                                    arguments->block_cols));
  }
  return absl::OkStatus();
}

absl::StatusOr<Arguments> ReadArguments(const JsonValue& json) {
  Arguments arguments;
  if (const auto bits = json.FindNonNull("num_bits")) {
    ASSIGN_OR_RETURN(arguments.bits, bits->GetInteger());
  }
  if (const auto type = json.FindNonNull("type")) {
    ASSIGN_OR_RETURN(const absl::string_view name, type->GetString());
    if (name != "int" && name != "float") {
      return type->Error(absl::StrCat("unknown type ", QuotedName(name)));
    }
    arguments.is_float = name == "float";
  }
  if (const auto symmetric = json.FindNonNull("symmetric")) {
    ASSIGN_OR_RETURN(arguments.symmetric, symmetric->GetBool());
  }
  if (const auto size = json.FindNonNull("group_size")) {
    ASSIGN_OR_RETURN(arguments.group_size, size->GetInteger());
    if (arguments.group_size < -1 || arguments.group_size > INT32_MAX) {
      return size->Error(
          absl::StrCat("a group of ", arguments.group_size, " columns"));
    }
  }
  if (const auto strategy = json.FindNonNull("strategy")) {
    ASSIGN_OR_RETURN(const absl::string_view name, strategy->GetString());
    arguments.strategy = std::string(name);
  } else {
    arguments.strategy = arguments.group_size > 0    ? "group"
                         : arguments.group_size == 0 ? "tensor"
                                                     : "channel";
  }
  if (const auto block = json.FindNonNull("block_structure")) {
    RETURN_IF_ERROR(ReadBlock(*block, &arguments));
  }
  if (const auto dynamic = json.FindNonNull("dynamic")) {
    ASSIGN_OR_RETURN(arguments.dynamic, ReadDynamic(*dynamic));
  }
  return arguments;
}

absl::Status SetBlocks(const JsonValue& json, const Arguments& arguments,
                       WeightScheme* scheme) {
  const std::string& strategy = arguments.strategy;
  scheme->block_rows = 1;
  scheme->block_cols = 0;
  if (strategy == "tensor") {
    scheme->block_rows = 0;
  } else if (strategy == "group" || strategy == "tensor_group") {
    if (arguments.group_size < 1) {
      return json.Error(
          absl::StrCat("strategy \"", strategy, "\" without a group_size"));
    }
    scheme->block_cols = arguments.group_size;
  } else if (strategy == "block") {
    if (arguments.block_rows < 1) {
      return json.Error("strategy \"block\" without a block_structure");
    }
    scheme->block_rows = arguments.block_rows;
    scheme->block_cols = arguments.block_cols;
  } else if (strategy != "channel") {
    return absl::UnimplementedError(
        absl::StrCat("weights with the strategy ", QuotedName(strategy)));
  }
  return absl::OkStatus();
}

// What clients do with the inputs. A way that we have no word for leaves the
// weights as they are, so it is read as none.
ActivationKind ActivationsOf(const Arguments& inputs) {
  const std::string& strategy = inputs.strategy;
  if (inputs.is_float && inputs.bits == 4) {
    return strategy == "tensor_group"                  ? ActivationKind::kNvfp4
           : inputs.dynamic && inputs.group_size == 32 ? ActivationKind::kMxfp4
                                                       : ActivationKind::kNone;
  }
  if (inputs.bits != 8 || !inputs.symmetric) {
    return ActivationKind::kNone;
  }
  const bool by_token = inputs.dynamic && strategy == "token";
  const bool fixed = !inputs.dynamic && strategy == "tensor";
  if (!inputs.is_float) {
    return by_token ? ActivationKind::kDynamicInt8
           : fixed  ? ActivationKind::kStaticInt8
                    : ActivationKind::kNone;
  }
  return by_token ? ActivationKind::kDynamicFp8
         : fixed  ? ActivationKind::kStaticFp8
         : inputs.dynamic && inputs.group_size == 128
             ? ActivationKind::kDynamicFp8Groups
             : ActivationKind::kNone;
}

absl::StatusOr<WeightScheme> ReadScheme(const JsonValue& weights,
                                        const JsonValue& group) {
  ASSIGN_OR_RETURN(const Arguments arguments, ReadArguments(weights));
  WeightScheme scheme;
  RETURN_IF_ERROR(SetBlocks(weights, arguments, &scheme));
  const int64_t bits = arguments.bits;
  const bool known =
      arguments.is_float ? bits == 4 || bits == 8 : bits >= 1 && bits <= 8;
  if (!known) {
    return absl::UnimplementedError(absl::StrCat(
        arguments.is_float ? "float" : "int", " weights of ", bits, " bits"));
  }
  scheme.bits = static_cast<int>(bits);
  if (arguments.is_float) {
    scheme.code = bits == 4 ? CodeKind::kE2M1 : CodeKind::kE4M3;
    if (!arguments.symmetric) {
      return absl::UnimplementedError("float weights with zero points");
    }
  }
  scheme.zero = arguments.symmetric ? ZeroKind::kNone : ZeroKind::kInteger;
  if (const auto inputs = group.FindNonNull("input_activations")) {
    ASSIGN_OR_RETURN(const Arguments of_inputs, ReadArguments(*inputs));
    scheme.activations = ActivationsOf(of_inputs);
  }
  return scheme;
}

constexpr const char* kReadFormats[] = {
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp8-quantized",
    "mixed-precision",
    "dense",
    "mxfp8-pack-quantized",
    "fakequant",
};

absl::Status CheckFormat(const JsonValue& json) {
  const auto format = json.FindNonNull("format");
  if (!format) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const absl::string_view name, format->GetString());
  for (const char* known : kReadFormats) {
    if (name == known) {
      return absl::OkStatus();
    }
  }
  return absl::UnimplementedError(
      absl::StrCat("compressed-tensors of format ", QuotedName(name)));
}

// What changes the values of weights, or where they are, besides packing.
absl::Status CheckNothingElse(const JsonValue& json) {
  if (const auto sparsity = json.FindNonNull("sparsity_config")) {
    const auto format = sparsity->FindNonNull("format");
    const absl::string_view name =
        format ? format->GetString().value_or("") : "dense";
    if (name != "dense") {
      return absl::UnimplementedError(
          absl::StrCat("sparse weights of format ", QuotedName(name)));
    }
  }
  if (const auto transforms = json.FindNonNull("transform_config")) {
    const auto groups = transforms->FindNonNull("config_groups");
    if (groups && groups->is_object() && !groups->GetMembers()->empty()) {
      return absl::UnimplementedError(
          "weights that are transformed at run time (\"transform_config\")");
    }
  }
  return absl::OkStatus();
}

// Writing.

const char* StrategyName(const WeightScheme& scheme) {
  if (scheme.code == CodeKind::kE2M1 && scheme.global_scale) {
    return "tensor_group";
  }
  return scheme.block_rows == 0   ? "tensor"
         : scheme.block_rows > 1  ? "block"
         : scheme.block_cols == 0 ? "channel"
                                  : "group";
}

// Keys that the library's validator knows; it refuses any other.
void WriteWeights(const WeightScheme& scheme, JsonWriter* json) {
  const Format format = FormatOf(scheme);
  json->BeginObject();
  json->Key("num_bits").Integer(scheme.bits);
  json->Key("type").String(scheme.code == CodeKind::kInteger ? "int" : "float");
  json->Key("symmetric").Bool(scheme.zero == ZeroKind::kNone);
  json->Key("strategy").String(StrategyName(scheme));
  json->Key("group_size");
  if (scheme.block_rows == 1 && scheme.block_cols > 0) {
    json->Integer(scheme.block_cols);
  } else {
    json->Null();
  }
  if (scheme.block_rows > 1) {
    json->Key("block_structure")
        .BeginArray()
        .Integer(scheme.block_rows)
        .Integer(scheme.block_cols)
        .EndArray();
  }
  json->Key("dynamic").Bool(false);
  const char* scale_type =
      format == Format::kNvfp4 ? "torch.float8_e4m3fn"
      : format == Format::kMxfp4 || format == Format::kMxfp8 ? "torch.uint8"
                                                             : nullptr;
  if (scale_type != nullptr) {
    json->Key("scale_dtype").String(scale_type);
    json->Key("zp_dtype").String(scale_type);
  }
  json->EndObject();
}

struct InputArguments {
  int bits;
  const char* type;
  const char* strategy;
  int group_size;       // 0: none
  const char* dynamic;  // JSON
  const char* scale_type;
};

InputArguments ArgumentsOf(ActivationKind activations) {
  switch (activations) {
    case ActivationKind::kDynamicInt8:
      return {8, "int", "token", 0, "true", nullptr};
    case ActivationKind::kStaticInt8:
      return {8, "int", "tensor", 0, "false", nullptr};
    case ActivationKind::kDynamicFp8:
      return {8, "float", "token", 0, "true", nullptr};
    case ActivationKind::kStaticFp8:
      return {8, "float", "tensor", 0, "false", nullptr};
    case ActivationKind::kDynamicFp8Groups:
      return {8, "float", "group", 128, "true", nullptr};
    case ActivationKind::kNvfp4:
      return {4, "float", "tensor_group", 16, "local", "torch.float8_e4m3fn"};
    case ActivationKind::kMxfp4:
      return {4, "float", "group", 32, "true", "torch.uint8"};
    case ActivationKind::kNone:
      break;
  }
  return {};
}

void WriteInputs(ActivationKind activations, JsonWriter* json) {
  if (activations == ActivationKind::kNone) {
    json->Null();
    return;
  }
  const InputArguments arguments = ArgumentsOf(activations);
  json->BeginObject();
  json->Key("num_bits").Integer(arguments.bits);
  json->Key("type").String(arguments.type);
  json->Key("symmetric").Bool(true);
  json->Key("strategy").String(arguments.strategy);
  json->Key("group_size");
  if (arguments.group_size > 0) {
    json->Integer(arguments.group_size);
  } else {
    json->Null();
  }
  json->Key("dynamic");
  if (absl::string_view(arguments.dynamic) == "local") {
    json->String("local");
  } else {
    json->Bool(absl::string_view(arguments.dynamic) == "true");
  }
  if (arguments.scale_type != nullptr) {
    json->Key("scale_dtype").String(arguments.scale_type);
    json->Key("zp_dtype").String(arguments.scale_type);
  }
  json->EndObject();
}

// Schemes in the order of their first modules.
std::vector<WeightScheme> SchemesOf(const PackedLayout& layout) {
  std::vector<WeightScheme> schemes;
  for (const PackedModule& module : layout.modules) {
    if (std::find(schemes.begin(), schemes.end(), module.scheme) ==
        schemes.end()) {
      schemes.push_back(module.scheme);
    }
  }
  return schemes;
}

}  // namespace

Format FormatOf(const WeightScheme& scheme) {
  if (scheme.code == CodeKind::kInteger) {
    return scheme.activations == ActivationKind::kNone ? Format::kPackQuantized
                                                       : Format::kIntQuantized;
  }
  if (scheme.code == CodeKind::kE2M1) {
    return scheme.global_scale ? Format::kNvfp4 : Format::kMxfp4;
  }
  if (scheme.scale_type == QuantType::kF8E8M0) {
    return Format::kMxfp8;
  }
  return scheme.activations == ActivationKind::kNone ? Format::kNaiveQuantized
                                                     : Format::kFloatQuantized;
}

const char* FormatName(Format format) {
  switch (format) {
    case Format::kPackQuantized:
      return "pack-quantized";
    case Format::kIntQuantized:
      return "int-quantized";
    case Format::kFloatQuantized:
      return "float-quantized";
    case Format::kNaiveQuantized:
      return "naive-quantized";
    case Format::kNvfp4:
      return "nvfp4-pack-quantized";
    case Format::kMxfp4:
      return "mxfp4-pack-quantized";
    case Format::kMxfp8:
      return "mxfp8-quantized";
  }
  return "";
}

absl::StatusOr<NameList> NameList::Read(const JsonValue& json) {
  NameList list;
  ASSIGN_OR_RETURN(const std::vector<JsonValue> elements, json.GetElements());
  for (const JsonValue& element : elements) {
    ASSIGN_OR_RETURN(absl::string_view name, element.GetString());
    if (!absl::ConsumePrefix(&name, kPattern)) {
      list.names_.emplace_back(name);
      continue;
    }
    absl::StatusOr<Regex> pattern = Regex::Compile(name);
    if (!pattern.ok()) {
      return absl::UnimplementedError(
          absl::StrCat("pattern ", QuotedName(name), " of \"", element.Path(),
                       "\": ", pattern.status().message()));
    }
    list.patterns_.push_back(*std::move(pattern));
  }
  return list;
}

bool NameList::HasName(absl::string_view name) const {
  if (std::find(names_.begin(), names_.end(), name) != names_.end()) {
    return true;
  }
  Regex::Scratch scratch;
  for (const Regex& pattern : patterns_) {
    if (pattern.MatchAt(name, 0, &scratch) != Regex::kNoMatch) {
      return true;
    }
  }
  return false;
}

bool NameList::HasLinear(absl::string_view name) const {
  return HasName("Linear") || HasName(name);
}

absl::StatusOr<const ConfigGroup*> Config::Match(
    absl::string_view module, const TensorView& plane) const {
  if (ignore.HasName(module)) {
    return PlaneError(plane, absl::StrCat("is of a packed layer, which the "
                                          "configuration's \"ignore\" lists"));
  }
  // A layer's own name before its class, as the library has it.
  for (const ConfigGroup& group : groups) {
    if (group.targets.HasName(module)) {
      return &group;
    }
  }
  for (const ConfigGroup& group : groups) {
    if (group.targets.HasLinear(module)) {
      return &group;
    }
  }
  // Names on disk may differ from those of a program's modules; with one
  // group there is no doubt.
  if (groups.size() == 1) {
    return &groups[0];
  }
  return PlaneError(
      plane, absl::StrCat("is of a packed layer, which is no target of any of ",
                          groups.size(), " config groups"));
}

absl::StatusOr<Config> ReadConfig(const JsonValue& json) {
  Config config;
  RETURN_IF_ERROR(CheckFormat(json));
  RETURN_IF_ERROR(CheckNothingElse(json));
  ASSIGN_OR_RETURN(const JsonValue groups, json.Get("config_groups"));
  ASSIGN_OR_RETURN(const std::vector<JsonValue::Member> members,
                   groups.GetMembers());
  for (const JsonValue::Member& member : members) {
    const JsonValue& group_json = member.second;
    if (group_json.is_array()) {
      return absl::UnimplementedError(
          absl::StrCat("config group ", QuotedName(member.first),
                       " that is named for a preset"));
    }
    RETURN_IF_ERROR(CheckFormat(group_json));
    const auto weights = group_json.FindNonNull("weights");
    if (!weights) {
      continue;  // of inputs or caches alone
    }
    ConfigGroup group;
    group.name = std::string(member.first);
    ASSIGN_OR_RETURN(const JsonValue targets, group_json.Get("targets"));
    ASSIGN_OR_RETURN(group.targets, NameList::Read(targets));
    absl::StatusOr<WeightScheme> scheme = ReadScheme(*weights, group_json);
    if (!scheme.ok()) {
      return Annotate(scheme.status(),
                      absl::StrCat("in config group ", QuotedName(group.name)));
    }
    group.scheme = *scheme;
    config.groups.push_back(std::move(group));
  }
  if (const auto ignore = json.FindNonNull("ignore")) {
    ASSIGN_OR_RETURN(config.ignore, NameList::Read(*ignore));
  }
  return config;
}

absl::StatusOr<std::string> WriteConfig(const PackedLayout& layout) {
  const std::vector<WeightScheme> schemes = SchemesOf(layout);
  if (schemes.empty()) {
    return absl::InvalidArgumentError("no layer is packed");
  }
  const Format format = FormatOf(schemes[0]);
  const bool mixed =
      std::any_of(schemes.begin(), schemes.end(),
                  [&](const WeightScheme& s) { return FormatOf(s) != format; });
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("quant_method").String("compressed-tensors");
  json.Key("format").String(mixed ? "mixed-precision" : FormatName(format));
  json.Key("quantization_status").String("compressed");
  json.Key("config_groups").BeginObject();
  for (size_t i = 0; i < schemes.size(); ++i) {
    json.Key(absl::StrCat("group_", i)).BeginObject();
    json.Key("format").String(FormatName(FormatOf(schemes[i])));
    json.Key("targets").BeginArray();
    // Groups must not overlap: the first target that fits wins, or the last,
    // as the client's version has it.
    if (schemes.size() == 1) {
      json.String("Linear");
    } else {
      for (const PackedModule& module : layout.modules) {
        if (module.scheme == schemes[i]) {
          json.String(module.name);
        }
      }
    }
    json.EndArray();
    json.Key("weights");
    WriteWeights(schemes[i], &json);
    json.Key("input_activations");
    WriteInputs(schemes[i].activations, &json);
    json.Key("output_activations").Null();
    json.EndObject();
  }
  json.EndObject();
  json.Key("ignore").BeginArray();
  for (const std::string& name : layout.dense_linears) {
    json.String(name);
  }
  // A head that shares the embedding's weight has none of its own on disk,
  // but clients give it a layer, and would seek its planes.
  const std::vector<std::string>& dense = layout.dense_linears;
  const bool names_head = std::any_of(
      dense.begin(), dense.end(),
      [](const std::string& name) { return absl::EndsWith(name, "lm_head"); });
  if (!names_head && !PacksOutputHead(layout)) {
    json.String("lm_head");
  }
  json.EndArray();
  json.Key("kv_cache_scheme").Null();
  json.EndObject();
  return json.text();
}

}  // namespace compressed_tensors
}  // namespace narrow
