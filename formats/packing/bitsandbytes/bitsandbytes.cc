// bitsandbytes: NF4 and FP4 with blocks of the flattened matrix, with or
// without double quantization, and LLM.int8().
//
// NF4, FP4 (n = rows * cols weights, b a block); little-endian, frozen:
//
//   X.weight         U8   [ceil(n / 2), 1]  weight 2i in bits 4-7 of byte i,
//                                           weight 2i + 1 in bits 0-3
//   X.weight.absmax  F32  [ceil(n / b)]     scales; U8 codes when nested
//   X.weight.nested_absmax     F32 [ceil(scales / 256)]   nested only
//   X.weight.nested_quant_map  F32 [256]                  nested only
//   X.weight.quant_map         F32 [16]     the values of the codes
//   X.weight.quant_state.bitsandbytes__nf4  U8 [bytes of JSON]
//       {"quant_type":"nf4","blocksize":64,"dtype":"bfloat16","shape":[r,c],
//        "nested_blocksize":256,"nested_dtype":"float32","nested_offset":0.1}
//
// The length of the JSON must be known before the offset is, so it is padded
// with blanks, which JSON allows.
//
// LLM.int8():
//
//   X.weight         I8   [rows, cols]   q
//   X.SCB            F32  [rows]         the row's largest magnitude m
//   X.weight_format  U8   []             0: rows one after the other
//
// where a weight is q * (m / 127).
//
// Sources: Dettmers et al., "QLoRA" (2023) and "LLM.int8()" (2022), and files
// written by bitsandbytes 0.50.2.

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"
#include "formats/packing/bitsandbytes/nested_scales.h"
#include "formats/packing/layout_facts.h"
#include "formats/packing/module_planes.h"
#include "formats/packing/packing.h"
#include "formats/packing/plane.h"
#include "formats/packing/scale_type.h"

