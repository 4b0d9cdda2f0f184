// compressed-tensors' row: what it stores, and writing it. Reading is
// reader.h, the configuration config.h.
//
// Planes of a module X, [rows, cols] weights, G groups a row; little-endian,
// frozen:
//
//   pack-quantized  X.weight_packed      I32 [rows, ceil(cols * bits / 32)]
//                   X.weight_scale       BF16 [rows, G]
//                   X.weight_zero_point  I32 [ceil(rows * bits / 32), G], only
//                                        with zero points
//                   X.weight_shape       I64 [2]
//   int-quantized   X.weight             I8  [rows, cols]
//                   X.weight_scale       BF16 [rows, G] or [1]
//   float-quantized X.weight             F8_E4M3 [rows, cols]
//   naive-quantized X.weight_scale       BF16 [rows, G], [1], or by blocks
//   both            X.input_scale        F32 [1], of static inputs
//   nvfp4-pack-     X.weight_packed      U8  [rows, cols / 2]
//   quantized       X.weight_scale       F8_E4M3 [rows, cols / 16]
//                   X.weight_global_scale  F32 [1], divides the scales
//                   X.input_global_scale   F32 [1], of NVFP4 inputs
//   mxfp4-pack-     X.weight_packed      U8  [rows, cols / 2]
//   quantized       X.weight_scale       U8  [rows, cols / 32], E8M0
//   mxfp8-          X.weight             F8_E4M3 [rows, cols]
//   quantized       X.weight_scale       U8  [rows, cols / 32], E8M0
//
// weight_packed holds a stream of codes a row (bit_stream.h), each the signed
// number plus 2^(bits - 1); zero points have a stream a group, down the rows.
// Of two FP4 codes in a byte the even column has bits 0-3.
//
// Source: files written by compressed-tensors 0.20.0, and its documentation.

#include "formats/packing/packing.h"

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/packing/bit_stream.h"
#include "formats/packing/compressed_tensors/config.h"
#include "formats/packing/compressed_tensors/reader.h"
#include "formats/packing/scale_type.h"

