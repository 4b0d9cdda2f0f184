// FP8 as transformers, vLLM and DeepSeek's checkpoints have it
// ("quant_method": "fp8").
//
//   X.weight            F8_E4M3 [rows, cols]
//   X.weight_scale_inv  F32     [ceil(rows / 128), ceil(cols / 128)], or [] for
//                               one scale of the whole matrix
//   X.activation_scale  F32     []    only where inputs are scaled statically
//
// A weight is code * scale: the name speaks of the inverse of what the
// quantizer multiplied with. Little-endian, frozen.
//
// Read besides: scales as F16, BF16 or F8_E8M0 ("scale_fmt": "ue8m0"; as U8 in
// "mxfp8" models), of rows, and under the names that other writers of this
// method use: "scale" (DeepSeek-V4), "weight_scale" and "input_scale"
// (AutoFP8), "qscale_weight" and "qscale_act" (Mistral).

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"
#include "formats/packing/layout_facts.h"
#include "formats/packing/module_planes.h"
#include "formats/packing/packing.h"
#include "formats/packing/plane.h"
#include "formats/packing/scale_type.h"

namespace narrow {
namespace {

// The first is what we write.
constexpr const char* kScaleSuffixes[] = {".weight_scale_inv", ".weight_scale",
                                          ".scale", ".qscale_weight"};
constexpr const char* kInputSuffixes[] = {".activation_scale", ".input_scale",
                                          ".qscale_act"};

bool IsStatic(const WeightScheme& scheme) {
  return scheme.activations == ActivationKind::kStaticFp8;
}

bool ByTensor(const WeightScheme& scheme) {
  return scheme.block_rows == 0 && scheme.block_cols == 0;
}

absl::Status Supports(const WeightScheme& scheme, int64_t n_rows,
                      int64_t n_cols) {
  WeightScheme known;
  known.code = CodeKind::kE4M3;
  known.bits = 8;
  known.scale_type = scheme.scale_type;
  known.block_rows = scheme.block_rows;
  known.block_cols = scheme.block_cols;
  known.activations = scheme.activations;
  const bool blocks = scheme.block_rows > 1 && scheme.block_cols > 1;
  if (scheme != known || !(blocks || ByTensor(scheme))) {
    return absl::UnimplementedError(absl::StrCat(
        "fp8 stores E4M3 weights by tensor or in blocks such as 128x128, not ",
        SchemeName(scheme)));
  }
  if (scheme.scale_type != QuantType::kF32 &&
      scheme.scale_type != QuantType::kF8E8M0) {
    return absl::UnimplementedError(absl::StrCat(
        "fp8 has scales of f32 or f8_e8m0, not ", TypeName(scheme.scale_type)));
  }
  const ActivationKind dynamic =
      blocks ? ActivationKind::kDynamicFp8Groups : ActivationKind::kDynamicFp8;
  if (scheme.activations != dynamic && !IsStatic(scheme)) {
    return absl::UnimplementedError(absl::StrCat(
        "clients of fp8 round the inputs too: by groups of 128 under blocks, "
        "by token or statically under one scale; asked for: ",
        SchemeName(scheme)));
  }
  // vLLM lets the last blocks be short; transformers divides the matrix into
  // as many equal parts as there are scales, so with some shapes it fails, and
  // with others it reads wrong weights.
  if (blocks &&
      (n_rows % scheme.block_rows != 0 || n_cols % scheme.block_cols != 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "clients of fp8 want whole blocks of ", scheme.block_rows, "x",
        scheme.block_cols, ", the matrix is ", n_rows, " x ", n_cols));
  }
  return absl::OkStatus();
}

std::vector<TensorMeta> Planes(const WeightScheme& scheme,
                               absl::string_view module, int64_t n_rows,
                               int64_t n_cols, QuantType /*model_dtype*/) {
  std::vector<int64_t> shape;
  if (!ByTensor(scheme)) {
    shape = {NumScaleRows(scheme, n_rows),
             NumScaleCols(scheme, n_rows, n_cols)};
  }
  std::vector<TensorMeta> planes = {
      {absl::StrCat(module, ".weight"), QuantType::kF8E4M3, {n_rows, n_cols}},
      {absl::StrCat(module, kScaleSuffixes[0]), scheme.scale_type, shape}};
  if (IsStatic(scheme)) {
    planes.push_back(
        {absl::StrCat(module, kInputSuffixes[0]), QuantType::kF32, {}});
  }
  return planes;
}

absl::StatusOr<std::vector<std::vector<uint8_t>>> Pack(
    const QuantizedMatrix& matrix, QuantType /*model_dtype*/) {
  const WeightScheme& scheme = matrix.scheme;
  RETURN_IF_ERROR(Supports(scheme, matrix.n_rows, matrix.n_cols));
  std::vector<std::vector<uint8_t>> planes(2);
  planes[0] = matrix.codes;
  AppendScales(scheme.scale_type, matrix.scales, &planes[1]);
  if (IsStatic(scheme)) {
    if (!matrix.input_scale) {
      return absl::InvalidArgumentError(
          "static scaling of the inputs, but no scale for them");
    }
    planes.emplace_back();
    AppendScales(QuantType::kF32, {*matrix.input_scale}, &planes[2]);
  }
  return planes;
}

absl::StatusOr<std::string> Config(const PackedLayout& layout) {
  RETURN_IF_ERROR(RequireOneScheme(layout, "fp8"));
  const WeightScheme& scheme = CommonScheme(layout);
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("quant_method").String("fp8");
  json.Key("fmt").String("e4m3");
  json.Key("activation_scheme").String(IsStatic(scheme) ? "static" : "dynamic");
  json.Key("weight_block_size");
  if (ByTensor(scheme)) {
    json.Null();
  } else {
    json.BeginArray()
        .Integer(scheme.block_rows)
        .Integer(scheme.block_cols)
        .EndArray();
  }
  if (scheme.scale_type == QuantType::kF8E8M0) {
    json.Key("scale_fmt").String("ue8m0");
  }
  // Without a list, clients leave the output head alone.
  json.Key("modules_to_not_convert");
  if (layout.dense_linears.empty() && !PacksOutputHead(layout)) {
    json.Null();
  } else {
    json.BeginArray();
    for (const std::string& name : layout.dense_linears) {
      json.String(name);
    }
    json.EndArray();
  }
  json.EndObject();
  return json.text();
}

bool Recognises(const JsonValue& config) {
  const auto method = config.FindNonNull("quant_method");
  const absl::string_view name = method ? method->GetString().value_or("") : "";
  return name == "fp8" || name == "mxfp8";
}

struct Settings {
  // Of a scale; 0 x 0: of the matrix.
  int64_t block_rows = 0;
  int64_t block_cols = 0;
  bool is_static = false;
  // U8 planes hold E8M0.
  bool exponents = false;
};

absl::StatusOr<Settings> ParseConfig(const JsonValue& config) {
  Settings settings;
  ASSIGN_OR_RETURN(const JsonValue method_value, config.Get("quant_method"));
  ASSIGN_OR_RETURN(const absl::string_view method, method_value.GetString());
  if (method == "mxfp8") {
    settings.block_rows = 1;
    settings.block_cols = 32;
    settings.exponents = true;
  }
  if (const auto format = config.FindNonNull("fmt")) {
    ASSIGN_OR_RETURN(const absl::string_view name, format->GetString());
    if (name != "e4m3" && name != "float8_e4m3fn") {
      return absl::UnimplementedError(
          absl::StrCat("fp8 weights of format ", QuotedName(name)));
    }
  }
  if (const auto format = config.FindNonNull("scale_fmt")) {
    ASSIGN_OR_RETURN(const absl::string_view name, format->GetString());
    settings.exponents = settings.exponents || name == "ue8m0";
  }
  if (const auto scheme = config.FindNonNull("activation_scheme")) {
    ASSIGN_OR_RETURN(const absl::string_view name, scheme->GetString());
    settings.is_static = name == "static";
  }
  if (const auto block = config.FindNonNull("weight_block_size")) {
    ASSIGN_OR_RETURN(const std::vector<JsonValue> sizes, block->GetElements());
    if (sizes.size() != 2) {
      return block->Error(
          absl::StrCat("expected two sizes, found ", sizes.size()));
    }
    ASSIGN_OR_RETURN(settings.block_rows, sizes[0].GetInteger());
    ASSIGN_OR_RETURN(settings.block_cols, sizes[1].GetInteger());
    if (settings.block_rows < 1 || settings.block_cols < 1 ||
        settings.block_rows > INT32_MAX || settings.block_cols > INT32_MAX) {
      return block->Error(absl::StrCat("blocks of ", settings.block_rows, " x ",
                                       settings.block_cols));
    }
  }
  return settings;
}

// The plane of one of the names, or nullptr.
const TensorView* FindAny(const TensorSource& source, absl::string_view module,
                          absl::Span<const char* const> suffixes) {
  for (const char* suffix : suffixes) {
    if (const TensorView* plane = source.Find(absl::StrCat(module, suffix))) {
      return plane;
    }
  }
  return nullptr;
}

// Sets the scheme's blocks by what the plane of scales looks like.
absl::Status CheckScalePlane(const TensorView& plane, const Settings& settings,
                             PackedModule* module) {
  WeightScheme& scheme = module->scheme;
  const std::initializer_list<QuantType> types = {
      QuantType::kF32, QuantType::kF16, QuantType::kBF16, QuantType::kF8E8M0,
      settings.exponents ? QuantType::kU8 : QuantType::kF32};
  scheme.scale_type =
      plane.meta.type == QuantType::kU8 ? QuantType::kF8E8M0 : plane.meta.type;
  scheme.block_rows = settings.block_rows;
  scheme.block_cols = settings.block_cols;
  const std::vector<int64_t>& shape = plane.meta.shape;
  if (ByTensor(scheme)) {
    if (shape == std::vector<int64_t>{module->n_rows, 1} &&
        module->n_rows > 1) {
      scheme.block_rows = 1;  // by row
      return CheckPlane(plane, types, {module->n_rows, 1});
    }
    if (shape.empty()) {
      return CheckPlane(plane, types, {});
    }
    if (shape.size() == 2) {
      return CheckPlane(plane, types, {1, 1});
    }
    return CheckPlane(plane, types, {1});
  }
  return CheckPlane(plane, types,
                    {NumScaleRows(scheme, module->n_rows),
                     NumScaleCols(scheme, module->n_rows, module->n_cols)});
}

absl::StatusOr<PackedModule> FindModule(const TensorSource& source,
                                        const TensorView& weight,
                                        absl::string_view name,
                                        const Settings& settings) {
  PackedModule module;
  module.name = std::string(name);
  module.packing = &kFp8Packing;
  if (weight.meta.shape.size() == 3) {
    return absl::UnimplementedError(absl::StrCat(
        "tensor ", QuotedName(weight.meta.name), " has shape ",
        ShapeString(weight.meta.shape), ": fp8 experts in one tensor; reading ",
        weight.origin.file));
  }
  RETURN_IF_ERROR(CheckPlane(weight, {QuantType::kF8E4M3}, {-1, -1}));
  module.n_rows = weight.meta.shape[0];
  module.n_cols = weight.meta.shape[1];
  if (module.n_rows < 1 || module.n_cols < 1) {
    return PlaneError(weight, "is empty");
  }
  const TensorView* scales = FindAny(source, name, kScaleSuffixes);
  if (scales == nullptr) {
    return RequirePlane(source, name, kScaleSuffixes[0], weight).status();
  }
  WeightScheme& scheme = module.scheme;
  scheme.code = CodeKind::kE4M3;
  scheme.bits = 8;
  RETURN_IF_ERROR(CheckScalePlane(*scales, settings, &module));
  const TensorView* input = FindAny(source, name, kInputSuffixes);
  if (input != nullptr && input->meta.n_elements() != 1) {
    return PlaneError(*input,
                      absl::StrCat("has shape ", ShapeString(input->meta.shape),
                                   ", not one element"));
  }
  if (settings.is_static && input == nullptr) {
    return RequirePlane(source, name, kInputSuffixes[0], weight).status();
  }
  scheme.activations = settings.is_static ? ActivationKind::kStaticFp8
                       : scheme.block_cols > 0
                           ? ActivationKind::kDynamicFp8Groups
                           : ActivationKind::kDynamicFp8;
  module.planes = {&weight, scales, input};
  return module;
}

absl::StatusOr<std::vector<PackedModule>> Find(const JsonValue& config,
                                               const TensorSource& source) {
  ASSIGN_OR_RETURN(const Settings settings, ParseConfig(config));
  std::vector<PackedModule> modules;
  for (const TensorView& tensor : source.tensors()) {
    absl::string_view name = tensor.meta.name;
    if (tensor.meta.type == QuantType::kF8E4M3 &&
        absl::ConsumeSuffix(&name, ".weight")) {
      ASSIGN_OR_RETURN(PackedModule module,
                       FindModule(source, tensor, name, settings));
      modules.push_back(std::move(module));
    }
  }
  return modules;
}

bool LayoutOfCodes(const PackedModule& module, CodeLayout* layout) {
  layout->word_bytes = 1;
  layout->bits = 8;
  layout->cols_of_word = 1;
  layout->row_step = module.n_cols;
  layout->has_no_nan = true;
  return true;
}

absl::StatusOr<QuantizedMatrix> UnpackScales(const PackedModule& module,
                                             int64_t first_row,
                                             int64_t n_rows) {
  QuantizedMatrix matrix;
  matrix.scheme = module.scheme;
  matrix.ResizeScales(n_rows, module.n_cols);
  const int64_t step = std::max<int64_t>(module.scheme.block_rows, 1);
  const int64_t first_scale = module.scheme.block_rows == 0
                                  ? 0
                                  : first_row / step * matrix.n_scale_cols();
  RETURN_IF_ERROR(ReadScales(
      *module.planes[1], module.scheme.scale_type, first_scale,
      static_cast<int64_t>(matrix.scales.size()), matrix.scales.data()));
  if (IsStatic(module.scheme)) {
    const TensorView& input = *module.planes[2];
    RETURN_IF_ERROR(
        CheckPlane(input, {QuantType::kF32, QuantType::kF16, QuantType::kBF16},
                   input.meta.shape));
    float scale;
    RETURN_IF_ERROR(ReadScales(input, input.meta.type, 0, 1, &scale));
    matrix.input_scale = scale;
  }
  return matrix;
}

absl::StatusOr<QuantizedMatrix> Unpack(const PackedModule& module,
                                       int64_t first_row, int64_t n_rows) {
  ASSIGN_OR_RETURN(QuantizedMatrix matrix,
                   UnpackScales(module, first_row, n_rows));
  const TensorView& weight = *module.planes[0];
  const uint8_t* stored = weight.data.data() + first_row * module.n_cols;
  matrix.codes.assign(stored, stored + n_rows * module.n_cols);
  for (size_t i = 0; i < matrix.codes.size(); ++i) {
    if ((matrix.codes[i] & 0x7f) == 0x7f) {
      const int64_t at = first_row * module.n_cols + static_cast<int64_t>(i);
      return PlaneError(weight, absl::StrCat("element ", at, " is NaN"));
    }
  }
  return matrix;
}

}  // namespace

const Packing kFp8Packing = {"fp8",
                             "FP8 (transformers, vLLM, DeepSeek)",
                             nullptr,
                             /*f16_bias=*/false,
                             Supports,
                             Planes,
                             Pack,
                             Config,
                             Recognises,
                             Find,
                             Unpack,
                             /*least_zero=*/0,
                             LayoutOfCodes,
                             UnpackScales};

}  // namespace narrow
