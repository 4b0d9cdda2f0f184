// GPTQ's layout, as AutoGPTQ made it and GPTQModel, optimum and vLLM read it.
// Four planes a layer of `in` inputs, `out` outputs, G groups of inputs:
//
//   X.qweight  i32 [in * bits / 32, out]  codes, a bit stream down each column
//   X.qzeros   i32 [G, out * bits / 32]   zero points, a stream along each row
//   X.scales   f16 [G, out]
//   X.g_idx    i32 [in]                   group of every input
//
//   W[o, i] = scales[g_idx[i], o] * (code[i, o] - zero[g_idx[i], o])
//
// Little-endian; frozen. Version 1 ("gptq") stores zero - 1, version 2
// ("gptq_v2") the zero. A zero of 0 has no place in version 1: programs
// subtract a constant from whole words, which borrows from the neighbour, and
// add it back to whole words, except for 3 bits, which they treat one by one.
// We read it as they do, and do not write it.
//
// Tested by: packing_test, integer_layouts_test.

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/packing/bit_stream.h"
#include "formats/packing/integers/column_groups.h"
#include "formats/packing/integers/gptq_config.h"
#include "formats/packing/layout_facts.h"
#include "formats/packing/packing.h"
#include "formats/packing/plane.h"
#include "formats/packing/scale_type.h"

namespace narrow {
namespace {

constexpr int64_t kWordCodes = 32;  // sizes are multiples of this

enum Plane { kQweight, kQzeros, kScales, kGroupIndex, kNumPlanes };

bool HasBits(int64_t bits) {
  return bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

absl::Status Supports(const WeightScheme& scheme, int64_t n_rows,
                      int64_t n_cols) {
  RETURN_IF_ERROR(SupportsColumnGroups(scheme, n_cols, "GPTQ"));
  if (!HasBits(scheme.bits)) {
    return absl::UnimplementedError(absl::StrCat(
        "GPTQ has codes of 2, 3, 4 and 8 bits, not ", scheme.bits));
  }
  if (n_rows % kWordCodes != 0 || n_cols % kWordCodes != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "GPTQ's sizes are multiples of 32, not [", n_rows, ", ", n_cols, "]"));
  }
  if (scheme.block_cols % kWordCodes != 0) {
    return absl::UnimplementedError(absl::StrCat(
        "GPTQ's groups are multiples of 32, not ", scheme.block_cols));
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
       {n_cols * scheme.bits / 32, n_rows}},
      {absl::StrCat(module, ".qzeros"),
       QuantType::kI32,
       {n_groups, n_rows * scheme.bits / 32}},
      {absl::StrCat(module, ".scales"), QuantType::kF16, {n_groups, n_rows}},
      {absl::StrCat(module, ".g_idx"), QuantType::kI32, {n_cols}},
  };
}

// `zeros` is [groups, rows].
absl::Status SubtractOne(int64_t n_rows, std::vector<uint8_t>* zeros) {
  for (size_t i = 0; i < zeros->size(); ++i) {
    if ((*zeros)[i] == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the zero point of row ", i % static_cast<size_t>(n_rows), ", group ",
          i / static_cast<size_t>(n_rows),
          " is 0, and version 1 of GPTQ's layout begins at 1: use gptq_v2"));
    }
    --(*zeros)[i];
  }
  return absl::OkStatus();
}