namespace narrow {
namespace {

constexpr float kInt8Unit = 1.0f / 127.0f;
constexpr char kStateStart[] = ".weight.quant_state.bitsandbytes__";
constexpr uint8_t kNf4Zero = 7;
constexpr size_t kOffsetWidth = 16;  // "-1.17549435e-38" and one more

bool Is4Bit(const WeightScheme& scheme) {
  return scheme.code == CodeKind::kNf4 || scheme.code == CodeKind::kFp4;
}

const char* QuantTypeName(const WeightScheme& scheme) {
  return scheme.code == CodeKind::kNf4 ? "nf4" : "fp4";
}

const char* TorchName(QuantType type) {
  return type == QuantType::kF16    ? "float16"
         : type == QuantType::kBF16 ? "bfloat16"
                                    : "float32";
}

absl::Status Supports4Bit(const WeightScheme& scheme) {
  const int64_t block = scheme.block_cols;
  if (!scheme.flat || block < 32 || block > 4096 || (block & (block - 1))) {
    return absl::UnimplementedError(absl::StrCat(
        "bitsandbytes has blocks of 32, 64, ... 4096 weights, not ",
        SchemeName(scheme)));
  }
  return absl::OkStatus();
}

absl::Status Supports(const WeightScheme& scheme, int64_t /*n_rows*/,
                      int64_t /*n_cols*/) {
  WeightScheme known;
  known.scale_type = QuantType::kF32;
  if (Is4Bit(scheme)) {
    RETURN_IF_ERROR(Supports4Bit(scheme));
    known.code = scheme.code;
    known.flat = true;
    known.block_cols = scheme.block_cols;
    known.nested_scales = scheme.nested_scales;
  } else {
    known.bits = 8;
    known.block_cols = 0;
    known.scale_unit = kInt8Unit;
  }
  // Blocks of the flattened matrix have no rows.
  known.block_rows = scheme.flat ? scheme.block_rows : 1;
  if (scheme != known) {
    return absl::UnimplementedError(absl::StrCat(
        "bitsandbytes stores nf4 and fp4 in blocks under float32 scales, and "
        "int8 by row in 127ths of the largest magnitude, not ",
        SchemeName(scheme)));
  }
  return absl::OkStatus();
}

// `offset` is JSON's text of it, for nested scales.
std::string QuantState(const WeightScheme& scheme, int64_t n_rows,
                       int64_t n_cols, QuantType model_dtype,
                       absl::string_view offset) {
  std::string text = absl::StrCat("{\"quant_type\":\"", QuantTypeName(scheme),
                                  "\",\"blocksize\":", scheme.block_cols,
                                  ",\"dtype\":\"", TorchName(model_dtype),
                                  "\",\"shape\":[", n_rows, ",", n_cols, "]");
  size_t blanks = 0;
  if (scheme.nested_scales) {
    absl::StrAppend(&text, ",\"nested_blocksize\":", kNestedBlock,
                    ",\"nested_dtype\":\"float32\",\"nested_offset\":", offset);
    assert(offset.size() <= kOffsetWidth);
    blanks = kOffsetWidth - offset.size();
  }
  return absl::StrCat(text, "}", std::string(blanks, ' '));
}

std::vector<TensorMeta> Planes(const WeightScheme& scheme,
                               absl::string_view module, int64_t n_rows,
                               int64_t n_cols, QuantType model_dtype) {
  const std::string weight = absl::StrCat(module, ".weight");
  if (!Is4Bit(scheme)) {
    return {{weight, QuantType::kI8, {n_rows, n_cols}},
            {absl::StrCat(module, ".SCB"), QuantType::kF32, {n_rows}},
            {absl::StrCat(module, ".weight_format"), QuantType::kU8, {}}};
  }
  const int64_t n_scales = NumScaleCols(scheme, n_rows, n_cols);
  std::vector<TensorMeta> planes = {
      {weight, QuantType::kU8, {(n_rows * n_cols + 1) / 2, 1}},
      {weight + ".absmax",
       scheme.nested_scales ? QuantType::kU8 : QuantType::kF32,
       {n_scales}}};
  if (scheme.nested_scales) {
    planes.push_back({weight + ".nested_absmax",
                      QuantType::kF32,
                      {(n_scales + kNestedBlock - 1) / kNestedBlock}});
    planes.push_back({weight + ".nested_quant_map", QuantType::kF32, {256}});
  }
  planes.push_back({weight + ".quant_map", QuantType::kF32, {16}});
  const std::string state =
      QuantState(scheme, n_rows, n_cols, model_dtype, "0");
  planes.push_back({absl::StrCat(module, kStateStart, QuantTypeName(scheme)),
                    QuantType::kU8,
                    {static_cast<int64_t>(state.size())}});
  return planes;
}

std::vector<uint8_t> FloatBytes(absl::Span<const float> values) {
  std::vector<uint8_t> bytes;
  AppendScales(QuantType::kF32, values, &bytes);
  return bytes;
}

std::vector<std::vector<uint8_t>> PackInt8(const QuantizedMatrix& matrix) {
  std::vector<uint8_t> codes = matrix.codes;
  for (uint8_t& code : codes) {
    code ^= 0x80;  // from 0 ... 255 to -128 ... 127 in two's complement
  }
  return {std::move(codes), FloatBytes(matrix.scales), {0}};
}

absl::StatusOr<std::vector<std::vector<uint8_t>>> Pack(
    const QuantizedMatrix& matrix, QuantType model_dtype) {
  const WeightScheme& scheme = matrix.scheme;
  RETURN_IF_ERROR(Supports(scheme, matrix.n_rows, matrix.n_cols));
  if (!Is4Bit(scheme)) {
    return PackInt8(matrix);
  }
  std::vector<uint8_t> nibbles((matrix.codes.size() + 1) / 2);
  for (size_t i = 0; i < matrix.codes.size(); ++i) {
    nibbles[i / 2] |=
        static_cast<uint8_t>(matrix.codes[i] << (i % 2 == 0 ? 4 : 0));
  }
  if (matrix.codes.size() % 2 == 1) {
    // The library fills the last byte with a weight of 0.
    nibbles.back() |= scheme.code == CodeKind::kNf4 ? kNf4Zero : 0;
  }
  std::vector<std::vector<uint8_t>> planes = {std::move(nibbles)};
  std::string offset;
  if (scheme.nested_scales) {
    const NestedScales nested = NestScales(matrix.scales);
    planes.push_back(nested.codes);
    planes.push_back(FloatBytes(nested.absmax));
    planes.push_back(FloatBytes(DynamicMap()));
    JsonWriter number(JsonWriter::kCompact);
    number.Number(nested.offset);
    offset = number.text();
  } else {
    planes.push_back(FloatBytes(matrix.scales));
  }
  planes.push_back(FloatBytes({CodeTable(scheme.code), 16}));
  const std::string state =
      QuantState(scheme, matrix.n_rows, matrix.n_cols, model_dtype, offset);
  planes.emplace_back(state.begin(), state.end());
  return planes;
}

absl::StatusOr<std::string> Config(const PackedLayout& layout) {
  RETURN_IF_ERROR(RequireOneScheme(layout, "bitsandbytes"));
  const WeightScheme& scheme = CommonScheme(layout);
  const bool is_4bit = Is4Bit(scheme);
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("quant_method").String("bitsandbytes");
  json.Key("load_in_4bit").Bool(is_4bit);
  json.Key("load_in_8bit").Bool(!is_4bit);
  if (is_4bit) {
    json.Key("bnb_4bit_quant_type").String(QuantTypeName(scheme));
    json.Key("bnb_4bit_use_double_quant").Bool(scheme.nested_scales);
    json.Key("bnb_4bit_compute_dtype").String(TorchName(layout.model_dtype));
    json.Key("bnb_4bit_quant_storage").String("uint8");
  }
  json.Key("llm_int8_threshold").Real(6);
  json.Key("llm_int8_has_fp16_weight").Bool(false);
  json.Key("llm_int8_enable_fp32_cpu_offload").Bool(false);
  // Without a list, clients leave the output head alone.
  json.Key("llm_int8_skip_modules");
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

bool IsTrue(const JsonValue& config, absl::string_view key) {
  const auto value = config.FindNonNull(key);
  return value && value->GetBool().value_or(false);
}

bool Recognises(const JsonValue& config) {
  const auto method = config.FindNonNull("quant_method");
  if (method) {
    return method->GetString().value_or("") == "bitsandbytes";
  }
  // The first versions of transformers that saved such models.
  return IsTrue(config, "load_in_4bit") || IsTrue(config, "load_in_8bit");
}

struct State {
  int64_t block = 0;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  bool nested = false;
  int64_t nested_block = kNestedBlock;
  float offset = 0;
};

absl::StatusOr<State> ParseState(const JsonValue& root) {
  State state;
  ASSIGN_OR_RETURN(const JsonValue block, root.Get("blocksize"));
  ASSIGN_OR_RETURN(state.block, block.GetInteger());
  if (state.block < 1 || state.block > (1 << 20)) {
    return block.Error(absl::StrCat("a block of ", state.block, " weights"));
  }
  ASSIGN_OR_RETURN(const JsonValue shape, root.Get("shape"));
  ASSIGN_OR_RETURN(const std::vector<JsonValue> sizes, shape.GetElements());
  if (sizes.size() != 2) {
    const absl::Status error = shape.Error(
        absl::StrCat("a packed tensor of ", sizes.size(), " dimensions"));
    return absl::UnimplementedError(error.message());
  }
  ASSIGN_OR_RETURN(state.n_rows, sizes[0].GetInteger());
  ASSIGN_OR_RETURN(state.n_cols, sizes[1].GetInteger());
  if (state.n_rows < 1 || state.n_cols < 1 || state.n_rows > INT32_MAX ||
      state.n_cols > INT32_MAX) {
    return shape.Error(
        absl::StrCat("a matrix of ", state.n_rows, " x ", state.n_cols));
  }
  if (const auto offset = root.FindNonNull("nested_offset")) {
    state.nested = true;
    ASSIGN_OR_RETURN(const double value, offset->GetNumber());
    state.offset = static_cast<float>(value);
    if (!std::isfinite(state.offset)) {
      return offset->Error("an offset that is not finite");
    }
    ASSIGN_OR_RETURN(const JsonValue nested, root.Get("nested_blocksize"));
    ASSIGN_OR_RETURN(state.nested_block, nested.GetInteger());
    if (state.nested_block < 1 || state.nested_block > (1 << 20)) {
      return nested.Error(
          absl::StrCat("a block of ", state.nested_block, " scales"));
    }
  }
  return state;
}

absl::StatusOr<State> ReadState(const TensorView& plane) {
  const auto annotate = [&](const absl::Status& status) {
    return Annotate(status,
                    absl::StrCat("in tensor ", QuotedName(plane.meta.name),
                                 "; at offset ", plane.origin.offset));
  };
  RETURN_IF_ERROR(CheckPlane(plane, {QuantType::kU8}, {-1}));
  const absl::string_view text(reinterpret_cast<const char*>(plane.data.data()),
                               plane.data.size());
  const auto document = JsonDocument::Parse(text, plane.origin.file);
  if (!document.ok()) {
    return annotate(document.status());
  }
  absl::StatusOr<State> state = ParseState((*document)->root());
  if (!state.ok()) {
    return annotate(state.status());
  }
  return state;
}

// The weights may be stored under any type, as bytes in a column.
absl::Status CheckNibbles(const TensorView& weight, int64_t n_weights) {
  const int64_t n_bytes = (n_weights + 1) / 2;
  const int64_t step = Geometry(weight.meta.type).block_bytes;
  const int64_t n_stored = (n_bytes + step - 1) / step * step;
  if (static_cast<int64_t>(weight.data.size()) != n_stored) {
    return PlaneError(
        weight, absl::StrCat(n_weights, " codes of 4 bits need ", n_stored,
                             " bytes, it has ", weight.data.size()));
  }
  return absl::OkStatus();
}

absl::Status CheckCodeTable(const TensorView& map, CodeKind code) {
  RETURN_IF_ERROR(CheckPlane(map, {QuantType::kF32}, {16}));
  float table[16];
  RETURN_IF_ERROR(ReadScales(map, QuantType::kF32, 0, 16, table));
  for (int i = 0; i < 16; ++i) {
    const float known = CodeTable(code)[i];
    // Tables computed in another order differ in their last bits.
    if (std::fabs(table[i] - known) > 1e-6f) {
      return PlaneError(map, absl::StrCat("code ", i, " stands for ", table[i],
                                          ", not for ", known));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<PackedModule> Find4Bit(const TensorSource& source,
                                      const TensorView& state_plane,
                                      absl::string_view name,
                                      absl::string_view kind) {
  PackedModule module;
  module.name = std::string(name);
  module.packing = &kBitsAndBytesPacking;
  WeightScheme& scheme = module.scheme;
  if (kind != "nf4" && kind != "fp4") {
    return absl::UnimplementedError(
        absl::StrCat("codes of kind ", QuotedName(kind), " in tensor ",
                     QuotedName(state_plane.meta.name)));
  }
  ASSIGN_OR_RETURN(const State state, ReadState(state_plane));
  scheme.code = kind == "nf4" ? CodeKind::kNf4 : CodeKind::kFp4;
  scheme.flat = true;
  scheme.block_cols = state.block;
  scheme.scale_type = QuantType::kF32;
  scheme.nested_scales = state.nested;
  module.n_rows = state.n_rows;
  module.n_cols = state.n_cols;

  const std::string prefix = module.name + ".weight";
  const auto require = [&](absl::string_view suffix) {
    return RequirePlane(source, prefix, suffix, state_plane);
  };
  ASSIGN_OR_RETURN(const TensorView* weight, require(""));
  RETURN_IF_ERROR(CheckNibbles(*weight, state.n_rows * state.n_cols));
  const int64_t n_scales = NumScaleCols(scheme, state.n_rows, state.n_cols);
  ASSIGN_OR_RETURN(const TensorView* absmax, require(".absmax"));
  RETURN_IF_ERROR(CheckPlane(
      *absmax, {state.nested ? QuantType::kU8 : QuantType::kF32}, {n_scales}));
  module.planes = {weight, absmax};
  if (state.nested) {
    ASSIGN_OR_RETURN(const TensorView* scales, require(".nested_absmax"));
    const int64_t n_nested =
        (n_scales + state.nested_block - 1) / state.nested_block;
    RETURN_IF_ERROR(CheckPlane(*scales, {QuantType::kF32}, {n_nested}));
    ASSIGN_OR_RETURN(const TensorView* table, require(".nested_quant_map"));
    RETURN_IF_ERROR(CheckPlane(*table, {QuantType::kF32}, {256}));
    module.planes.push_back(scales);
    module.planes.push_back(table);
  }
  ASSIGN_OR_RETURN(const TensorView* map, require(".quant_map"));
  RETURN_IF_ERROR(CheckCodeTable(*map, scheme.code));
  module.planes.push_back(map);
  module.planes.push_back(&state_plane);
  return module;
}

absl::StatusOr<PackedModule> FindInt8(const TensorSource& source,
                                      const TensorView& scales,
                                      absl::string_view name) {
  PackedModule module;
  module.name = std::string(name);
  module.packing = &kBitsAndBytesPacking;
  WeightScheme& scheme = module.scheme;
  scheme.bits = 8;
  scheme.block_cols = 0;
  scheme.scale_type = QuantType::kF32;
  scheme.scale_unit = kInt8Unit;
  ASSIGN_OR_RETURN(const TensorView* weight,
                   RequirePlane(source, name, ".weight", scales));
  RETURN_IF_ERROR(CheckPlane(*weight, {QuantType::kI8}, {-1, -1}));
  module.n_rows = weight->meta.shape[0];
  module.n_cols = weight->meta.shape[1];
  RETURN_IF_ERROR(CheckPlane(scales, {QuantType::kF32}, {module.n_rows}));
  const TensorView* order = source.Find(absl::StrCat(name, ".weight_format"));
  if (order != nullptr && order->data.size() == 1 && order->data[0] != 0) {
    return absl::UnimplementedError(
        absl::StrCat("tensor ", QuotedName(order->meta.name),
                     " says that the weights lie "
                     "in tiles of kind ",
                     order->data[0], "; reading ", order->origin.file));
  }
  module.planes = {weight, &scales, order};
  return module;
}

// Codes whose planes are gone.
absl::Status CheckNoOrphan(const TensorSource& source, const TensorView& tensor,
                           bool is_4bit, bool is_8bit) {
  absl::string_view name = tensor.meta.name;
  if (!absl::ConsumeSuffix(&name, ".weight")) {
    return absl::OkStatus();
  }
  if (is_8bit && tensor.meta.type == QuantType::kI8) {
    return RequirePlane(source, name, ".SCB", tensor).status();
  }
  if (is_4bit && tensor.meta.type == QuantType::kU8 &&
      source.Find(absl::StrCat(name, kStateStart, "nf4")) == nullptr) {
    return RequirePlane(source, name, absl::StrCat(kStateStart, "fp4"), tensor)
        .status();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PackedModule>> Find(const JsonValue& config,
                                               const TensorSource& source) {
  const bool is_4bit = IsTrue(config, "load_in_4bit");
  const bool is_8bit = IsTrue(config, "load_in_8bit");
  std::vector<PackedModule> modules;
  for (const TensorView& tensor : source.tensors()) {
    const absl::string_view name = tensor.meta.name;
    absl::string_view module = name;
    const size_t at = name.rfind(kStateStart);
    if (at != absl::string_view::npos) {
      ASSIGN_OR_RETURN(PackedModule found,
                       Find4Bit(source, tensor, name.substr(0, at),
                                name.substr(at + sizeof(kStateStart) - 1)));
      modules.push_back(std::move(found));
    } else if (absl::ConsumeSuffix(&module, ".SCB")) {
      ASSIGN_OR_RETURN(PackedModule found, FindInt8(source, tensor, module));
      modules.push_back(std::move(found));
    } else {
      RETURN_IF_ERROR(CheckNoOrphan(source, tensor, is_4bit, is_8bit));
    }
  }
  return modules;
}

absl::Status ReadBlockScales(const PackedModule& module, int64_t first_block,
                             QuantizedMatrix* matrix) {
  const TensorView& absmax = *FindModulePlane(module, ".weight.absmax");
  const int64_t n = static_cast<int64_t>(matrix->scales.size());
  if (!module.scheme.nested_scales) {
    return ReadScales(absmax, QuantType::kF32, first_block, n,
                      matrix->scales.data());
  }
  ASSIGN_OR_RETURN(const State state, ReadState(*module.planes.back()));
  const TensorView& scales = *FindModulePlane(module, ".weight.nested_absmax");
  const TensorView& map = *FindModulePlane(module, ".weight.nested_quant_map");
  float table[256];
  RETURN_IF_ERROR(ReadScales(map, QuantType::kF32, 0, 256, table));
  // From the border of a nested block before the first.
  const int64_t border = first_block / state.nested_block * state.nested_block;
  NestedScales nested;
  nested.offset = state.offset;
  nested.codes.assign(absmax.data.begin() + border,
                      absmax.data.begin() + first_block + n);
  const int64_t n_codes = static_cast<int64_t>(nested.codes.size());
  nested.absmax.resize(static_cast<size_t>((n_codes + state.nested_block - 1) /
                                           state.nested_block));
  RETURN_IF_ERROR(ReadScales(
      scales, QuantType::kF32, border / state.nested_block,
      static_cast<int64_t>(nested.absmax.size()), nested.absmax.data()));
  const std::vector<float> values =
      UnnestScales(nested, table, state.nested_block);
  for (int64_t i = 0; i < n; ++i) {
    const float value = values[static_cast<size_t>(first_block - border + i)];
    if (!std::isfinite(value)) {
      return PlaneError(absmax,
                        absl::StrCat("scale ", first_block + i, " is ", value));
    }
    matrix->scales[static_cast<size_t>(i)] = value;
  }
  return absl::OkStatus();
}

// Rows of an odd number of nibbles begin within a byte.
bool LayoutOfCodes(const PackedModule& module, CodeLayout* layout) {
  layout->word_bytes = 1;
  if (!Is4Bit(module.scheme)) {
    layout->bits = 8;
    layout->cols_of_word = 1;
    layout->row_step = module.n_cols;
    layout->flip = 0x80;
    return true;
  }
  layout->cols_of_word = 2;
  layout->row_step = module.n_cols / 2;
  layout->order = CodeLayout::Order::kFalling;
  return module.n_cols % 2 == 0;
}

absl::StatusOr<QuantizedMatrix> UnpackScales(const PackedModule& module,
                                             int64_t first_row,
                                             int64_t n_rows) {
  QuantizedMatrix matrix;
  matrix.scheme = module.scheme;
  matrix.ResizeScales(n_rows, module.n_cols);
  if (!Is4Bit(module.scheme)) {
    RETURN_IF_ERROR(ReadScales(*module.planes[1], QuantType::kF32, first_row,
                               n_rows, matrix.scales.data()));
    return matrix;
  }
  const int64_t first = first_row * module.n_cols;
  const int64_t block = module.scheme.block_cols;
  assert(first % block == 0);
  assert((first + n_rows * module.n_cols) % block == 0 ||
         first_row + n_rows == module.n_rows);
  RETURN_IF_ERROR(ReadBlockScales(module, first / block, &matrix));
  return matrix;
}

absl::StatusOr<QuantizedMatrix> Unpack(const PackedModule& module,
                                       int64_t first_row, int64_t n_rows) {
  ASSIGN_OR_RETURN(QuantizedMatrix matrix,
                   UnpackScales(module, first_row, n_rows));
  const uint8_t* stored = module.planes[0]->data.data();
  const int64_t first = first_row * module.n_cols;
  const int64_t n = n_rows * module.n_cols;
  matrix.codes.resize(static_cast<size_t>(n));
  if (!Is4Bit(module.scheme)) {
    for (int64_t i = 0; i < n; ++i) {
      matrix.codes[static_cast<size_t>(i)] = stored[first + i] ^ 0x80;
    }
    return matrix;
  }
  for (int64_t i = 0; i < n; ++i) {
    const uint8_t byte = stored[(first + i) / 2];
    matrix.codes[static_cast<size_t>(i)] =
        (first + i) % 2 == 0 ? byte >> 4 : byte & 15;
  }
  return matrix;
}

}  // namespace

const Packing kBitsAndBytesPacking = {
    "bitsandbytes", "bitsandbytes NF4, FP4, LLM.int8()",
    nullptr,        /*f16_bias=*/false,
    Supports,       Planes,
    Pack,           Config,
    Recognises,     Find,
    Unpack,         /*least_zero=*/0,
    LayoutOfCodes,  UnpackScales};

}  // namespace narrow
