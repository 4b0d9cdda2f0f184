#include "converter/repack/gguf_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "formats/base/float16.h"
#include "formats/base/float8.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr int64_t kBlock = 32;

// The integer that the codes of a matrix without zero points are above.
float MiddleCode(const WeightScheme& scheme) {
  return static_cast<float>(scheme.n_codes() / 2);
}

bool IsF16(float value) {
  return FloatFromF16(F16FromFloat(value)) == value && std::isfinite(value);
}

void AppendF16(float value, std::vector<uint8_t>* bytes) {
  const uint16_t half = F16FromFloat(value);
  bytes->push_back(static_cast<uint8_t>(half & 0xff));
  bytes->push_back(static_cast<uint8_t>(half >> 8));
}

float ReadF16(const uint8_t* bytes) {
  return FloatFromF16(static_cast<uint16_t>(bytes[0] | bytes[1] << 8));
}

// Weight j stands in the low half of byte j, weight j + 16 in the high one.
void AppendNibbles(const uint8_t* codes, std::vector<uint8_t>* bytes) {
  for (int64_t j = 0; j < kBlock / 2; ++j) {
    bytes->push_back(
        static_cast<uint8_t>(codes[j] | codes[j + kBlock / 2] << 4));
  }
}

void ReadNibbles(const uint8_t* bytes, uint8_t* codes) {
  for (int64_t j = 0; j < kBlock / 2; ++j) {
    codes[j] = bytes[j] & 15;
    codes[j + kBlock / 2] = bytes[j] >> 4;
  }
}

std::string Place(int64_t row, int64_t col) {
  return absl::StrCat("row ", row, ", columns ", col, " to ", col + kBlock - 1);
}

// One block of a matrix as AppendBlocks sees it.
struct Block {
  const uint8_t* codes;
  float scale;
  float zero;
  int64_t row;  // for messages
  int64_t col;
};

absl::Status Lost(const Block& block, absl::string_view what, QuantType type,
                  absl::string_view hint) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, " at ", Place(block.row, block.col),
                   " cannot be held by ", TypeName(type), hint));
}

absl::Status CheckScale(const Block& block, QuantType type) {
  return IsF16(block.scale)
             ? absl::OkStatus()
             : Lost(block, absl::StrCat("the scale ", block.scale), type,
                    ", whose scales are float16");
}

// Codes as signed numbers, plus `middle`.
absl::Status ShiftCodes(const Block& block, QuantType type, int middle,
                        int limit, uint8_t* shifted) {
  for (int64_t j = 0; j < kBlock; ++j) {
    const float value = static_cast<float>(block.codes[j]) - block.zero;
    const float code = value + static_cast<float>(middle);
    if (!(code >= 0 && code < static_cast<float>(limit)) ||
        code != std::floor(code)) {
      return Lost(block,
                  absl::StrCat("the code ", static_cast<int>(block.codes[j]),
                               " with zero point ", block.zero),
                  type,
                  absl::StrCat(", whose codes are integers from ", -middle,
                               " to ", limit - 1 - middle));
    }
    shifted[j] = static_cast<uint8_t>(code);
  }
  return absl::OkStatus();
}

