// AWQ's layout for matrix products ("gemm"), as AutoAWQ made it. Three planes
// a layer of `in` inputs, `out` outputs, groups of g inputs; 4 bits only:
//
//   X.qweight  i32 [in, out / 8]    codes
//   X.qzeros   i32 [in / g, out / 8]  zero points, in the same order
//   X.scales   f16 [in / g, out]
//
//   word c of a row:  bits 31..28 27..24 23..20 19..16 15..12 11..8 7..4 3..0
//   output column 8c +         7      5      3      1      6     4    2    0
//
//   W[o, i] = (code[i, o] - zero[i / g, o]) * scales[i / g, o]
//
// Little-endian; frozen. The scales that AWQ finds for inputs are in the
// weights before it, not here.
//
// Tested by: packing_test, integer_layouts_test.

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"
#include "formats/packing/integers/column_groups.h"
#include "formats/packing/layout_facts.h"
#include "formats/packing/packing.h"
#include "formats/packing/plane.h"
#include "formats/packing/scale_type.h"

namespace narrow {
namespace {

constexpr int64_t kWordCodes = 8;
// Output column of each nibble, the lowest first.
constexpr int kColumnOfNibble[kWordCodes] = {0, 2, 4, 6, 1, 3, 5, 7};
// Inputs taken together, so that a cache line of words is read once.
constexpr int64_t kTileInputs = 64;

enum Plane { kQweight, kQzeros, kScales, kNumPlanes };

absl::Status Supports(const WeightScheme& scheme, int64_t n_rows,
                      int64_t n_cols) {
  RETURN_IF_ERROR(SupportsColumnGroups(scheme, n_cols, "AWQ"));
  if (scheme.bits != 4) {
    return absl::UnimplementedError(
        absl::StrCat("AWQ has codes of 4 bits, not ", scheme.bits));
  }
  if (scheme.column_groups) {
    return absl::UnimplementedError(
        "AWQ's groups are consecutive columns; act-order without static "
        "groups needs GPTQ's g_idx");
  }
  if (n_rows % kWordCodes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("AWQ's outputs are multiples of 8, not ", n_rows));
  }
  return absl::OkStatus();
}

std::vector<TensorMeta> Planes(const WeightScheme& scheme,
                               absl::string_view module, int64_t n_rows,
                               int64_t n_cols, QuantType /*model_dtype*/) {
  const int64_t n_groups = NumScaleCols(scheme, n_rows, n_cols);
  return {
      {absl::StrCat(module, ".qweight"),
       QuantType::kI32,
       {n_cols, n_rows / kWordCodes}},
      {absl::StrCat(module, ".qzeros"),
       QuantType::kI32,
       {n_groups, n_rows / kWordCodes}},
      {absl::StrCat(module, ".scales"), QuantType::kF16, {n_groups, n_rows}},
  };
}

// codes[output * output_stride + input * input_stride] -> [inputs, words].
std::vector<uint8_t> PackWords(const uint8_t* codes, int64_t output_stride,
                               int64_t input_stride, int64_t n_outputs,
                               int64_t n_inputs) {
  const int64_t n_words = n_outputs / kWordCodes;
  std::vector<uint8_t> bytes(static_cast<size_t>(n_inputs * n_words * 4));
  for (int64_t tile = 0; tile < n_inputs; tile += kTileInputs) {
    const int64_t end = std::min(tile + kTileInputs, n_inputs);
    for (int64_t c = 0; c < n_words; ++c) {
      for (int64_t i = tile; i < end; ++i) {
        uint32_t word = 0;
        for (int k = 0; k < kWordCodes; ++k) {
          const int64_t output = kWordCodes * c + kColumnOfNibble[k];
          const uint32_t code =
              codes[output * output_stride + i * input_stride];
          word |= code << (4 * k);
        }
        std::memcpy(bytes.data() + (i * n_words + c) * 4, &word, sizeof(word));
      }
    }
  }
  return bytes;
}

// Outputs [first, first + n) of all inputs of a plane [inputs, words] to
// codes[(output - first) * output_stride + input * input_stride].
void UnpackWords(const TensorView& plane, int64_t first, int64_t n,
                 int64_t output_stride, int64_t input_stride, uint8_t* codes) {
  const int64_t n_inputs = plane.meta.shape[0];
  const int64_t n_words = plane.meta.shape[1];
  for (int64_t tile = 0; tile < n_inputs; tile += kTileInputs) {
    const int64_t end = std::min(tile + kTileInputs, n_inputs);
    for (int64_t c = first / kWordCodes; c * kWordCodes < first + n; ++c) {
      for (int64_t i = tile; i < end; ++i) {
        uint32_t word;
        std::memcpy(&word, plane.data.data() + (i * n_words + c) * 4,
                    sizeof(word));
        for (int k = 0; k < kWordCodes; ++k) {
          const int64_t output = kWordCodes * c + kColumnOfNibble[k] - first;
          if (output >= 0 && output < n) {
            codes[output * output_stride + i * input_stride] =
                static_cast<uint8_t>(word >> (4 * k) & 15);
          }
        }
      }
    }
  }
}

absl::StatusOr<std::vector<std::vector<uint8_t>>> Pack(
    const QuantizedMatrix& matrix, QuantType /*model_dtype*/) {
  RETURN_IF_ERROR(Supports(matrix.scheme, matrix.n_rows, matrix.n_cols));
  const int64_t n_groups = matrix.n_scale_cols();
  std::vector<std::vector<uint8_t>> planes(kNumPlanes);
  planes[kQweight] = PackWords(matrix.codes.data(), matrix.n_cols, 1,
                               matrix.n_rows, matrix.n_cols);
  // Present for symmetric schemes too, all 8.
  planes[kQzeros] = PackWords(ZeroCodes(matrix).data(), 1, matrix.n_rows,
                              matrix.n_rows, n_groups);
  AppendScales(QuantType::kF16,
               Transposed(matrix.scales, matrix.n_rows, n_groups),
               &planes[kScales]);
  return planes;
}

absl::StatusOr<std::string> Config(const PackedLayout& layout) {
  if (layout.modules.empty()) {
    return absl::InvalidArgumentError("no layer is quantized");
  }
  RETURN_IF_ERROR(RequireOneScheme(layout, "AWQ"));
  const WeightScheme& scheme = layout.modules[0].scheme;
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("quant_method").String("awq");
  json.Key("bits").Integer(4);
  json.Key("group_size")
      .Integer(scheme.block_cols == 0 ? -1 : scheme.block_cols);
  json.Key("zero_point").Bool(scheme.zero == ZeroKind::kInteger);
  json.Key("version").String("gemm");
  // Readers look for these as parts of names; lm_head is left out by them.
  std::vector<std::string> dense;
  for (const std::string& name : layout.dense_linears) {
    if (!absl::EndsWith(name, "lm_head")) {
      dense.push_back(name);
    }
  }
  json.Key("modules_to_not_convert");
  if (dense.empty()) {
    json.Null();
  } else {
    json.BeginArray();
    for (const std::string& name : dense) {
      json.String(name);
    }
    json.EndArray();
  }
  json.EndObject();
  return json.text();
}

absl::string_view TextOf(const JsonValue& config, absl::string_view key) {
  const std::optional<JsonValue> value = config.FindNonNull(key);
  return value && value->is_string() ? *value->GetString()
                                     : absl::string_view();
}

bool Recognises(const JsonValue& config) {
  const absl::string_view method = TextOf(config, "quant_method");
  return method == "awq" ||
         (method == "auto-round" &&
          absl::StrContains(TextOf(config, "packing_format"), "awq"));
}

absl::StatusOr<int64_t> IntegerOf(const JsonValue& config,
                                  absl::string_view key,
                                  absl::string_view older_key,
                                  int64_t otherwise) {
  std::optional<JsonValue> value = config.FindNonNull(key);
  if (!value) {
    value = config.FindNonNull(older_key);
  }
  return value ? value->GetInteger() : absl::StatusOr<int64_t>(otherwise);
}

absl::Status CheckVariant(const JsonValue& config) {
  for (absl::string_view key : {"version", "format"}) {
    const std::string variant = absl::AsciiStrToLower(TextOf(config, key));
    if (!variant.empty() && variant != "gemm") {
      return absl::UnimplementedError(
          absl::StrCat("AWQ's layout ", QuotedName(variant),
                       " is not supported; known is gemm"));
    }
  }
  ASSIGN_OR_RETURN(const int64_t bits, IntegerOf(config, "bits", "w_bit", 4));
  if (bits != 4) {
    return absl::UnimplementedError(
        absl::StrCat("AWQ with codes of ", bits, " bits; known are 4"));
  }
  return absl::OkStatus();
}

// Symmetric files have zero points of 8 everywhere.
bool HasMiddleZeros(const TensorView& qzeros) {
  return std::all_of(qzeros.data.begin(), qzeros.data.end(),
                     [](uint8_t byte) { return byte == 0x88; });
}

absl::StatusOr<PackedModule> FindModule(int64_t group_size, bool asymmetric,
                                        const TensorSource& source,
                                        const TensorView& qweight) {
  PackedModule module;
  absl::string_view name = qweight.meta.name;
  absl::ConsumeSuffix(&name, ".qweight");
  module.name = std::string(name);
  module.packing = &kAwqPacking;
  ASSIGN_OR_RETURN(const TensorView* qzeros,
                   RequirePlane(source, name, ".qzeros", qweight));
  ASSIGN_OR_RETURN(const TensorView* scales,
                   RequirePlane(source, name, ".scales", qweight));
  module.planes = {&qweight, qzeros, scales};
  RETURN_IF_ERROR(CheckPlane(qweight, {QuantType::kI32}, {-1, -1}));
  module.n_cols = qweight.meta.shape[0];
  module.n_rows = qweight.meta.shape[1] * kWordCodes;
  if (module.n_cols == 0 || module.n_rows == 0) {
    return PlaneError(qweight, "is empty");
  }
  RETURN_IF_ERROR(
      CheckPlane(*scales, {QuantType::kF16, QuantType::kBF16, QuantType::kF32},
                 {-1, module.n_rows}));
  const int64_t n_groups = scales->meta.shape[0];
  module.scheme.bits = 4;
  module.scheme.scale_type = scales->meta.type;
  module.scheme.block_cols =
      MatchGroupSize({group_size}, module.n_cols, n_groups);
  if (module.scheme.block_cols < 0) {
    return PlaneError(
        *scales,
        absl::StrCat("has ", n_groups, " groups for ", module.n_cols,
                     " inputs, the configuration says groups of ", group_size));
  }
  RETURN_IF_ERROR(CheckPlane(*qzeros, {QuantType::kI32},
                             {n_groups, module.n_rows / kWordCodes}));
  module.scheme.zero = !asymmetric && HasMiddleZeros(*qzeros)
                           ? ZeroKind::kNone
                           : ZeroKind::kInteger;
  return module;
}

absl::StatusOr<std::vector<PackedModule>> Find(const JsonValue& config,
                                               const TensorSource& source) {
  RETURN_IF_ERROR(CheckVariant(config));
  ASSIGN_OR_RETURN(const int64_t group_size,
                   IntegerOf(config, "group_size", "q_group_size", 128));
  bool asymmetric = true;
  if (const auto value = config.FindNonNull("zero_point")) {
    ASSIGN_OR_RETURN(asymmetric, value->GetBool());
  }
  std::vector<PackedModule> modules;
  for (const TensorView& view : source.tensors()) {
    if (absl::EndsWith(view.meta.name, ".qweight")) {
      ASSIGN_OR_RETURN(modules.emplace_back(),
                       FindModule(group_size, asymmetric, source, view));
    }
  }
  return modules;
}

bool LayoutOfCodes(const PackedModule& module, CodeLayout* layout) {
  layout->rows_of_word = kWordCodes;
  layout->cols_of_word = 1;
  layout->row_step = 1;
  layout->col_step = module.n_rows / kWordCodes;
  layout->order = CodeLayout::Order::kEvenFirst;
  return true;
}

absl::StatusOr<QuantizedMatrix> UnpackScales(const PackedModule& module,
                                             int64_t first_row,
                                             int64_t n_rows) {
  QuantizedMatrix matrix;
  matrix.scheme = module.scheme;
  matrix.ResizeScales(n_rows, module.n_cols);
  RETURN_IF_ERROR(ReadGroupScales(*module.planes[kScales], first_row, &matrix));
  if (module.scheme.zero == ZeroKind::kInteger) {
    const int64_t n_groups = matrix.n_scale_cols();
    std::vector<uint8_t> zeros(static_cast<size_t>(n_rows * n_groups));
    UnpackWords(*module.planes[kQzeros], first_row, n_rows, n_groups, 1,
                zeros.data());
    matrix.zeros.assign(zeros.begin(), zeros.end());
  }
  return matrix;
}

absl::StatusOr<QuantizedMatrix> Unpack(const PackedModule& module,
                                       int64_t first_row, int64_t n_rows) {
  ASSIGN_OR_RETURN(QuantizedMatrix matrix,
                   UnpackScales(module, first_row, n_rows));
  matrix.codes.resize(static_cast<size_t>(n_rows * module.n_cols));
  UnpackWords(*module.planes[kQweight], first_row, n_rows, module.n_cols, 1,
              matrix.codes.data());
  return matrix;
}

}  // namespace

const Packing kAwqPacking = {
    "awq",
    "AWQ (AutoAWQ, GPTQModel, vLLM)",
    "quant_config.json",
    /*f16_bias=*/true,
    &Supports,
    &Planes,
    &Pack,
    &Config,
    &Recognises,
    &Find,
    &Unpack,
    /*least_zero=*/0,
    &LayoutOfCodes,
    &UnpackScales,
};

}  // namespace narrow
