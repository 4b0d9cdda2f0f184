// HQQ's layout in safetensors, as hqq 0.2 and transformers 4.57 write it. The
// n = out * in weights of a layer are, row-major, groups of g:
//
//   axis 1: a matrix [n / g, g], a group a row     (what we write)
//   axis 0: a matrix [g, n / g], a group a column  (read only)
//
//   W = (code - zero) * scale, zero and scale floats, one a group
//
// Codes are packed along the first dimension of that matrix: its rows are cut
// into as many equal parts as a word has codes, the first part in the highest
// bits. With R rows:
//
//   bits  word  parts  row of part p, place r   shift
//    8    u8     1     r                        0
//    4    u8     2     p * R / 2 + r            4 - 4p
//    2    u8     4     p * R / 4 + r            6 - 2p
//    1    u8     8     p * R / 8 + r            7 - p
//    3    i32   10     p * ceil(R / 10) + r     27 - 3p; padded with zeros
//
//   X.W_q    u8 or i32 [words a column, columns]
//   X.scale  [n / g, 1] or [1, n / g]; X.zero the same
//   X.nbits, X.group_size, X.axis    i32 []
//   X.shape                          i64 [2]: out, in
//   X.packing, X.unpack_view_dtype, X.compute_dtype    u8, text
//   X.view_as_float ... X.stores_quant_config          u8 []: 0 or 1
//
// Little-endian; frozen. Half-Quadratic Quantization of Large Machine Learning
// Models (Badri and Shaji, 2023) is how such codes are found.
//
// Tested by: packing_test, integer_layouts_test.

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"
#include "formats/packing/layout_facts.h"
#include "formats/packing/packing.h"
#include "formats/packing/plane.h"
#include "formats/packing/scale_type.h"

