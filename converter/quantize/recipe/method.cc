#include "converter/quantize/recipe/method.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/base/text/nearest.h"

namespace narrow {
namespace {

// The first row is the default.
constexpr Method kMethods[] = {
    {"gptq", "gptq", "", SchemeKind::kGroups, CodeKind::kInteger, 4, 128, true,
     "gptq"},
    {"awq", "rtn", "awq", SchemeKind::kGroups, CodeKind::kInteger, 4, 128,
     false, "awq"},
    {"hqq", "hqq", "", SchemeKind::kGroups, CodeKind::kInteger, 4, 64, false,
     "hqq"},
    {"rtn", "rtn", "", SchemeKind::kGroups, CodeKind::kInteger, 4, 128, true,
     "compressed-tensors"},
    {"nf4", "codebook", "", SchemeKind::kTable, CodeKind::kNf4, 4, 64, true,
     "bitsandbytes"},
    {"fp4", "codebook", "", SchemeKind::kTable, CodeKind::kFp4, 4, 64, true,
     "bitsandbytes"},
    {"int8", "int8", "", SchemeKind::kChannels, CodeKind::kInteger, 8, 0, true,
     "bitsandbytes"},
    {"smoothquant", "int8", "smoothquant", SchemeKind::kChannels,
     CodeKind::kInteger, 8, 0, true, "compressed-tensors"},
    {"fp8", "fp8", "", SchemeKind::kFp8, CodeKind::kE4M3, 8, 0, true,
     "compressed-tensors"},
    {"nvfp4", "fp4", "", SchemeKind::kFp4, CodeKind::kE2M1, 4, 16, true,
     "compressed-tensors"},
    {"mxfp4", "fp4", "", SchemeKind::kFp4, CodeKind::kE2M1, 4, 32, true,
     "compressed-tensors"},
};

absl::Status NoUse(const Method& method, absl::string_view field,
                   absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(
      "method ", method.name, " has no use for '", field, "': ", why));
}

// Fields that only other kinds have.
absl::Status CheckFields(const Method& method, const LayerRule& rule) {
  const SchemeKind kind = method.kind;
  const bool groups = kind == SchemeKind::kGroups;
  if (rule.has_bits() && !groups && rule.bits() != method.bits) {
    return NoUse(method, "bits", absl::StrCat("its codes have ", method.bits));
  }
  if (rule.has_group_size() && !groups &&
      !(kind == SchemeKind::kFp4 && rule.group_size() == method.group)) {
    return NoUse(method, "group_size",
                 kind == SchemeKind::kTable ? "give block_size"
                 : kind == SchemeKind::kFp4 ? "its groups are fixed"
                 : kind == SchemeKind::kFp8 ? "give granularity"
                                            : "every row has a scale");
  }
  if (rule.has_symmetric() && !groups && !rule.symmetric()) {
    return NoUse(method, "symmetric", "its codes have no zero points");
  }
  if (rule.has_block_size() && kind != SchemeKind::kTable) {
    return NoUse(method, "block_size", "give group_size");
  }
  if (rule.double_quant() && kind != SchemeKind::kTable) {
    return NoUse(method, "double_quant", "only nf4 and fp4 have it");
  }
  if (rule.has_granularity() && kind != SchemeKind::kFp8) {
    return NoUse(method, "granularity", "only fp8 has a choice");
  }
  if (rule.has_activations() && rule.activations() != "none" &&
      (groups || kind == SchemeKind::kTable)) {
    return NoUse(method, "activations", "only weights are quantized");
  }
  return absl::OkStatus();
}

absl::Status OutOfRange(absl::string_view field, int64_t value,
                        absl::string_view range) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", not ", range));
}

// "dynamic", "static", "none".
absl::StatusOr<std::string> Activations(const LayerRule& rule,
                                        absl::string_view otherwise) {
  const std::string value =
      rule.has_activations() ? rule.activations() : std::string(otherwise);
  const std::vector<std::string> known = {"none", "dynamic", "static"};
  for (const std::string& name : known) {
    if (value == name) {
      return value;
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "activations are none, dynamic or static, not ", QuotedName(value),
      "; the nearest is '", NearestName(value, known), "'"));
}

QuantType FloatScale(QuantType model_dtype) {
  return model_dtype == QuantType::kBF16 ? QuantType::kBF16 : QuantType::kF32;
}

absl::StatusOr<WeightScheme> GroupScheme(const Method& method,
                                         const LayerRule& rule,
                                         absl::string_view packing,
                                         QuantType model_dtype) {
  WeightScheme scheme;
  scheme.bits = rule.has_bits() ? rule.bits() : method.bits;
  if (scheme.bits < 1 || scheme.bits > 8) {
    return OutOfRange("bits", scheme.bits, "1 ... 8");
  }
  const int64_t group =
      rule.has_group_size() ? rule.group_size() : method.group;
  if (group != -1 && (group < 1 || group > 1 << 20)) {
    return OutOfRange("group_size", group, "-1 (a row) or 1 ... 1048576");
  }
  scheme.block_rows = 1;
  scheme.block_cols = group == -1 ? 0 : group;
  scheme.scale_type = packing == "compressed-tensors" || packing == "hqq"
                          ? model_dtype
                          : QuantType::kF16;
  if (packing == "hqq") {
    // Zero points are numbers there, whatever the solver.
    if (rule.symmetric()) {
      return NoUse(method, "symmetric", "the packing hqq stores zero points");
    }
    scheme.zero = ZeroKind::kFloat;
    scheme.flat = true;
    return scheme;
  }
  const bool symmetric =
      rule.has_symmetric() ? rule.symmetric() : method.symmetric;
  scheme.zero = symmetric ? ZeroKind::kNone : ZeroKind::kInteger;
  return scheme;
}

