#include "formats/packing/quantized_matrix.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "formats/base/float8.h"
#include "formats/packing/scale_type.h"

namespace narrow {
namespace {

struct Tables {
  float integers[256];
  float e4m3[256];

  Tables() {
    for (int i = 0; i < 256; ++i) {
      integers[i] = static_cast<float>(i);
      e4m3[i] = FloatFromE4M3(static_cast<uint8_t>(i));
    }
  }
};

// OCP Microscaling Formats (MX) v1.0, section 5.3.3.
constexpr float kE2M1[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,
                             4.0f,  6.0f,  -0.0f, -0.5f, -1.0f, -1.5f,
                             -2.0f, -3.0f, -4.0f, -6.0f};

// QLoRA (Dettmers et al., 2023), appendix E.
constexpr float kNf4[16] = {-1.0f,
                            -0.6961928009986877f,
                            -0.5250730514526367f,
                            -0.39491748809814453f,
                            -0.28444138169288635f,
                            -0.18477343022823334f,
                            -0.09105003625154495f,
                            0.0f,
                            0.07958029955625534f,
                            0.16093020141124725f,
                            0.24611230194568634f,
                            0.33791524171829224f,
                            0.44070982933044434f,
                            0.5626170039176941f,
                            0.7229568362236023f,
                            1.0f};

// Twelfths of {0, 1/16, 8, 12, 4, 6, 2, 3}, and the same below zero, where
// zero has no sign in the table that files carry.
constexpr float kFp4[16] = {
    0.0f,          0.0625f / 12.0f, 8.0f / 12.0f,  1.0f,  4.0f / 12.0f,
    0.5f,          2.0f / 12.0f,    0.25f,         0.0f,  -0.0625f / 12.0f,
    -8.0f / 12.0f, -1.0f,           -4.0f / 12.0f, -0.5f, -2.0f / 12.0f,
    -0.25f};

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Weights that share a scale: `n` codes to `out`. The kinds differ only here,
// outside the loops over weights.
void DecodeIntegers(const uint8_t* codes, int64_t n, float zero, float scale,
                    float* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = (static_cast<float>(codes[i]) - zero) * scale;
  }
}

void DecodeTable(const uint8_t* codes, int64_t n, const float* table,
                 float scale, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = table[codes[i]] * scale;
  }
}

class RunDecoder {
 public:
  explicit RunDecoder(const QuantizedMatrix& matrix)
      : matrix_(matrix),
        is_integer_(matrix.scheme.code == CodeKind::kInteger),
        table_(CodeTable(matrix.scheme.code)),
        middle_(static_cast<float>(1 << (matrix.scheme.bits - 1))) {}

  float Scale(int64_t index) const {
    const float scale =
        matrix_.scales[static_cast<size_t>(index)] * matrix_.scheme.scale_unit;
    return is_integer_ ? scale : scale / matrix_.global_scale;
  }
  float Zero(int64_t index) const {
    return matrix_.zeros.empty() ? middle_
                                 : matrix_.zeros[static_cast<size_t>(index)];
  }
  void Decode(int64_t index, const uint8_t* codes, int64_t n,
              float* out) const {
    if (is_integer_) {
      DecodeIntegers(codes, n, Zero(index), Scale(index), out);
    } else {
      DecodeTable(codes, n, table_, Scale(index), out);
    }
  }

 private:
  const QuantizedMatrix& matrix_;
  const bool is_integer_;
  const float* const table_;
  const float middle_;
};

void DequantizeFlat(const QuantizedMatrix& matrix, int64_t first_row,
                    int64_t n_rows, float* out) {
  const RunDecoder runs(matrix);
  const int64_t block = matrix.scheme.block_cols > 0
                            ? matrix.scheme.block_cols
                            : matrix.n_rows * matrix.n_cols;
  int64_t at = first_row * matrix.n_cols;
  const int64_t end = at + n_rows * matrix.n_cols;
  while (at < end) {
    const int64_t n = std::min(end, (at / block + 1) * block) - at;
    runs.Decode(at / block, matrix.codes.data() + at, n, out);
    out += n;
    at += n;
  }
}