absl::Status AppendSymmetric(const Block& block, QuantType type,
                             std::vector<uint8_t>* bytes) {
  uint8_t codes[kBlock];
  RETURN_IF_ERROR(CheckScale(block, type));
  if (type == QuantType::kQ4_0) {
    RETURN_IF_ERROR(ShiftCodes(block, type, 8, 16, codes));
    AppendF16(block.scale, bytes);
    AppendNibbles(codes, bytes);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(ShiftCodes(block, type, 128, 256, codes));
  AppendF16(block.scale, bytes);
  for (const uint8_t code : codes) {
    bytes->push_back(code ^ 0x80);
  }
  return absl::OkStatus();
}

// d q - d z: the product has at most 15 bits and is exact in float32, but
// need not be in float16.
absl::Status AppendAffine(const Block& block, std::vector<uint8_t>* bytes) {
  RETURN_IF_ERROR(CheckScale(block, QuantType::kQ4_1));
  const float minimum = -(block.scale * block.zero);
  if (!IsF16(minimum) || block.zero != std::floor(block.zero)) {
    return Lost(block,
                absl::StrCat("the minimum ", minimum, " (scale ", block.scale,
                             ", zero point ", block.zero, ")"),
                QuantType::kQ4_1,
                ", whose minima are float16; --type q8_0 holds such a model "
                "in 8.5 bits per weight");
  }
  AppendF16(block.scale, bytes);
  AppendF16(minimum, bytes);
  AppendNibbles(block.codes, bytes);
  return absl::OkStatus();
}

absl::Status AppendMx(const Block& block, std::vector<uint8_t>* bytes) {
  const uint8_t exponent = E8M0FromFloat(block.scale);
  if (exponent == kNaNE8M0 || FloatFromE8M0(exponent) != block.scale) {
    return Lost(block, absl::StrCat("the scale ", block.scale),
                QuantType::kMXFP4, ", whose scales are powers of two");
  }
  bytes->push_back(exponent);
  AppendNibbles(block.codes, bytes);
  return absl::OkStatus();
}

// With column groups a block must lie in one group.
absl::Status CheckColumnGroups(const QuantizedMatrix& matrix) {
  for (int64_t col = 0; col < matrix.n_cols; ++col) {
    const size_t at = static_cast<size_t>(col);
    const size_t first = static_cast<size_t>(col / kBlock * kBlock);
    if (matrix.group_of_column[at] != matrix.group_of_column[first]) {
      return absl::InvalidArgumentError(absl::StrCat(
          "columns ", first, " and ", col, " are of the groups ",
          matrix.group_of_column[first], " and ", matrix.group_of_column[at],
          " (act-order); GGUF's blocks are 32 columns that lie together"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadBlock(QuantType type, const uint8_t* bytes, int64_t row,
                       int64_t col, size_t scale_index, QuantizedMatrix* m) {
  uint8_t* codes = m->codes.data() + row * m->n_cols + col;
  float& scale = m->scales[scale_index];
  if (type == QuantType::kMXFP4) {
    scale = FloatFromE8M0(bytes[0]);
    ReadNibbles(bytes + 1, codes);
  } else if (type == QuantType::kQ8_0) {
    scale = ReadF16(bytes);
    for (int64_t j = 0; j < kBlock; ++j) {
      codes[j] = bytes[2 + j] ^ 0x80;
    }
  } else {
    scale = ReadF16(bytes);
    ReadNibbles(bytes + (type == QuantType::kQ4_1 ? 4 : 2), codes);
  }
  if (!std::isfinite(scale)) {
    return absl::DataLossError(absl::StrCat("the scale at ", Place(row, col),
                                            " is ", scale, ", no number"));
  }
  if (type != QuantType::kQ4_1) {
    return absl::OkStatus();
  }
  const float minimum = ReadF16(bytes + 2);
  float zero = 8;  // of a block of zeros, any
  if (scale != 0) {
    zero = std::nearbyint(-minimum / scale);
  }
  if (!(zero >= 0 && zero <= 15) || -(scale * zero) != minimum) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the minimum ", minimum, " at ", Place(row, col),
        " is no whole multiple, 0 to 15, of the negated scale ", scale,
        ", so there is no integer zero point that means the same"));
  }
  m->zeros[scale_index] = zero;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<QuantType>> BlockTypes(const WeightScheme& scheme,
                                                  int64_t n_cols) {
  const auto unfit = [&](absl::string_view why) {
    return absl::UnimplementedError(
        absl::StrCat(SchemeName(scheme),
                     " is none of GGUF's types q4_0, q4_1, q8_0 and "
                     "mxfp4: ",
                     why));
  };
  if (scheme.flat || scheme.block_rows > 1) {
    return unfit("its blocks are no groups of columns");
  }
  if (scheme.block_cols % kBlock != 0 || n_cols % kBlock != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        SchemeName(scheme), " with ", n_cols,
        " columns cannot be cut into blocks of 32 columns under one scale"));
  }
  if (scheme.code == CodeKind::kE2M1) {
    return scheme.scale_type == QuantType::kF8E8M0 && !scheme.global_scale
               ? absl::StatusOr<std::vector<QuantType>>(
                     std::vector<QuantType>{QuantType::kMXFP4})
               : unfit("its scales are no powers of two");
  }
  if (scheme.code != CodeKind::kInteger) {
    return unfit("its codes are no integers");
  }
  if (scheme.scale_unit != 1 || scheme.nested_scales || scheme.global_scale) {
    return unfit("its scales are no float16 numbers");
  }
  if (scheme.bits > 4) {
    return std::vector<QuantType>{QuantType::kQ8_0};
  }
  if (scheme.zero == ZeroKind::kNone) {
    return std::vector<QuantType>{QuantType::kQ4_0};
  }
  return std::vector<QuantType>{QuantType::kQ4_0, QuantType::kQ4_1};
}

absl::Status AppendBlocks(const QuantizedMatrix& matrix,
                          absl::Span<const int64_t> rows, QuantType type,
                          int64_t first_row, std::vector<uint8_t>* bytes) {
  if (matrix.scheme.column_groups) {
    RETURN_IF_ERROR(CheckColumnGroups(matrix));
  }
  for (const int64_t row : rows) {
    for (int64_t col = 0; col < matrix.n_cols; col += kBlock) {
      const size_t scale = static_cast<size_t>(matrix.ScaleIndex(row, col));
      const Block block = {matrix.codes.data() + row * matrix.n_cols + col,
                           matrix.scales[scale],
                           matrix.zeros.empty() ? MiddleCode(matrix.scheme)
                                                : matrix.zeros[scale],
                           first_row + row, col};
      RETURN_IF_ERROR(type == QuantType::kMXFP4 ? AppendMx(block, bytes)
                      : type == QuantType::kQ4_1
                          ? AppendAffine(block, bytes)
                          : AppendSymmetric(block, type, bytes));
    }
  }
  return absl::OkStatus();
}

bool IsBlockType(QuantType type) {
  return type == QuantType::kQ4_0 || type == QuantType::kQ4_1 ||
         type == QuantType::kQ8_0 || type == QuantType::kMXFP4;
}

WeightScheme SchemeOfBlocks(QuantType type) {
  WeightScheme scheme;
  scheme.block_cols = kBlock;
  if (type == QuantType::kMXFP4) {
    scheme.code = CodeKind::kE2M1;
    scheme.scale_type = QuantType::kF8E8M0;
  } else if (type == QuantType::kQ8_0) {
    scheme.bits = 8;
  } else if (type == QuantType::kQ4_1) {
    scheme.zero = ZeroKind::kInteger;
  }
  return scheme;
}

absl::StatusOr<QuantizedMatrix> ReadBlocks(
    QuantType type, int64_t n_rows, int64_t n_cols,
    const std::function<absl::Span<const uint8_t>(int64_t)>& row_bytes) {
  QuantizedMatrix matrix;
  matrix.scheme = SchemeOfBlocks(type);
  matrix.Resize(n_rows, n_cols);
  const int64_t block_bytes = Geometry(type).block_bytes;
  for (int64_t row = 0; row < n_rows; ++row) {
    const uint8_t* bytes = row_bytes(row).data();
    for (int64_t col = 0; col < n_cols; col += kBlock, bytes += block_bytes) {
      RETURN_IF_ERROR(
          ReadBlock(type, bytes, row, col,
                    static_cast<size_t>(matrix.ScaleIndex(row, col)), &matrix));
    }
  }
  return matrix;
}

}  // namespace narrow
