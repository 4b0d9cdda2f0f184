#include "formats/packing/compressed_tensors/reader.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/packing/bit_stream.h"
#include "formats/packing/compressed_tensors/config.h"
#include "formats/packing/module_planes.h"
#include "formats/packing/plane.h"
#include "formats/packing/scale_type.h"

namespace narrow {
namespace compressed_tensors {
namespace {

constexpr char kWeight[] = ".weight";
constexpr char kPacked[] = ".weight_packed";
constexpr char kScale[] = ".weight_scale";
constexpr char kZero[] = ".weight_zero_point";
constexpr char kShape[] = ".weight_shape";
constexpr char kGroups[] = ".weight_g_idx";
constexpr char kGlobal[] = ".weight_global_scale";
constexpr char kInput[] = ".input_scale";
constexpr char kInputZero[] = ".input_zero_point";
constexpr char kInputGlobal[] = ".input_global_scale";

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Words of a stream in the layout that no code crosses a word's border.
int64_t LooseWords(int64_t n_codes, int bits) {
  return CeilDiv(n_codes, 32 / bits);
}

// Whether a module's codes lie in that layout. Where the weights fit both, the
// zero points decide, and where they do too, it is today's.
bool IsLoose(const PackedModule& module) {
  const int bits = module.scheme.bits;
  const int64_t n_words = module.planes[0]->meta.shape[1];
  const int64_t dense = BitStreamWords(module.n_cols, bits);
  if (dense != LooseWords(module.n_cols, bits)) {
    return n_words != dense;
  }
  const TensorView* zeros = FindModulePlane(module, kZero);
  return zeros != nullptr && zeros->meta.type == QuantType::kI32 &&
         zeros->meta.shape[0] != BitStreamWords(module.n_rows, bits);
}

// Finds one module, plane after plane.
class ModuleReader {
 public:
  ModuleReader(const Config& config, const TensorSource& source,
               const TensorView& weight, absl::string_view name)
      : config_(config), source_(source), weight_(weight) {
    module_.name = std::string(name);
    module_.packing = &kCompressedTensorsPacking;
  }

  absl::StatusOr<PackedModule> Read() {
    ASSIGN_OR_RETURN(const ConfigGroup* group,
                     config_.Match(module_.name, weight_));
    module_.scheme = group->scheme;
    module_.planes = {&weight_};
    const absl::string_view name = weight_.meta.name;
    const bool packed = name == module_.name + kPacked;
    if (packed && module_.scheme.code == CodeKind::kInteger) {
      RETURN_IF_ERROR(ReadWords());
    } else if (packed) {
      RETURN_IF_ERROR(ReadNibbles());
    } else {
      RETURN_IF_ERROR(ReadBytes());
    }
    RETURN_IF_ERROR(ReadScalePlane());
    RETURN_IF_ERROR(ReadZeroPlane());
    RETURN_IF_ERROR(ReadGroupPlane());
    RETURN_IF_ERROR(ReadSingleScales());
    return std::move(module_);
  }

 private:
  absl::StatusOr<const TensorView*> Require(absl::string_view suffix) {
    ASSIGN_OR_RETURN(const TensorView* plane,
                     RequirePlane(source_, module_.name, suffix, weight_));
    module_.planes.push_back(plane);
    return plane;
  }
  // nullptr if there is none.
  const TensorView* Take(absl::string_view suffix) {
    const TensorView* plane = source_.Find(module_.name + std::string(suffix));
    if (plane != nullptr) {
      module_.planes.push_back(plane);
    }
    return plane;
  }