// A row whose columns name their groups.
void DequantizeScattered(const QuantizedMatrix& matrix, int64_t row,
                         float* out) {
  const RunDecoder runs(matrix);
  const int64_t n_groups = matrix.n_scale_cols();
  const int64_t first =
      row / std::max<int64_t>(matrix.scheme.block_rows, 1) * n_groups;
  const uint8_t* codes = matrix.codes.data() + row * matrix.n_cols;
  for (int64_t col = 0; col < matrix.n_cols; ++col) {
    const int64_t index =
        first + matrix.group_of_column[static_cast<size_t>(col)];
    runs.Decode(index, codes + col, 1, out + col);
  }
}

absl::Status CheckSizes(const QuantizedMatrix& m) {
  const size_t n_scales =
      static_cast<size_t>(m.n_scale_rows() * m.n_scale_cols());
  const auto wrong = [](const char* what, size_t has, size_t wants) {
    return absl::InvalidArgumentError(
        absl::StrCat("a quantized matrix has ", has, " ", what,
                     ", its scheme wants ", wants));
  };
  const size_t n_codes = static_cast<size_t>(m.n_rows * m.n_cols);
  if (m.codes.size() != n_codes) {
    return wrong("codes", m.codes.size(), n_codes);
  }
  if (m.scales.size() != n_scales) {
    return wrong("scales", m.scales.size(), n_scales);
  }
  const size_t n_zeros = m.scheme.zero == ZeroKind::kNone ? 0 : n_scales;
  if (m.zeros.size() != n_zeros) {
    return wrong("zero points", m.zeros.size(), n_zeros);
  }
  const size_t n_groups =
      m.scheme.column_groups ? static_cast<size_t>(m.n_cols) : 0;
  if (m.group_of_column.size() != n_groups) {
    return wrong("groups of columns", m.group_of_column.size(), n_groups);
  }
  return absl::OkStatus();
}

std::string PlaceOfScale(const QuantizedMatrix& m, size_t i) {
  const size_t n_cols = static_cast<size_t>(m.n_scale_cols());
  return absl::StrCat(" at [", i / n_cols, ", ", i % n_cols, "]");
}