template <bool kVersion1>
absl::StatusOr<std::vector<std::vector<uint8_t>>> Pack(
    const QuantizedMatrix& matrix, QuantType /*model_dtype*/) {
  RETURN_IF_ERROR(Supports(matrix.scheme, matrix.n_rows, matrix.n_cols));
  const int bits = matrix.scheme.bits;
  const int64_t n_rows = matrix.n_rows;
  const int64_t n_cols = matrix.n_cols;
  const int64_t n_groups = matrix.n_scale_cols();
  std::vector<std::vector<uint8_t>> planes(kNumPlanes);

  planes[kQweight].resize(static_cast<size_t>(n_cols * bits / 32 * n_rows * 4));
  PackBits(matrix.codes.data(), n_cols, bits, n_rows, n_cols,
           {planes[kQweight].data(), n_rows, 1});

  std::vector<uint8_t> zeros = ZeroCodes(matrix);
  if (kVersion1) {
    RETURN_IF_ERROR(SubtractOne(n_rows, &zeros));
  }
  const int64_t zero_words = n_rows * bits / 32;
  planes[kQzeros].resize(static_cast<size_t>(n_groups * zero_words * 4));
  PackBits(zeros.data(), n_rows, bits, n_groups, n_rows,
           {planes[kQzeros].data(), 1, zero_words});

  AppendScales(QuantType::kF16, Transposed(matrix.scales, n_rows, n_groups),
               &planes[kScales]);

  std::vector<int32_t> groups = matrix.group_of_column;
  for (int64_t i = 0; !matrix.scheme.column_groups && i < n_cols; ++i) {
    groups.push_back(static_cast<int32_t>(matrix.ScaleIndex(0, i)));
  }
  planes[kGroupIndex].resize(groups.size() * sizeof(int32_t));
  std::memcpy(planes[kGroupIndex].data(), groups.data(),
              planes[kGroupIndex].size());
  return planes;
}

bool RecognisesV1(const JsonValue& config) {
  const std::string format = GptqFormatOf(config);
  return !format.empty() && format != "gptq_v2";
}

bool RecognisesV2(const JsonValue& config) {
  return GptqFormatOf(config) == "gptq_v2";
}

template <bool kVersion1>
absl::StatusOr<std::string> Config(const PackedLayout& layout) {
  return WriteGptqConfig(layout, kVersion1 ? "gptq" : "gptq_v2");
}

// Bits of the codes by the planes' sizes; g_idx, which may be absent, tells
// the number of inputs.
absl::Status ReadSizes(const GptqChoices& choices, const TensorView& qweight,
                       const TensorView* group_index, PackedModule* module) {
  RETURN_IF_ERROR(CheckPlane(qweight, {QuantType::kI32}, {-1, -1}));
  const int64_t n_words = qweight.meta.shape[0];
  module->n_rows = qweight.meta.shape[1];
  if (group_index != nullptr) {
    RETURN_IF_ERROR(CheckPlane(*group_index, {QuantType::kI32}, {-1}));
    module->n_cols = group_index->meta.shape[0];
  }
  for (const int64_t bits : choices.bits) {
    if (!HasBits(bits)) {
      return PlaneError(qweight, absl::StrCat("the configuration says ", bits,
                                              " bits, which GPTQ has not"));
    }
    const int64_t n_cols = n_words * 32 / bits;
    if (n_words * 32 % bits == 0 && n_cols % kWordCodes == 0 &&
        (group_index == nullptr || n_cols == module->n_cols)) {
      module->scheme.bits = static_cast<int>(bits);
      module->n_cols = n_cols;
      break;
    }
    if (bits == choices.bits.back()) {
      return PlaneError(
          qweight,
          absl::StrCat("has ", n_words, " rows of words, codes of ",
                       choices.bits[0], " bits for ", module->n_cols,
                       " inputs need ", module->n_cols * choices.bits[0] / 32));
    }
  }
  if (module->n_rows == 0 || module->n_cols == 0 ||
      module->n_rows % kWordCodes != 0) {
    return PlaneError(
        qweight, absl::StrCat("has shape ", ShapeString(qweight.meta.shape),
                              ", and sizes are multiples of 32"));
  }
  return absl::OkStatus();
}

// Whether columns name their groups in another than the natural order.
absl::Status ReadGroupIndex(PackedModule* module, int64_t n_groups) {
  const TensorView* plane = module->planes[kGroupIndex];
  const int64_t size = module->scheme.block_cols > 0 ? module->scheme.block_cols
                                                     : module->n_cols;
  if (plane == nullptr) {
    return absl::OkStatus();
  }
  std::vector<int32_t> groups(static_cast<size_t>(module->n_cols));
  ReadInt32s(*plane, 0, module->n_cols, groups.data());
  for (int64_t i = 0; i < module->n_cols; ++i) {
    const int32_t group = groups[static_cast<size_t>(i)];
    if (group < 0 || group >= n_groups) {
      return PlaneError(
          *plane, absl::StrCat("element ", i, " is ", group, ", there are ",
                               n_groups, " groups"));
    }
    if (group != i / size) {
      module->scheme.column_groups = true;
    }
  }
  return absl::OkStatus();
}