  absl::Status ReadWords() {
    ASSIGN_OR_RETURN(const TensorView* shape, Require(kShape));
    if (shape->meta.type == QuantType::kI32) {
      RETURN_IF_ERROR(CheckPlane(*shape, {QuantType::kI32}, {2}));
      int32_t sizes[2];
      ReadInt32s(*shape, 0, 2, sizes);
      module_.n_rows = sizes[0];
      module_.n_cols = sizes[1];
    } else {
      RETURN_IF_ERROR(CheckPlane(*shape, {QuantType::kI64}, {2}));
      int64_t sizes[2];
      std::memcpy(sizes, shape->data.data(), sizeof(sizes));
      module_.n_rows = sizes[0];
      module_.n_cols = sizes[1];
    }
    if (module_.n_rows < 1 || module_.n_rows > INT32_MAX ||
        module_.n_cols < 1 || module_.n_cols > INT32_MAX) {
      return PlaneError(
          *shape, absl::StrCat("says ", module_.n_rows, " x ", module_.n_cols));
    }
    RETURN_IF_ERROR(CheckPlane(weight_, {QuantType::kI32}, {-1, -1}));
    const int bits = module_.scheme.bits;
    const int64_t dense = BitStreamWords(module_.n_cols, bits);
    const int64_t loose = LooseWords(module_.n_cols, bits);
    if (weight_.meta.shape[0] != module_.n_rows ||
        (weight_.meta.shape[1] != dense && weight_.meta.shape[1] != loose)) {
      return PlaneError(
          weight_,
          absl::StrCat("has shape ", ShapeString(weight_.meta.shape), "; ",
                       module_.n_rows, " x ", module_.n_cols, " codes of ",
                       bits, " bits need [", module_.n_rows, ", ", dense, "]"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadNibbles() {
    RETURN_IF_ERROR(CheckPlane(weight_, {QuantType::kU8}, {-1, -1}));
    if (module_.scheme.code != CodeKind::kE2M1) {
      return PlaneError(weight_,
                        "holds packed codes, the configuration says fp8");
    }
    return SetSize(weight_.meta.shape[0], weight_.meta.shape[1] * 2);
  }

  absl::Status ReadBytes() {
    WeightScheme& scheme = module_.scheme;
    if (scheme.code == CodeKind::kE2M1) {
      return PlaneError(weight_, absl::StrCat("is not packed, the "
                                              "configuration says fp4"));
    }
    const bool integer = scheme.code == CodeKind::kInteger;
    RETURN_IF_ERROR(CheckPlane(
        weight_, {integer ? QuantType::kI8 : QuantType::kF8E4M3}, {-1, -1}));
    // Fewer bits are stored as int8 too; the code's middle stays 128.
    if (integer) {
      scheme.bits = 8;
    }
    return SetSize(weight_.meta.shape[0], weight_.meta.shape[1]);
  }

  absl::Status SetSize(int64_t n_rows, int64_t n_cols) {
    if (n_rows < 1 || n_cols < 1) {
      return PlaneError(weight_, "is empty");
    }
    module_.n_rows = n_rows;
    module_.n_cols = n_cols;
    return absl::OkStatus();
  }

  absl::Status ReadScalePlane() {
    WeightScheme& scheme = module_.scheme;
    ASSIGN_OR_RETURN(const TensorView* scales, Require(kScale));
    const QuantType type = scales->meta.type;
    // Bytes are exponents (MX formats).
    scheme.scale_type = type == QuantType::kU8 ? QuantType::kF8E8M0 : type;
    const bool integer = scheme.code == CodeKind::kInteger;
    if (integer && !(type == QuantType::kF32 || type == QuantType::kF16 ||
                     type == QuantType::kBF16)) {
      return PlaneError(*scales, absl::StrCat("is ", TypeName(type),
                                              ", not f32 or f16 or bf16"));
    }
    const int64_t rows = NumScaleRows(scheme, module_.n_rows);
    const int64_t cols = NumScaleCols(scheme, module_.n_rows, module_.n_cols);
    const std::vector<int64_t>& shape = scales->meta.shape;
    // One scale may be [], [1] or [1, 1]; one a row [rows] or [rows, 1].
    std::vector<int64_t> expected = {rows, cols};
    if (cols == 1 && shape.size() == 1) {
      expected = {rows};
    } else if (rows == 1 && cols == 1 && shape.empty()) {
      expected = {};
    }
    return CheckPlane(*scales,
                      {QuantType::kBF16, QuantType::kF16, QuantType::kF32,
                       QuantType::kF8E4M3, QuantType::kF8E8M0, QuantType::kU8},
                      expected);
  }

  absl::Status ReadZeroPlane() {
    const WeightScheme& scheme = module_.scheme;
    if (scheme.zero == ZeroKind::kNone) {
      // Versions before 0.8 wrote the zeros of symmetric weights too; no
      // client uses them.
      Take(kZero);
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const TensorView* zeros, Require(kZero));
    const int64_t rows = NumScaleRows(scheme, module_.n_rows);
    const int64_t cols = NumScaleCols(scheme, module_.n_rows, module_.n_cols);
    if (zeros->meta.type == QuantType::kI8) {
      return CheckPlane(*zeros, {QuantType::kI8},
                        zeros->meta.shape.size() == 1 && cols == 1
                            ? std::vector<int64_t>{rows}
                            : std::vector<int64_t>{rows, cols});
    }
    RETURN_IF_ERROR(
        CheckPlane(*zeros, {QuantType::kI32, QuantType::kI8}, {-1, cols}));
    if (scheme.block_rows != 1) {
      return PlaneError(*zeros, "is packed, but not by rows");
    }
    const int64_t expected = IsLoose(module_)
                                 ? LooseWords(rows, scheme.bits)
                                 : BitStreamWords(rows, scheme.bits);
    if (zeros->meta.shape[0] != expected) {
      return PlaneError(
          *zeros, absl::StrCat("has shape ", ShapeString(zeros->meta.shape),
                               "; ", rows, " zero points of ", scheme.bits,
                               " bits need [", expected, ", ", cols, "]"));
    }
    return absl::OkStatus();
  }

  // Group numbers that say nothing new are left out.
  absl::Status ReadGroupPlane() {
    const TensorView* plane = Take(kGroups);
    const WeightScheme& scheme = module_.scheme;
    if (plane == nullptr || scheme.block_cols == 0 || scheme.block_rows != 1) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(CheckPlane(*plane, {QuantType::kI32}, {module_.n_cols}));
    std::vector<int32_t> groups(static_cast<size_t>(module_.n_cols));
    ReadInt32s(*plane, 0, module_.n_cols, groups.data());
    bool unset = true;
    bool trivial = true;
    for (int64_t i = 0; i < module_.n_cols; ++i) {
      const int32_t group = groups[static_cast<size_t>(i)];
      unset = unset && group == -1;
      trivial = trivial && group == i / scheme.block_cols;
    }
    if (unset || trivial) {
      return absl::OkStatus();
    }
    const int64_t n_groups =
        NumScaleCols(scheme, module_.n_rows, module_.n_cols);
    for (int64_t i = 0; i < module_.n_cols; ++i) {
      const int32_t group = groups[static_cast<size_t>(i)];
      if (group < 0 || group >= n_groups) {
        return PlaneError(*plane, absl::StrCat("column ", i, " is of group ",
                                               group, " of ", n_groups));
      }
    }
    module_.scheme.column_groups = true;
    return absl::OkStatus();
  }

  absl::Status ReadSingleScales() {
    WeightScheme& scheme = module_.scheme;
    if (scheme.code == CodeKind::kE2M1 &&
        scheme.scale_type == QuantType::kF8E4M3) {
      ASSIGN_OR_RETURN(const TensorView* global, Require(kGlobal));
      RETURN_IF_ERROR(CheckSingle(*global));
      scheme.global_scale = true;
    }
    const TensorView* input = Take(kInput);
    const TensorView* input_global = Take(kInputGlobal);
    Take(kInputZero);
    const bool fixed = scheme.activations == ActivationKind::kStaticInt8 ||
                       scheme.activations == ActivationKind::kStaticFp8;
    if (fixed) {
      if (input == nullptr) {
        return Require(kInput).status();
      }
      return CheckSingle(*input);
    }
    if (scheme.activations == ActivationKind::kNvfp4) {
      if (input_global == nullptr) {
        return Require(kInputGlobal).status();
      }
      return CheckSingle(*input_global);
    }
    return absl::OkStatus();
  }

  absl::Status CheckSingle(const TensorView& plane) {
    return CheckPlane(plane,
                      {QuantType::kF32, QuantType::kBF16, QuantType::kF16},
                      plane.meta.shape.empty() ? std::vector<int64_t>{}
                                               : std::vector<int64_t>{1});
  }

  const Config& config_;
  const TensorSource& source_;
  const TensorView& weight_;
  PackedModule module_;
};

// Whether a plane is left over of a module that has lost its weight.
absl::Status CheckNoOrphan(const TensorSource& source,
                           const TensorView& tensor) {
  for (const char* suffix : {kScale, kZero, kShape, kGlobal}) {
    absl::string_view name = tensor.meta.name;
    if (absl::ConsumeSuffix(&name, suffix) &&
        source.Find(absl::StrCat(name, kPacked)) == nullptr &&
        source.Find(absl::StrCat(name, kWeight)) == nullptr) {
      return PlaneError(
          tensor, absl::StrCat("there is neither ",
                               QuotedName(absl::StrCat(name, kPacked)), " nor ",
                               QuotedName(absl::StrCat(name, kWeight)),
                               " that it belongs to"));
    }
  }
  return absl::OkStatus();
}

// Codes of one stream whose words are `stride` apart; no code crosses a
// word's border.
void UnpackLoose(const uint8_t* words, int64_t stride, int bits,
                 int64_t first_code, int64_t n_codes, uint8_t* codes) {
  const int64_t per_word = 32 / bits;
  for (int64_t i = 0; i < n_codes; ++i) {
    const int64_t code = first_code + i;
    uint32_t word;
    std::memcpy(&word, words + code / per_word * stride * 4, sizeof(word));
    codes[i] = static_cast<uint8_t>(word >> (code % per_word * bits)) &
               static_cast<uint8_t>((1 << bits) - 1);
  }
}

void UnpackWords(const PackedModule& module, int64_t first_row,
                 QuantizedMatrix* matrix) {
  const TensorView& plane = *module.planes[0];
  const int bits = module.scheme.bits;
  const int64_t n_words = plane.meta.shape[1];
  const uint8_t* words = plane.data.data() + first_row * n_words * 4;
  if (!IsLoose(module)) {
    UnpackBits({words, 1, n_words}, bits, matrix->n_rows, 0, module.n_cols,
               matrix->codes.data(), module.n_cols);
    return;
  }
  for (int64_t row = 0; row < matrix->n_rows; ++row) {
    UnpackLoose(words + row * n_words * 4, 1, bits, 0, module.n_cols,
                matrix->codes.data() + row * module.n_cols);
  }
}

absl::Status UnpackCodes(const PackedModule& module, int64_t first_row,
                         QuantizedMatrix* matrix) {
  const TensorView& plane = *module.planes[0];
  const int64_t first = first_row * module.n_cols;
  const int64_t n = matrix->n_rows * module.n_cols;
  if (plane.meta.type == QuantType::kI32) {
    UnpackWords(module, first_row, matrix);
    return absl::OkStatus();
  }
  for (int64_t i = 0; i < n; ++i) {
    uint8_t code;
    if (plane.meta.type == QuantType::kU8) {
      // Columns are even in number, so rows begin with a byte.
      const uint8_t byte = plane.data[static_cast<size_t>((first + i) / 2)];
      code = i % 2 == 0 ? byte & 15 : byte >> 4;
    } else {
      code = plane.data[static_cast<size_t>(first + i)];
      if (plane.meta.type == QuantType::kI8) {
        code ^= 0x80;
      } else if ((code & 0x7f) == 0x7f) {
        return PlaneError(plane,
                          absl::StrCat("element ", first + i, " is NaN"));
      }
    }
    matrix->codes[static_cast<size_t>(i)] = code;
  }
  return absl::OkStatus();
}

absl::Status UnpackZeros(const PackedModule& module, int64_t first_row,
                         QuantizedMatrix* matrix) {
  const TensorView& plane = *FindModulePlane(module, kZero);
  const int bits = module.scheme.bits;
  const int64_t n_groups = matrix->n_scale_cols();
  const int64_t n_rows = matrix->n_scale_rows();
  if (plane.meta.type == QuantType::kI8) {
    const int middle = 1 << (bits - 1);
    const int64_t first = module.scheme.block_rows == 0
                              ? 0
                              : first_row / module.scheme.block_rows * n_groups;
    for (size_t i = 0; i < matrix->zeros.size(); ++i) {
      const size_t at = static_cast<size_t>(first) + i;
      const int zero = static_cast<int8_t>(plane.data[at]) + middle;
      if (zero < 0 || zero >= 2 * middle) {
        return PlaneError(plane,
                          absl::StrCat("element ", at, " is ", zero - middle,
                                       ", beyond ", bits, " bits"));
      }
      matrix->zeros[i] = static_cast<float>(zero);
    }
    return absl::OkStatus();
  }
  std::vector<uint8_t> zeros(static_cast<size_t>(n_groups * n_rows));
  if (!IsLoose(module)) {
    UnpackBits({plane.data.data(), n_groups, 1}, bits, n_groups, first_row,
               n_rows, zeros.data(), n_rows);
  } else {
    for (int64_t group = 0; group < n_groups; ++group) {
      UnpackLoose(plane.data.data() + group * 4, n_groups, bits, first_row,
                  n_rows, zeros.data() + group * n_rows);
    }
  }
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t group = 0; group < n_groups; ++group) {
      matrix->zeros[static_cast<size_t>(row * n_groups + group)] =
          static_cast<float>(zeros[static_cast<size_t>(group * n_rows + row)]);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<float> ReadSingle(const TensorView& plane) {
  float value;
  RETURN_IF_ERROR(ReadScales(plane, plane.meta.type, 0, 1, &value));
  if (!(value > 0)) {
    return PlaneError(plane, absl::StrCat("is ", value, ", not positive"));
  }
  return value;
}

absl::Status UnpackSingles(const PackedModule& module,
                           QuantizedMatrix* matrix) {
  const ActivationKind inputs = module.scheme.activations;
  if (module.scheme.global_scale) {
    ASSIGN_OR_RETURN(matrix->global_scale,
                     ReadSingle(*FindModulePlane(module, kGlobal)));
  }
  if (inputs == ActivationKind::kStaticInt8 ||
      inputs == ActivationKind::kStaticFp8) {
    ASSIGN_OR_RETURN(matrix->input_scale,
                     ReadSingle(*FindModulePlane(module, kInput)));
  } else if (inputs == ActivationKind::kNvfp4) {
    ASSIGN_OR_RETURN(matrix->input_scale,
                     ReadSingle(*FindModulePlane(module, kInputGlobal)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<PackedModule>> Find(const JsonValue& json,
                                               const TensorSource& source) {
  ASSIGN_OR_RETURN(const Config config, ReadConfig(json));
  std::vector<PackedModule> modules;
  for (const TensorView& tensor : source.tensors()) {
    absl::string_view name = tensor.meta.name;
    const bool packed = absl::ConsumeSuffix(&name, kPacked);
    if (!packed && !(absl::ConsumeSuffix(&name, kWeight) &&
                     (tensor.meta.type == QuantType::kI8 ||
                      tensor.meta.type == QuantType::kF8E4M3))) {
      RETURN_IF_ERROR(CheckNoOrphan(source, tensor));
      continue;
    }
    if (tensor.meta.shape.size() != 2) {
      return absl::UnimplementedError(absl::StrCat(
          "tensor ", QuotedName(tensor.meta.name), " has shape ",
          ShapeString(tensor.meta.shape),
          ": packed weights that are no matrix; reading ", tensor.origin.file));
    }
    ASSIGN_OR_RETURN(PackedModule module,
                     ModuleReader(config, source, tensor, name).Read());
    modules.push_back(std::move(module));
  }
  return modules;
}

bool LayoutOfCodes(const PackedModule& module, CodeLayout* layout) {
  const QuantType type = module.planes[0]->meta.type;
  layout->row_step = module.planes[0]->meta.shape[1];
  if (type == QuantType::kI32) {
    const int bits = module.scheme.bits;
    layout->bits = bits;
    layout->cols_of_word = 32 / bits;
    return 32 % bits == 0 || IsLoose(module);
  }
  layout->word_bytes = 1;
  if (type == QuantType::kU8) {
    layout->cols_of_word = 2;
    return true;
  }
  layout->bits = 8;
  layout->cols_of_word = 1;
  layout->flip = type == QuantType::kI8 ? 0x80 : 0;
  layout->has_no_nan = type != QuantType::kI8;
  return true;
}

absl::StatusOr<QuantizedMatrix> UnpackScales(const PackedModule& module,
                                             int64_t first_row,
                                             int64_t n_rows) {
  QuantizedMatrix matrix;
  matrix.scheme = module.scheme;
  matrix.ResizeScales(n_rows, module.n_cols);
  const int64_t block_rows = module.scheme.block_rows;
  assert(block_rows <= 1 || first_row % block_rows == 0);
  const int64_t first_scale =
      block_rows == 0 ? 0 : first_row / block_rows * matrix.n_scale_cols();
  RETURN_IF_ERROR(ReadScales(
      *FindModulePlane(module, kScale), module.scheme.scale_type, first_scale,
      static_cast<int64_t>(matrix.scales.size()), matrix.scales.data()));
  if (module.scheme.zero == ZeroKind::kInteger) {
    RETURN_IF_ERROR(UnpackZeros(module, first_row, &matrix));
  }
  if (module.scheme.column_groups) {
    ReadInt32s(*FindModulePlane(module, kGroups), 0, module.n_cols,
               matrix.group_of_column.data());
  }
  RETURN_IF_ERROR(UnpackSingles(module, &matrix));
  return matrix;
}

absl::StatusOr<QuantizedMatrix> Unpack(const PackedModule& module,
                                       int64_t first_row, int64_t n_rows) {
  ASSIGN_OR_RETURN(QuantizedMatrix matrix,
                   UnpackScales(module, first_row, n_rows));
  matrix.codes.resize(static_cast<size_t>(n_rows * module.n_cols));
  RETURN_IF_ERROR(UnpackCodes(module, first_row, &matrix));
  return matrix;
}

}  // namespace compressed_tensors
}  // namespace narrow