absl::StatusOr<WeightScheme> ChannelScheme(const LayerRule& rule,
                                           absl::string_view packing,
                                           QuantType model_dtype) {
  WeightScheme scheme;
  scheme.bits = 8;
  scheme.block_cols = 0;
  if (packing == "bitsandbytes") {
    scheme.scale_type = QuantType::kF32;
    scheme.scale_unit = 1.0f / 127;
    return scheme;
  }
  scheme.scale_type = model_dtype;
  ASSIGN_OR_RETURN(const std::string activations, Activations(rule, "dynamic"));
  scheme.activations = activations == "none"     ? ActivationKind::kNone
                       : activations == "static" ? ActivationKind::kStaticInt8
                                                 : ActivationKind::kDynamicInt8;
  return scheme;
}

absl::StatusOr<WeightScheme> TableScheme(const Method& method,
                                         const LayerRule& rule) {
  WeightScheme scheme;
  scheme.code = method.code;
  scheme.block_cols = rule.has_block_size() ? rule.block_size() : method.group;
  if (scheme.block_cols < 1) {
    return OutOfRange("block_size", scheme.block_cols, "above 0");
  }
  scheme.flat = true;
  scheme.scale_type = QuantType::kF32;
  scheme.nested_scales = rule.double_quant();
  return scheme;
}

absl::StatusOr<WeightScheme> Fp8Scheme(const LayerRule& rule,
                                       absl::string_view packing,
                                       QuantType model_dtype) {
  WeightScheme scheme;
  scheme.code = CodeKind::kE4M3;
  scheme.bits = 8;
  scheme.scale_type =
      packing == "fp8" ? QuantType::kF32 : FloatScale(model_dtype);
  ASSIGN_OR_RETURN(const std::string activations, Activations(rule, "dynamic"));
  const bool is_static = activations == "static";
  const std::string granularity = rule.has_granularity() ? rule.granularity()
                                  : is_static            ? "tensor"
                                  : packing == "fp8"     ? "block"
                                                         : "channel";
  scheme.activations = activations == "none" ? ActivationKind::kNone
                       : is_static           ? ActivationKind::kStaticFp8
                                             : ActivationKind::kDynamicFp8;
  if (granularity == "tensor") {
    scheme.block_rows = 0;
    scheme.block_cols = 0;
  } else if (granularity == "channel") {
    scheme.block_rows = 1;
    scheme.block_cols = 0;
  } else if (granularity == "block") {
    scheme.block_rows = 128;
    scheme.block_cols = 128;
    if (scheme.activations == ActivationKind::kDynamicFp8) {
      scheme.activations = ActivationKind::kDynamicFp8Groups;
    }
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("granularity is tensor, channel or block, not ",
                     QuotedName(granularity)));
  }
  if (is_static && granularity == "block") {
    return absl::InvalidArgumentError(
        "blocks of 128 x 128 go with dynamic activations; static ones with "
        "granularity tensor or channel");
  }
  return scheme;
}

absl::StatusOr<WeightScheme> Fp4Scheme(const Method& method,
                                       const LayerRule& rule) {
  WeightScheme scheme;
  scheme.code = CodeKind::kE2M1;
  scheme.block_cols = method.group;
  const bool nv = method.group == 16;
  scheme.scale_type = nv ? QuantType::kF8E4M3 : QuantType::kF8E8M0;
  scheme.global_scale = nv;
  ASSIGN_OR_RETURN(const std::string activations, Activations(rule, "none"));
  if (activations == "none") {
    return scheme;
  }
  // NVFP4's inputs have a scale from calibration and one a group besides.
  if (nv == (activations == "dynamic")) {
    return absl::InvalidArgumentError(
        nv ? "nvfp4 takes activations none or static (a global scale of the "
             "inputs from calibration)"
           : "mxfp4 takes activations none or dynamic");
  }
  scheme.activations = nv ? ActivationKind::kNvfp4 : ActivationKind::kMxfp4;
  return scheme;
}

}  // namespace

absl::Span<const Method> AllMethods() { return kMethods; }

absl::StatusOr<const Method*> GetMethod(absl::string_view name) {
  std::vector<std::string> names;
  for (const Method& method : kMethods) {
    if (name == method.name) {
      return &method;
    }
    names.push_back(method.name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no method ", QuotedName(name),
                   "; the nearest is '", NearestName(name, names), "'"));
}

absl::StatusOr<WeightScheme> SchemeOf(const Method& method,
                                      const LayerRule& rule,
                                      absl::string_view packing,
                                      QuantType model_dtype) {
  RETURN_IF_ERROR(CheckFields(method, rule));
  switch (method.kind) {
    case SchemeKind::kGroups:
      return GroupScheme(method, rule, packing, model_dtype);
    case SchemeKind::kChannels:
      return ChannelScheme(rule, packing, model_dtype);
    case SchemeKind::kTable:
      return TableScheme(method, rule);
    case SchemeKind::kFp8:
      return Fp8Scheme(rule, packing, model_dtype);
    case SchemeKind::kFp4:
      return Fp4Scheme(method, rule);
  }
  return absl::InternalError("a kind of scheme without a case");
}

}  // namespace narrow