namespace narrow {
namespace {

using compressed_tensors::Format;
using compressed_tensors::FormatOf;

bool IsPlainFloat(QuantType type) {
  return type == QuantType::kF32 || type == QuantType::kF16 ||
         type == QuantType::kBF16;
}

absl::Status Lacks(const WeightScheme& scheme, absl::string_view why) {
  return absl::UnimplementedError(absl::StrCat(
      "compressed-tensors cannot store ", SchemeName(scheme), ": ", why));
}

absl::Status SupportsInteger(const WeightScheme& scheme) {
  if (scheme.zero == ZeroKind::kFloat) {
    return Lacks(scheme, "zero points are integers there");
  }
  if (scheme.activations == ActivationKind::kNone) {
    if (scheme.bits < 2 || scheme.bits > 8) {
      return Lacks(scheme, "it packs integers of 2 to 8 bits");
    }
    return scheme.block_rows == 1
               ? absl::OkStatus()
               : Lacks(scheme, "packed integers have groups or rows");
  }
  if (scheme.activations != ActivationKind::kDynamicInt8 &&
      scheme.activations != ActivationKind::kStaticInt8) {
    return Lacks(scheme, "integers go with int8 inputs");
  }
  if (scheme.bits != 8 || scheme.zero != ZeroKind::kNone) {
    return Lacks(scheme, "int8 inputs go with symmetric int8 weights");
  }
  if (scheme.block_rows > 1) {
    return Lacks(scheme, "int8 is by tensor, row or group");
  }
  return absl::OkStatus();
}

absl::Status SupportsFp8(const WeightScheme& scheme) {
  const ActivationKind inputs = scheme.activations;
  if (scheme.scale_type == QuantType::kF8E8M0) {
    if (scheme.block_rows != 1 || scheme.block_cols != 32 ||
        inputs != ActivationKind::kNone) {
      return Lacks(scheme, "fp8 under E8M0 scales has groups of 32");
    }
    return absl::OkStatus();
  }
  const bool blocks = scheme.block_rows > 1 && scheme.block_cols > 1;
  if (!blocks && scheme.block_rows > 1) {
    return Lacks(scheme, "blocks have rows and columns");
  }
  if (scheme.block_rows == 0 && scheme.block_cols != 0) {
    return Lacks(scheme, "blocks have rows and columns");
  }
  if (inputs != ActivationKind::kNone &&
      inputs != ActivationKind::kDynamicFp8 &&
      inputs != ActivationKind::kStaticFp8 &&
      inputs != ActivationKind::kDynamicFp8Groups) {
    return Lacks(scheme, "fp8 weights go with fp8 inputs");
  }
  return absl::OkStatus();
}

absl::Status SupportsFp4(const WeightScheme& scheme) {
  const bool nvfp4 = scheme.global_scale;
  const ActivationKind inputs =
      nvfp4 ? ActivationKind::kNvfp4 : ActivationKind::kMxfp4;
  if (scheme.block_rows != 1 || scheme.block_cols != (nvfp4 ? 16 : 32) ||
      scheme.scale_type != (nvfp4 ? QuantType::kF8E4M3 : QuantType::kF8E8M0)) {
    return Lacks(scheme,
                 "fp4 has groups of 16 under E4M3 scales and a global one, or "
                 "of 32 under E8M0 scales");
  }
  if (scheme.activations != ActivationKind::kNone &&
      scheme.activations != inputs) {
    return Lacks(scheme, "its inputs are as its weights, or untouched");
  }
  return absl::OkStatus();
}

absl::Status Supports(const WeightScheme& scheme, int64_t /*n_rows*/,
                      int64_t n_cols) {
  if (scheme.flat || scheme.nested_scales || scheme.scale_unit != 1) {
    return Lacks(scheme, "it has no such scales");
  }
  if (scheme.column_groups) {
    return Lacks(scheme, "columns that name their group were removed from it");
  }
  const bool integer = scheme.code == CodeKind::kInteger;
  const bool fp8 = scheme.code == CodeKind::kE4M3;
  if (!integer && !fp8 && scheme.code != CodeKind::kE2M1) {
    return Lacks(scheme, "it has no such codes");
  }
  if (!integer && scheme.bits != (fp8 ? 8 : 4)) {
    return Lacks(scheme, "it has no such codes");
  }
  RETURN_IF_ERROR(integer ? SupportsInteger(scheme)
                  : fp8   ? SupportsFp8(scheme)
                          : SupportsFp4(scheme));
  const bool minifloat_scales =
      scheme.code == CodeKind::kE2M1 || FormatOf(scheme) == Format::kMxfp8;
  if (!minifloat_scales && !IsPlainFloat(scheme.scale_type)) {
    return Lacks(scheme,
                 absl::StrCat("scales of ", TypeName(scheme.scale_type)));
  }
  if (!integer && scheme.zero != ZeroKind::kNone) {
    return Lacks(scheme, "floats have no zero points");
  }
  if (scheme.global_scale && scheme.code != CodeKind::kE2M1) {
    return Lacks(scheme, "only fp4 has a global scale");
  }
  const bool whole_groups = scheme.block_rows == 1 && scheme.block_cols > 0;
  if (whole_groups && n_cols % scheme.block_cols != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("compressed-tensors wants whole groups: ", n_cols,
                     " columns are no multiple of ", scheme.block_cols));
  }
  return absl::OkStatus();
}

std::vector<TensorMeta> Planes(const WeightScheme& scheme,
                               absl::string_view module, int64_t n_rows,
                               int64_t n_cols, QuantType /*model_dtype*/) {
  const Format format = FormatOf(scheme);
  const auto name = [&](absl::string_view suffix) {
    return absl::StrCat(module, suffix);
  };
  std::vector<TensorMeta> planes;
  if (format == Format::kPackQuantized) {
    planes.push_back({name(".weight_packed"),
                      QuantType::kI32,
                      {n_rows, BitStreamWords(n_cols, scheme.bits)}});
  } else if (scheme.code == CodeKind::kE2M1) {
    planes.push_back(
        {name(".weight_packed"), QuantType::kU8, {n_rows, n_cols / 2}});
  } else {
    planes.push_back({name(".weight"),
                      scheme.code == CodeKind::kInteger ? QuantType::kI8
                                                        : QuantType::kF8E4M3,
                      {n_rows, n_cols}});
  }
  const int64_t n_groups = NumScaleCols(scheme, n_rows, n_cols);
  std::vector<int64_t> shape = {NumScaleRows(scheme, n_rows), n_groups};
  if (scheme.block_rows == 0) {
    shape = {1};
  }
  planes.push_back({name(".weight_scale"),
                    scheme.scale_type == QuantType::kF8E8M0 ? QuantType::kU8
                                                            : scheme.scale_type,
                    shape});
  if (scheme.zero == ZeroKind::kInteger) {
    planes.push_back({name(".weight_zero_point"),
                      QuantType::kI32,
                      {BitStreamWords(n_rows, scheme.bits), n_groups}});
  }
  if (format == Format::kPackQuantized) {
    planes.push_back({name(".weight_shape"), QuantType::kI64, {2}});
  }
  if (scheme.global_scale) {
    planes.push_back({name(".weight_global_scale"), QuantType::kF32, {1}});
  }
  if (HasInputScale(scheme.activations)) {
    planes.push_back({name(scheme.activations == ActivationKind::kNvfp4
                               ? ".input_global_scale"
                               : ".input_scale"),
                      QuantType::kF32,
                      {1}});
  }
  return planes;
}

std::vector<uint8_t> PackRows(const QuantizedMatrix& matrix) {
  const int bits = matrix.scheme.bits;
  const int64_t n_words = BitStreamWords(matrix.n_cols, bits);
  std::vector<uint8_t> bytes(static_cast<size_t>(matrix.n_rows * n_words * 4));
  PackBits(matrix.codes.data(), matrix.n_cols, bits, matrix.n_rows,
           matrix.n_cols, {bytes.data(), 1, n_words});
  return bytes;
}

std::vector<uint8_t> PackZeros(const QuantizedMatrix& matrix) {
  const int bits = matrix.scheme.bits;
  const int64_t n_groups = matrix.n_scale_cols();
  const int64_t n_rows = matrix.n_rows;
  std::vector<uint8_t> zeros(matrix.zeros.size());  // [n_groups, n_rows]
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t group = 0; group < n_groups; ++group) {
      zeros[static_cast<size_t>(group * n_rows + row)] = static_cast<uint8_t>(
          matrix.zeros[static_cast<size_t>(row * n_groups + group)]);
    }
  }
  std::vector<uint8_t> bytes(
      static_cast<size_t>(BitStreamWords(n_rows, bits) * n_groups * 4));
  PackBits(zeros.data(), n_rows, bits, n_groups, n_rows,
           {bytes.data(), n_groups, 1});
  return bytes;
}