namespace narrow {
namespace {

enum Plane { kWq, kScale, kZero, kShape };

// How codes of some width lie in words.
struct Places {
  int bits;
  int word_bytes;
  int64_t n_parts;
  const char* name;  // in X.packing
  const char* view;  // in X.unpack_view_dtype
  QuantType word_type;
};

constexpr Places kPlaces[] = {
    {8, 1, 1, "8bit_u8", "torch.uint8", QuantType::kU8},
    {4, 1, 2, "4bit_u8", "torch.uint8", QuantType::kU8},
    {3, 4, 10, "3bit_32", "torch.int32", QuantType::kI32},
    {2, 1, 4, "2bit_u8", "torch.uint8", QuantType::kU8},
    {1, 1, 8, "1bit_u8", "torch.uint8", QuantType::kU8},
};

const Places* FindPlaces(int64_t bits) {
  for (const Places& places : kPlaces) {
    if (places.bits == bits) {
      return &places;
    }
  }
  return nullptr;
}

// Words above each other for `n_rows` rows of codes.
int64_t WordRows(const Places& places, int64_t n_rows) {
  return (n_rows + places.n_parts - 1) / places.n_parts;
}

int ShiftOf(const Places& places, int64_t part) {
  return static_cast<int>(places.n_parts - 1 - part) * places.bits;
}

int64_t GroupSize(const WeightScheme& scheme, int64_t n_cols) {
  return scheme.block_cols > 0 ? scheme.block_cols : n_cols;
}

absl::Status Supports(const WeightScheme& scheme, int64_t n_rows,
                      int64_t n_cols) {
  const auto unsupported = [&](absl::string_view why) {
    return absl::UnimplementedError(
        absl::StrCat("HQQ cannot hold ", SchemeName(scheme), ": ", why));
  };
  if (scheme.code != CodeKind::kInteger || scheme.zero != ZeroKind::kFloat) {
    return unsupported("its codes are integers and its zero points floats");
  }
  const Places* places = FindPlaces(scheme.bits);
  if (places == nullptr) {
    return unsupported("its codes have 1, 2, 3, 4 or 8 bits");
  }
  if (scheme.column_groups || (!scheme.flat && scheme.block_rows != 1)) {
    return unsupported("its groups are consecutive weights");
  }
  if (scheme.flat && scheme.block_cols < 2) {
    return unsupported("its groups have more than one weight");
  }
  if ((scheme.scale_type != QuantType::kF16 &&
       scheme.scale_type != QuantType::kBF16 &&
       scheme.scale_type != QuantType::kF32) ||
      scheme.global_scale || scheme.nested_scales || scheme.scale_unit != 1) {
    return unsupported("its scales are plain f16, bf16 or f32");
  }
  if (scheme.activations != ActivationKind::kNone) {
    return unsupported("it says nothing of activations");
  }
  const int64_t group = GroupSize(scheme, n_cols);
  const int64_t n = n_rows * n_cols;
  if (n % group != 0 || (!scheme.flat && n_cols % group != 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("[", n_rows, ", ", n_cols, "] is no whole groups of ",
                     group, ", which HQQ asks for"));
  }
  if (places->bits != 3 && n / group % places->n_parts != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(n / group, " groups are no multiple of the ",
                     places->n_parts, " codes in one of HQQ's bytes"));
  }
  return absl::OkStatus();
}

const char* TorchName(QuantType type) {
  return type == QuantType::kF16    ? "torch.float16"
         : type == QuantType::kBF16 ? "torch.bfloat16"
                                    : "torch.float32";
}

// A small tensor beside the codes: its bytes with what a header says of it.
struct Note {
  TensorMeta meta;
  std::vector<uint8_t> bytes;
};

Note TextNote(const char* suffix, absl::string_view text) {
  Note note;
  note.meta = {suffix, QuantType::kU8, {static_cast<int64_t>(text.size())}};
  note.bytes.assign(text.begin(), text.end());
  return note;
}

Note FlagNote(const char* suffix, bool value) {
  return {{suffix, QuantType::kU8, {}}, {static_cast<uint8_t>(value)}};
}

Note IntegerNote(const char* suffix, int64_t value) {
  const int32_t number = static_cast<int32_t>(value);
  Note note = {{suffix, QuantType::kI32, {}}, std::vector<uint8_t>(4)};
  std::memcpy(note.bytes.data(), &number, sizeof(number));
  return note;
}

// In the order of the file, after codes, scales and zeros.
std::vector<Note> Notes(const WeightScheme& scheme, int64_t n_rows,
                        int64_t n_cols) {
  const Places& places = *FindPlaces(scheme.bits);
  Note shape = {{".shape", QuantType::kI64, {2}}, std::vector<uint8_t>(16)};
  std::memcpy(shape.bytes.data(), &n_rows, sizeof(n_rows));
  std::memcpy(shape.bytes.data() + 8, &n_cols, sizeof(n_cols));
  return {
      std::move(shape),
      IntegerNote(".axis", 1),
      IntegerNote(".nbits", scheme.bits),
      IntegerNote(".group_size", GroupSize(scheme, n_cols)),
      TextNote(".packing", places.name),
      TextNote(".unpack_view_dtype", places.view),
      TextNote(".compute_dtype", TorchName(scheme.scale_type)),
      FlagNote(".view_as_float", false),
      FlagNote(".quant_scale", false),
      FlagNote(".quant_zero", false),
      FlagNote(".offload_meta", false),
      FlagNote(".channel_wise", true),
      FlagNote(".optimize", true),
      FlagNote(".round_zero", scheme.bits == 4),
      FlagNote(".encoded_state_dict", true),
      FlagNote(".stores_quant_config", true),
  };
}

std::vector<TensorMeta> Planes(const WeightScheme& scheme,
                               absl::string_view module, int64_t n_rows,
                               int64_t n_cols, QuantType /*model_dtype*/) {
  const Places& places = *FindPlaces(scheme.bits);
  const int64_t group = GroupSize(scheme, n_cols);
  const int64_t n_groups = n_rows * n_cols / group;
  std::vector<TensorMeta> metas = {
      {absl::StrCat(module, ".W_q"),
       places.word_type,
       {WordRows(places, n_groups), group}},
      {absl::StrCat(module, ".scale"), scheme.scale_type, {n_groups, 1}},
      {absl::StrCat(module, ".zero"), scheme.scale_type, {n_groups, 1}},
  };
  for (Note& note : Notes(scheme, n_rows, n_cols)) {
    note.meta.name = absl::StrCat(module, note.meta.name);
    metas.push_back(std::move(note.meta));
  }
  return metas;
}

// Adds `code` of row `row`, column `col` to the words.
void PutCode(const Places& places, int64_t n_word_rows, int64_t n_cols,
             int64_t row, int64_t col, uint32_t code, uint8_t* words) {
  const int shift = ShiftOf(places, row / n_word_rows);
  uint8_t* word =
      words + (row % n_word_rows * n_cols + col) * places.word_bytes;
  if (places.word_bytes == 1) {
    *word = static_cast<uint8_t>(*word | code << shift);
    return;
  }
  uint32_t value;
  std::memcpy(&value, word, sizeof(value));
  value |= code << shift;
  std::memcpy(word, &value, sizeof(value));
}

absl::StatusOr<std::vector<std::vector<uint8_t>>> Pack(
    const QuantizedMatrix& matrix, QuantType /*model_dtype*/) {
  const WeightScheme& scheme = matrix.scheme;
  RETURN_IF_ERROR(Supports(scheme, matrix.n_rows, matrix.n_cols));
  const Places& places = *FindPlaces(scheme.bits);
  const int64_t group = GroupSize(scheme, matrix.n_cols);
  const int64_t n_groups = matrix.n_rows * matrix.n_cols / group;
  const int64_t n_word_rows = WordRows(places, n_groups);
  std::vector<std::vector<uint8_t>> planes(3);
  planes[kWq].resize(
      static_cast<size_t>(n_word_rows * group * places.word_bytes));
  const uint8_t* code = matrix.codes.data();
  for (int64_t row = 0; row < n_groups; ++row) {
    for (int64_t col = 0; col < group; ++col) {
      PutCode(places, n_word_rows, group, row, col, *code++,
              planes[kWq].data());
    }
  }
  AppendScales(scheme.scale_type, matrix.scales, &planes[kScale]);
  AppendScales(scheme.scale_type, matrix.zeros, &planes[kZero]);
  for (Note& note : Notes(scheme, matrix.n_rows, matrix.n_cols)) {
    planes.push_back(std::move(note.bytes));
  }
  return planes;
}

absl::StatusOr<std::string> Config(const PackedLayout& layout) {
  if (layout.modules.empty()) {
    return absl::InvalidArgumentError("no layer is quantized");
  }
  RETURN_IF_ERROR(RequireOneScheme(layout, "HQQ"));
  const PackedModule& first = layout.modules[0];
  const int64_t group = GroupSize(first.scheme, first.n_cols);
  for (const PackedModule& module : layout.modules) {
    if (GroupSize(module.scheme, module.n_cols) != group) {
      return absl::UnimplementedError(
          absl::StrCat("HQQ describes all layers at once, but groups of ",
                       QuotedName(first.name), " have ", group,
                       " weights and those of ", QuotedName(module.name), " ",
                       GroupSize(module.scheme, module.n_cols)));
    }
  }
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("quant_method").String("hqq");
  json.Key("quant_config").BeginObject();
  json.Key("weight_quant_params").BeginObject();
  json.Key("nbits").Integer(first.scheme.bits);
  json.Key("channel_wise").Bool(true);
  json.Key("group_size").Integer(group);
  json.Key("optimize").Bool(true);
  json.Key("round_zero").Bool(first.scheme.bits == 4);
  json.Key("axis").Integer(1);
  json.Key("view_as_float").Bool(false);
  json.EndObject();
  json.Key("scale_quant_params").Null();
  json.Key("zero_quant_params").Null();
  json.Key("offload_meta").Bool(false);
  json.EndObject();
  json.Key("skip_modules").BeginArray();
  for (const std::string& name : layout.dense_linears) {
    json.String(name);
  }
  json.EndArray();
  json.EndObject();
  return json.text();
}

bool Recognises(const JsonValue& config) {
  const std::optional<JsonValue> method = config.FindNonNull("quant_method");
  return method && method->is_string() && *method->GetString() == "hqq";
}

// ---- Reading ----

// The value of a scalar integer or flag beside the codes.
absl::StatusOr<int64_t> ReadNote(const TensorView& plane, QuantType type) {
  if (plane.meta.n_elements() != 1) {
    return PlaneError(plane,
                      absl::StrCat("has shape ", ShapeString(plane.meta.shape),
                                   ", not one element"));
  }
  RETURN_IF_ERROR(CheckPlane(plane, {type}, plane.meta.shape));
  if (type == QuantType::kU8) {
    return int64_t{plane.data[0]};
  }
  int32_t value;
  ReadInt32s(plane, 0, 1, &value);
  return int64_t{value};
}

absl::Status CheckFlags(const TensorSource& source, absl::string_view module) {
  for (absl::string_view suffix :
       {".view_as_float", ".quant_scale", ".quant_zero"}) {
    const TensorView* flag = source.Find(absl::StrCat(module, suffix));
    if (flag == nullptr) {
      continue;
    }
    ASSIGN_OR_RETURN(const int64_t value, ReadNote(*flag, QuantType::kU8));
    if (value != 0) {
      return absl::UnimplementedError(absl::StrCat(
          "tensor ", QuotedName(flag->meta.name),
          " is set: HQQ's codes viewed as floats, and its quantized scales, "
          "are not supported; at offset ",
          flag->origin.offset, "; reading ", flag->origin.file));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadShape(const TensorView& plane, PackedModule* module) {
  RETURN_IF_ERROR(CheckPlane(plane, {QuantType::kI64}, {2}));
  std::memcpy(&module->n_rows, plane.data.data(), sizeof(module->n_rows));
  std::memcpy(&module->n_cols, plane.data.data() + 8, sizeof(module->n_cols));
  constexpr int64_t kMaxSize = int64_t{1} << 30;
  for (const int64_t size : {module->n_rows, module->n_cols}) {
    if (size < 1 || size > kMaxSize) {
      return PlaneError(plane, absl::StrCat("says [", module->n_rows, ", ",
                                            module->n_cols, "]"));
    }
  }
  return absl::OkStatus();
}

// Integers that each layer has, or else the configuration.
absl::StatusOr<int64_t> NoteOr(const TensorSource& source,
                               absl::string_view module, absl::string_view name,
                               const JsonValue& params) {
  const TensorView* note = source.Find(absl::StrCat(module, ".", name));
  if (note != nullptr) {
    return ReadNote(*note, QuantType::kI32);
  }
  ASSIGN_OR_RETURN(const JsonValue value, params.Get(name));
  return value.GetInteger();
}

constexpr const char* kOtherNotes[] = {".nbits",
                                       ".group_size",
                                       ".packing",
                                       ".unpack_view_dtype",
                                       ".compute_dtype",
                                       ".view_as_float",
                                       ".quant_scale",
                                       ".quant_zero",
                                       ".offload_meta",
                                       ".channel_wise",
                                       ".optimize",
                                       ".round_zero",
                                       ".encoded_state_dict",
                                       ".stores_quant_config"};

absl::StatusOr<PackedModule> FindModule(const JsonValue& params,
                                        const TensorSource& source,
                                        const TensorView& codes) {
  PackedModule module;
  absl::string_view name = codes.meta.name;
  absl::ConsumeSuffix(&name, ".W_q");
  module.name = std::string(name);
  module.packing = &kHqqPacking;
  module.planes = {&codes};
  for (absl::string_view suffix : {".scale", ".zero", ".shape"}) {
    ASSIGN_OR_RETURN(module.planes.emplace_back(),
                     RequirePlane(source, name, suffix, codes));
  }
  module.planes.push_back(source.Find(absl::StrCat(name, ".axis")));
  for (const char* suffix : kOtherNotes) {
    module.planes.push_back(source.Find(absl::StrCat(name, suffix)));
  }
  RETURN_IF_ERROR(ReadShape(*module.planes[kShape], &module));
  RETURN_IF_ERROR(CheckFlags(source, name));
  ASSIGN_OR_RETURN(const int64_t bits, NoteOr(source, name, "nbits", params));
  ASSIGN_OR_RETURN(const int64_t group,
                   NoteOr(source, name, "group_size", params));
  ASSIGN_OR_RETURN(const int64_t axis, NoteOr(source, name, "axis", params));
  const Places* places = FindPlaces(bits);
  const int64_t n = module.n_rows * module.n_cols;
  if (places == nullptr || axis < 0 || axis > 1 || group < 1 ||
      n % group != 0) {
    return PlaneError(
        codes, absl::StrCat("has ", bits, " bits, groups of ", group,
                            " along axis ", axis, " for ", n, " weights"));
  }
  const int64_t n_groups = n / group;
  const std::vector<int64_t> word_shape =
      axis == 1 ? std::vector<int64_t>{WordRows(*places, n_groups), group}
                : std::vector<int64_t>{WordRows(*places, group), n_groups};
  RETURN_IF_ERROR(CheckPlane(codes, {places->word_type}, word_shape));
  const std::vector<int64_t> scale_shape =
      axis == 1 ? std::vector<int64_t>{n_groups, 1}
                : std::vector<int64_t>{1, n_groups};
  for (const Plane plane : {kScale, kZero}) {
    RETURN_IF_ERROR(CheckPlane(
        *module.planes[plane],
        {QuantType::kF16, QuantType::kBF16, QuantType::kF32}, scale_shape));
  }
  const QuantType type = module.planes[kScale]->meta.type;
  RETURN_IF_ERROR(CheckPlane(*module.planes[kZero], {type}, scale_shape));
  module.scheme.bits = static_cast<int>(bits);
  module.scheme.zero = ZeroKind::kFloat;
  module.scheme.scale_type = type;
  // Along axis 0 neighbours belong to different groups, so every weight has
  // a scale of its own as far as others can tell.
  module.scheme.block_cols = axis == 1 ? group : 1;
  module.scheme.flat = axis == 0 || module.n_cols % group != 0;
  return module;
}

absl::StatusOr<std::vector<PackedModule>> Find(const JsonValue& config,
                                               const TensorSource& source) {
  JsonValue params = config;
  for (absl::string_view key : {"quant_config", "weight_quant_params"}) {
    if (const auto value = params.FindNonNull(key)) {
      params = *value;
    }
  }
  std::vector<PackedModule> modules;
  for (const TensorView& view : source.tensors()) {
    if (absl::EndsWith(view.meta.name, ".W_q")) {
      ASSIGN_OR_RETURN(modules.emplace_back(),
                       FindModule(params, source, view));
    }
  }
  return modules;
}

uint8_t CodeAt(const Places& places, const TensorView& plane, int64_t row,
               int64_t col) {
  const int64_t n_word_rows = plane.meta.shape[0];
  const int64_t at = row % n_word_rows * plane.meta.shape[1] + col;
  const int shift = ShiftOf(places, row / n_word_rows);
  const uint32_t mask = (1u << places.bits) - 1;
  if (places.word_bytes == 1) {
    return static_cast<uint8_t>(plane.data[static_cast<size_t>(at)] >> shift &
                                mask);
  }
  uint32_t word;
  std::memcpy(&word, plane.data.data() + 4 * at, sizeof(word));
  return static_cast<uint8_t>(word >> shift & mask);
}

// Weights first ... first + n of a matrix whose groups are its rows.
void UnpackRows(const Places& places, const TensorView& plane, int64_t first,
                int64_t n, uint8_t* codes) {
  const int64_t group = plane.meta.shape[1];
  const int64_t n_word_rows = plane.meta.shape[0];
  const uint32_t mask = (1u << places.bits) - 1;
  for (int64_t row = first / group; row < (first + n) / group; ++row) {
    if (places.word_bytes != 1) {
      for (int64_t col = 0; col < group; ++col) {
        *codes++ = CodeAt(places, plane, row, col);
      }
      continue;
    }
    const uint8_t* words = plane.data.data() + row % n_word_rows * group;
    const int shift = ShiftOf(places, row / n_word_rows);
    for (int64_t col = 0; col < group; ++col) {
      *codes++ = static_cast<uint8_t>(words[col] >> shift & mask);
    }
  }
}

absl::Status UnpackAxis0(const PackedModule& module, const Places& places,
                         int64_t first, QuantizedMatrix* matrix) {
  const TensorView& plane = *module.planes[kWq];
  const int64_t n_groups = plane.meta.shape[1];
  std::vector<float> scales(static_cast<size_t>(n_groups));
  std::vector<float> zeros(scales.size());
  const QuantType type = module.scheme.scale_type;
  RETURN_IF_ERROR(
      ReadScales(*module.planes[kScale], type, 0, n_groups, scales.data()));
  RETURN_IF_ERROR(
      ReadScales(*module.planes[kZero], type, 0, n_groups, zeros.data()));
  for (size_t i = 0; i < matrix->codes.size(); ++i) {
    const int64_t at = first + static_cast<int64_t>(i);
    const int64_t group = at % n_groups;
    matrix->codes[i] = CodeAt(places, plane, at / n_groups, group);
    matrix->scales[i] = scales[static_cast<size_t>(group)];
    matrix->zeros[i] = zeros[static_cast<size_t>(group)];
  }
  return absl::OkStatus();
}

absl::StatusOr<QuantizedMatrix> Unpack(const PackedModule& module,
                                       int64_t first_row, int64_t n_rows) {
  QuantizedMatrix matrix;
  matrix.scheme = module.scheme;
  matrix.Resize(n_rows, module.n_cols);
  const Places& places = *FindPlaces(module.scheme.bits);
  const int64_t first = first_row * module.n_cols;
  if (module.scheme.block_cols == 1) {
    RETURN_IF_ERROR(UnpackAxis0(module, places, first, &matrix));
    return matrix;
  }
  UnpackRows(places, *module.planes[kWq], first, n_rows * module.n_cols,
             matrix.codes.data());
  const int64_t first_group = first / module.scheme.block_cols;
  const int64_t n_groups = static_cast<int64_t>(matrix.scales.size());
  const QuantType type = module.scheme.scale_type;
  RETURN_IF_ERROR(ReadScales(*module.planes[kScale], type, first_group,
                             n_groups, matrix.scales.data()));
  RETURN_IF_ERROR(ReadScales(*module.planes[kZero], type, first_group, n_groups,
                             matrix.zeros.data()));
  return matrix;
}

}  // namespace

const Packing kHqqPacking = {
    "hqq",
    "HQQ (transformers 4.57, hqq)",
    /*config_file=*/nullptr,
    /*f16_bias=*/false,
    &Supports,
    &Planes,
    &Pack,
    &Config,
    &Recognises,
    &Find,
    &Unpack,
};

}  // namespace narrow