absl::Status CheckScales(const QuantizedMatrix& m) {
  // Nested scales are the product of a code and another scale: any float.
  const QuantType type =
      m.scheme.nested_scales ? QuantType::kF32 : m.scheme.scale_type;
  for (size_t i = 0; i < m.scales.size(); ++i) {
    const float scale = m.scales[i];
    if (!std::isfinite(scale)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the scale", PlaceOfScale(m, i), " is not finite"));
    }
    if (RoundToScaleType(type, scale) != scale) {
      return absl::InvalidArgumentError(
          absl::StrCat("the scale ", scale, PlaceOfScale(m, i),
                       " is no value of ", TypeName(type)));
    }
  }
  if (!std::isfinite(m.global_scale) || m.global_scale <= 0 ||
      (!m.scheme.global_scale && m.global_scale != 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the global scale is ", m.global_scale));
  }
  if (m.input_scale && !(std::isfinite(*m.input_scale) && *m.input_scale > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the scale of the inputs is ", *m.input_scale));
  }
  return absl::OkStatus();
}

absl::Status CheckZeros(const QuantizedMatrix& m) {
  for (size_t i = 0; i < m.zeros.size(); ++i) {
    const float zero = m.zeros[i];
    if (!std::isfinite(zero)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the zero point", PlaceOfScale(m, i), " is not finite"));
    }
    if (m.scheme.zero == ZeroKind::kFloat) {
      if (RoundToScaleType(m.scheme.scale_type, zero) != zero) {
        return absl::InvalidArgumentError(
            absl::StrCat("the zero point ", zero, PlaceOfScale(m, i),
                         " is no value of ", TypeName(m.scheme.scale_type)));
      }
    } else if (zero < 0 || zero > static_cast<float>(m.scheme.n_codes() - 1) ||
               zero != std::floor(zero)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the zero point ", zero, PlaceOfScale(m, i),
                       " is no integer in 0 ... ", m.scheme.n_codes() - 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool HasInputScale(ActivationKind kind) {
  return kind == ActivationKind::kStaticInt8 ||
         kind == ActivationKind::kStaticFp8 || kind == ActivationKind::kNvfp4;
}

bool operator==(const WeightScheme& a, const WeightScheme& b) {
  return a.code == b.code && a.bits == b.bits && a.zero == b.zero &&
         a.block_rows == b.block_rows && a.block_cols == b.block_cols &&
         a.flat == b.flat && a.scale_type == b.scale_type &&
         a.global_scale == b.global_scale &&
         a.nested_scales == b.nested_scales && a.scale_unit == b.scale_unit &&
         a.column_groups == b.column_groups && a.activations == b.activations;
}

std::string SchemeName(const WeightScheme& scheme) {
  std::string name;
  switch (scheme.code) {
    case CodeKind::kInteger:
      name = absl::StrCat("int", scheme.bits);
      break;
    case CodeKind::kE2M1:
      name = scheme.scale_type == QuantType::kF8E8M0   ? "mxfp4"
             : scheme.scale_type == QuantType::kF8E4M3 ? "nvfp4"
                                                       : "e2m1";
      break;
    case CodeKind::kE4M3:
      name = "fp8";
      break;
    case CodeKind::kNf4:
      name = "nf4";
      break;
    case CodeKind::kFp4:
      name = "fp4";
      break;
  }
  const int64_t rows = scheme.block_rows;
  const int64_t cols = scheme.block_cols;
  if (scheme.flat) {
    absl::StrAppend(&name, " blocks of ", cols);
  } else if (rows == 1 && cols > 0) {
    absl::StrAppend(&name, " g", cols);
  } else if (rows == 1) {
    absl::StrAppend(&name, " by row");
  } else if (rows == 0 && cols == 0) {
    absl::StrAppend(&name, " by tensor");
  } else {
    absl::StrAppend(&name, " ", rows == 0 ? "all" : absl::StrCat(rows), "x",
                    cols == 0 ? "all" : absl::StrCat(cols));
  }
  if (scheme.zero == ZeroKind::kInteger) {
    absl::StrAppend(&name, " asymmetric");
  } else if (scheme.zero == ZeroKind::kFloat) {
    absl::StrAppend(&name, " float zeros");
  }
  if (scheme.nested_scales) {
    absl::StrAppend(&name, " nested");
  }
  if (scheme.column_groups) {
    absl::StrAppend(&name, " act-order");
  }
  switch (scheme.activations) {
    case ActivationKind::kNone:
      break;
    case ActivationKind::kDynamicInt8:
      absl::StrAppend(&name, ", inputs int8");
      break;
    case ActivationKind::kStaticInt8:
      absl::StrAppend(&name, ", inputs int8 static");
      break;
    case ActivationKind::kDynamicFp8:
      absl::StrAppend(&name, ", inputs fp8");
      break;
    case ActivationKind::kStaticFp8:
      absl::StrAppend(&name, ", inputs fp8 static");
      break;
    case ActivationKind::kDynamicFp8Groups:
      absl::StrAppend(&name, ", inputs fp8 g128");
      break;
    case ActivationKind::kNvfp4:
      absl::StrAppend(&name, ", inputs nvfp4");
      break;
    case ActivationKind::kMxfp4:
      absl::StrAppend(&name, ", inputs mxfp4");
      break;
  }
  return name;
}

int64_t NumScaleRows(const WeightScheme& scheme, int64_t n_rows) {
  if (scheme.flat || scheme.block_rows == 0) {
    return 1;
  }
  return CeilDiv(n_rows, scheme.block_rows);
}

int64_t NumScaleCols(const WeightScheme& scheme, int64_t n_rows,
                     int64_t n_cols) {
  if (scheme.block_cols == 0) {
    return 1;
  }
  return CeilDiv(scheme.flat ? n_rows * n_cols : n_cols, scheme.block_cols);
}

void QuantizedMatrix::Resize(int64_t rows, int64_t cols) {
  ResizeScales(rows, cols);
  codes.assign(static_cast<size_t>(rows * cols), 0);
}

void QuantizedMatrix::ResizeScales(int64_t rows, int64_t cols) {
  n_rows = rows;
  n_cols = cols;
  codes.clear();
  const size_t n_scales = static_cast<size_t>(n_scale_rows() * n_scale_cols());
  scales.assign(n_scales, 1.0f);
  zeros.assign(scheme.zero == ZeroKind::kNone ? 0 : n_scales, 0.0f);
  group_of_column.assign(scheme.column_groups ? static_cast<size_t>(cols) : 0,
                         0);
}

int64_t QuantizedMatrix::n_scale_rows() const {
  return NumScaleRows(scheme, n_rows);
}

int64_t QuantizedMatrix::n_scale_cols() const {
  return NumScaleCols(scheme, n_rows, n_cols);
}

int64_t QuantizedMatrix::ScaleIndex(int64_t row, int64_t col) const {
  if (scheme.flat) {
    return scheme.block_cols == 0 ? 0
                                  : (row * n_cols + col) / scheme.block_cols;
  }
  const int64_t scale_row =
      scheme.block_rows == 0 ? 0 : row / scheme.block_rows;
  const int64_t scale_col = scheme.column_groups
                                ? group_of_column[static_cast<size_t>(col)]
                            : scheme.block_cols == 0 ? 0
                                                     : col / scheme.block_cols;
  return scale_row * n_scale_cols() + scale_col;
}

const float* CodeTable(CodeKind kind) {
  static const Tables* const tables = new Tables;
  switch (kind) {
    case CodeKind::kInteger:
      return tables->integers;
    case CodeKind::kE2M1:
      return kE2M1;
    case CodeKind::kE4M3:
      return tables->e4m3;
    case CodeKind::kNf4:
      return kNf4;
    case CodeKind::kFp4:
      return kFp4;
  }
  return nullptr;
}

void DequantizeRows(const QuantizedMatrix& matrix, int64_t first_row,
                    int64_t n_rows, float* out) {
  const WeightScheme& scheme = matrix.scheme;
  if (scheme.flat) {
    DequantizeFlat(matrix, first_row, n_rows, out);
    return;
  }
  if (scheme.column_groups) {
    for (int64_t r = 0; r < n_rows; ++r) {
      DequantizeScattered(matrix, first_row + r, out + r * matrix.n_cols);
    }
    return;
  }
  const RunDecoder runs(matrix);
  const int64_t block =
      scheme.block_cols > 0 ? scheme.block_cols : matrix.n_cols;
  for (int64_t r = 0; r < n_rows; ++r) {
    const int64_t row = first_row + r;
    int64_t index = matrix.ScaleIndex(row, 0);
    const uint8_t* codes = matrix.codes.data() + row * matrix.n_cols;
    float* values = out + r * matrix.n_cols;
    for (int64_t col = 0; col < matrix.n_cols; col += block) {
      runs.Decode(index++, codes + col, std::min(block, matrix.n_cols - col),
                  values + col);
    }
  }
}

absl::Status CheckQuantizedMatrix(const QuantizedMatrix& matrix) {
  absl::Status status = CheckSizes(matrix);
  if (!status.ok()) {
    return status;
  }
  const int n_codes = matrix.scheme.n_codes();
  for (size_t i = 0; i < matrix.codes.size(); ++i) {
    if (matrix.codes[i] >= n_codes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "code ", matrix.codes[i], " at [",
          i / static_cast<size_t>(matrix.n_cols), ", ",
          i % static_cast<size_t>(matrix.n_cols), "] is above ", n_codes - 1));
    }
  }
  for (const int32_t group : matrix.group_of_column) {
    if (group < 0 || group >= matrix.n_scale_cols()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a column is of group ", group, " of ", matrix.n_scale_cols()));
    }
  }
  status = CheckScales(matrix);
  return status.ok() ? CheckZeros(matrix) : status;
}

}  // namespace narrow