// Zero points of rows [first_row, first_row + n_rows) as codes,
// [groups, rows].
template <bool kVersion1>
std::vector<uint8_t> UnpackZeros(const PackedModule& module, int64_t first_row,
                                 int64_t n_rows) {
  const TensorView& plane = *module.planes[kQzeros];
  const int bits = module.scheme.bits;
  const int64_t n_groups = plane.meta.shape[0];
  const int64_t row_words = plane.meta.shape[1];
  // The words of these rows, from the last border of codes and words on.
  const int64_t first_code = first_row / kWordCodes * kWordCodes;
  const int64_t first_word = first_code * bits / 32;
  const int64_t n_words = BitStreamWords(first_row + n_rows, bits) - first_word;
  std::vector<uint8_t> words(static_cast<size_t>(n_groups * n_words * 4));
  for (int64_t g = 0; g < n_groups; ++g) {
    std::memcpy(words.data() + g * n_words * 4,
                plane.data.data() + (g * row_words + first_word) * 4,
                static_cast<size_t>(n_words * 4));
  }
  const bool by_words = kVersion1 && bits != 3;
  if (by_words) {
    // 1 in every field of a word.
    const uint32_t ones = 0xffffffffu / ((1u << bits) - 1);
    for (size_t at = 0; at < words.size(); at += sizeof(uint32_t)) {
      uint32_t word;
      std::memcpy(&word, words.data() + at, sizeof(word));
      word += ones;
      std::memcpy(words.data() + at, &word, sizeof(word));
    }
  }
  std::vector<uint8_t> zeros(static_cast<size_t>(n_groups * n_rows));
  UnpackBits({words.data(), 1, n_words}, bits, n_groups, first_row - first_code,
             n_rows, zeros.data(), n_rows);
  if (kVersion1 && !by_words) {
    for (uint8_t& zero : zeros) {
      zero = static_cast<uint8_t>((zero + 1) & ((1 << bits) - 1));
    }
  }
  return zeros;
}

template <bool kVersion1>
bool HasMiddleZeros(const PackedModule& module) {
  const std::vector<uint8_t> zeros =
      UnpackZeros<kVersion1>(module, 0, module.n_rows);
  const uint8_t middle = static_cast<uint8_t>(module.scheme.n_codes() / 2);
  return std::all_of(zeros.begin(), zeros.end(),
                     [middle](uint8_t zero) { return zero == middle; });
}

template <bool kVersion1>
absl::StatusOr<PackedModule> FindModule(const GptqChoices& choices,
                                        const TensorSource& source,
                                        const TensorView& qweight) {
  PackedModule module;
  absl::string_view name = qweight.meta.name;
  absl::ConsumeSuffix(&name, ".qweight");
  module.name = std::string(name);
  ASSIGN_OR_RETURN(const TensorView* qzeros,
                   RequirePlane(source, name, ".qzeros", qweight));
  ASSIGN_OR_RETURN(const TensorView* scales,
                   RequirePlane(source, name, ".scales", qweight));
  const TensorView* group_index = source.Find(absl::StrCat(name, ".g_idx"));
  if (group_index == nullptr && choices.any_order) {
    RETURN_IF_ERROR(RequirePlane(source, name, ".g_idx", qweight).status());
  }
  module.planes = {&qweight, qzeros, scales, group_index};
  RETURN_IF_ERROR(ReadSizes(choices, qweight, group_index, &module));

  RETURN_IF_ERROR(
      CheckPlane(*scales, {QuantType::kF16, QuantType::kBF16, QuantType::kF32},
                 {-1, module.n_rows}));
  module.scheme.scale_type = scales->meta.type;
  const int64_t n_groups = scales->meta.shape[0];
  const int64_t group_size =
      MatchGroupSize(choices.group_sizes, module.n_cols, n_groups);
  if (group_size < 0) {
    return PlaneError(
        *scales, absl::StrCat("has ", n_groups, " groups for ", module.n_cols,
                              " inputs, the configuration says groups of ",
                              choices.group_sizes[0]));
  }
  module.scheme.block_cols = group_size;
  RETURN_IF_ERROR(
      CheckPlane(*qzeros, {QuantType::kI32},
                 {n_groups, module.n_rows * module.scheme.bits / 32}));
  RETURN_IF_ERROR(ReadGroupIndex(&module, n_groups));
  module.scheme.zero =
      choices.may_be_symmetric && HasMiddleZeros<kVersion1>(module)
          ? ZeroKind::kNone
          : ZeroKind::kInteger;
  return module;
}