std::vector<uint8_t> PackNibbles(const std::vector<uint8_t>& codes) {
  std::vector<uint8_t> bytes(codes.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
  }
  return bytes;
}

std::vector<uint8_t> PackCodes(const QuantizedMatrix& matrix) {
  switch (FormatOf(matrix.scheme)) {
    case Format::kPackQuantized:
      return PackRows(matrix);
    case Format::kNvfp4:
    case Format::kMxfp4:
      return PackNibbles(matrix.codes);
    case Format::kIntQuantized: {
      std::vector<uint8_t> bytes = matrix.codes;
      for (uint8_t& code : bytes) {
        code ^= 0x80;  // from 0 ... 255 to -128 ... 127 in two's complement
      }
      return bytes;
    }
    case Format::kFloatQuantized:
    case Format::kNaiveQuantized:
    case Format::kMxfp8:
      break;
  }
  return matrix.codes;
}

absl::StatusOr<std::vector<std::vector<uint8_t>>> Pack(
    const QuantizedMatrix& matrix, QuantType /*model_dtype*/) {
  const WeightScheme& scheme = matrix.scheme;
  RETURN_IF_ERROR(Supports(scheme, matrix.n_rows, matrix.n_cols));
  std::vector<std::vector<uint8_t>> planes = {PackCodes(matrix), {}};
  AppendScales(scheme.scale_type, matrix.scales, &planes[1]);
  if (scheme.zero == ZeroKind::kInteger) {
    planes.push_back(PackZeros(matrix));
  }
  if (FormatOf(scheme) == Format::kPackQuantized) {
    const int64_t shape[2] = {matrix.n_rows, matrix.n_cols};
    planes.emplace_back(sizeof(shape));
    std::memcpy(planes.back().data(), shape, sizeof(shape));
  }
  if (scheme.global_scale) {
    planes.emplace_back();
    AppendScales(QuantType::kF32, {matrix.global_scale}, &planes.back());
  }
  if (HasInputScale(scheme.activations)) {
    if (!matrix.input_scale) {
      return absl::InvalidArgumentError(
          "static scaling of the inputs, but no scale for them");
    }
    planes.emplace_back();
    AppendScales(QuantType::kF32, {*matrix.input_scale}, &planes.back());
  }
  return planes;
}

bool Recognises(const JsonValue& config) {
  const auto method = config.FindNonNull("quant_method");
  return method && method->GetString().value_or("") == "compressed-tensors";
}

}  // namespace

const Packing kCompressedTensorsPacking = {
    "compressed-tensors",
    "compressed-tensors (llm-compressor, vLLM)",
    nullptr,
    /*f16_bias=*/false,
    Supports,
    Planes,
    Pack,
    compressed_tensors::WriteConfig,
    Recognises,
    compressed_tensors::Find,
    compressed_tensors::Unpack,
    /*least_zero=*/0,
    compressed_tensors::LayoutOfCodes,
    compressed_tensors::UnpackScales};

}  // namespace narrow