template <bool kVersion1>
absl::StatusOr<std::vector<PackedModule>> Find(const JsonValue& config,
                                               const TensorSource& source) {
  const std::string format = GptqFormatOf(config);
  if (format != (kVersion1 ? "gptq" : "gptq_v2")) {
    return absl::UnimplementedError(
        absl::StrCat("GPTQ's variant ", QuotedName(format),
                     " is not supported; known are gptq and gptq_v2"));
  }
  ASSIGN_OR_RETURN(const GptqChoices choices, ReadGptqChoices(config));
  std::vector<PackedModule> modules;
  for (const TensorView& view : source.tensors()) {
    if (absl::EndsWith(view.meta.name, ".qweight")) {
      ASSIGN_OR_RETURN(modules.emplace_back(),
                       FindModule<kVersion1>(choices, source, view));
      modules.back().packing = kVersion1 ? &kGptqPacking : &kGptqV2Packing;
    }
  }
  return modules;
}

// Codes of widths that divide a word; others cross the borders of words.
bool LayoutOfCodes(const PackedModule& module, CodeLayout* layout) {
  const int bits = module.scheme.bits;
  layout->bits = bits;
  layout->cols_of_word = 32 / bits;
  layout->row_step = 1;
  layout->col_step = module.n_rows;
  return 32 % bits == 0;
}

template <bool kVersion1>
absl::StatusOr<QuantizedMatrix> UnpackScales(const PackedModule& module,
                                             int64_t first_row,
                                             int64_t n_rows) {
  QuantizedMatrix matrix;
  matrix.scheme = module.scheme;
  matrix.ResizeScales(n_rows, module.n_cols);
  RETURN_IF_ERROR(ReadGroupScales(*module.planes[kScales], first_row, &matrix));
  if (module.scheme.zero == ZeroKind::kInteger) {
    const std::vector<uint8_t> zeros =
        Transposed(UnpackZeros<kVersion1>(module, first_row, n_rows),
                   matrix.n_scale_cols(), n_rows);
    matrix.zeros.assign(zeros.begin(), zeros.end());
  }
  if (module.scheme.column_groups) {
    ReadInt32s(*module.planes[kGroupIndex], 0, module.n_cols,
               matrix.group_of_column.data());
  }
  return matrix;
}

template <bool kVersion1>
absl::StatusOr<QuantizedMatrix> Unpack(const PackedModule& module,
                                       int64_t first_row, int64_t n_rows) {
  ASSIGN_OR_RETURN(QuantizedMatrix matrix,
                   UnpackScales<kVersion1>(module, first_row, n_rows));
  matrix.codes.resize(static_cast<size_t>(n_rows * module.n_cols));
  const TensorView& qweight = *module.planes[kQweight];
  UnpackBits({qweight.data.data() + 4 * first_row, module.n_rows, 1},
             module.scheme.bits, n_rows, 0, module.n_cols, matrix.codes.data(),
             module.n_cols);
  return matrix;
}

}  // namespace

const Packing kGptqPacking = {
    "gptq",
    "GPTQ (GPTQModel, AutoGPTQ, vLLM)",
    "quantize_config.json",
    /*f16_bias=*/true,
    &Supports,
    &Planes,
    &Pack<true>,
    &Config<true>,
    &RecognisesV1,
    &Find<true>,
    &Unpack<true>,
    /*least_zero=*/1,  // fields hold the zero point minus one
    &LayoutOfCodes,
    &UnpackScales<true>,
};

const Packing kGptqV2Packing = {
    "gptq_v2",
    "GPTQ, version 2: zero points as they are",
    "quantize_config.json",
    /*f16_bias=*/true,
    &Supports,
    &Planes,
    &Pack<false>,
    &Config<false>,
    &RecognisesV2,
    &Find<false>,
    &Unpack<false>,
    /*least_zero=*/0,
    &LayoutOfCodes,
    &UnpackScales<false>,
};

}  // namespace narrow
