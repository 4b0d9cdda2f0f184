// A quantized weight matrix, neutral to the packing that stores it: codes, the
// scales that blocks of weights share, and zero points where there are any.
//
//   QuantizedMatrix m;
//   m.scheme = scheme;                    // 4 bits, groups of 128, ...
//   m.Resize(n_rows, n_cols);
//   ... a solver fills codes, scales, zeros ...
//   RETURN_IF_ERROR(CheckQuantizedMatrix(m));
//   DequantizeRows(m, 0, n_rows, weights);
//
// A weight is [outputs, inputs], rows = outputs, as everywhere. Scales and
// zeros hold the values that a file stores, already rounded to its types, so
// what a solver optimises is what a client will compute. Plain values.

#ifndef NARROW_FORMATS_PACKING_QUANTIZED_MATRIX_H_
#define NARROW_FORMATS_PACKING_QUANTIZED_MATRIX_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "formats/quant_type.h"

namespace narrow {

// What a code stands for before its scale.
enum class CodeKind : uint8_t {
  kInteger,  // code - zero
  kE2M1,  // FP4: bit 3 is the sign, bits 0-2 index {0, .5, 1, 1.5, 2, 3, 4, 6}
  kE4M3,  // FP8: the byte itself
  kNf4,   // bitsandbytes' table of 16
  kFp4,   // bitsandbytes' other table of 16
};

enum class ZeroKind : uint8_t {
  kNone,     // integers: 2^(bits - 1), stored or not as the packing wants it
  kInteger,  // 0 ... 2^bits - 1
  kFloat,    // HQQ
};

// What is done to the inputs of the layer at run time; the file says so and
// may store a scale.
enum class ActivationKind : uint8_t {
  kNone,
  kDynamicInt8,       // a scale for each token
  kStaticInt8,        // one scale, from calibration
  kDynamicFp8,        // a scale for each token
  kStaticFp8,         // one scale, from calibration
  kDynamicFp8Groups,  // a scale for every 128 inputs of a token
  kNvfp4,             // groups of 16 under a global scale from calibration
  kMxfp4,             // groups of 32
};

// Whether the file stores a scale of the inputs, from calibration.
bool HasInputScale(ActivationKind kind);

// All that is known of a matrix before a weight is read. Plans and sizes
// follow from it.
struct WeightScheme {
  CodeKind code = CodeKind::kInteger;
  int bits = 4;  // of a code
  ZeroKind zero = ZeroKind::kNone;
  // Blocks of this many rows and columns share a scale; 0: all of them. So
  // 1 x 128 are groups, 1 x 0 rows ("channels"), 0 x 0 the whole tensor,
  // 128 x 128 blocks. The last block of a row or column may be short.
  int64_t block_rows = 1;
  int64_t block_cols = 128;
  // Blocks of `block_cols` consecutive weights of the row-major matrix,
  // whatever its rows (bitsandbytes, HQQ).
  bool flat = false;
  QuantType scale_type = QuantType::kF16;  // F16, BF16, F32, F8E4M3, F8E8M0
  // NVFP4: one float32 besides, by which every scale is divided.
  bool global_scale = false;
  // bitsandbytes' double quantization: scales are stored as 8-bit codes.
  bool nested_scales = false;
  // What a scale is multiplied with: 1, or 1/127 for LLM.int8(), whose scale
  // is the row's largest magnitude.
  float scale_unit = 1;
  // GPTQ's act-order without static groups: columns name their group.
  bool column_groups = false;
  ActivationKind activations = ActivationKind::kNone;

  int n_codes() const { return 1 << bits; }
};

// Equal schemes are stored alike.
bool operator==(const WeightScheme& a, const WeightScheme& b);
inline bool operator!=(const WeightScheme& a, const WeightScheme& b) {
  return !(a == b);
}

// "int4 g128 asymmetric", "nf4 64 nested", "fp8 128x128", for people.
std::string SchemeName(const WeightScheme& scheme);

struct QuantizedMatrix {
  WeightScheme scheme;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  std::vector<uint8_t> codes;  // [n_rows, n_cols]
  // [n_scale_rows, n_scale_cols]; flat: [1, number of blocks].
  std::vector<float> scales;
  std::vector<float> zeros;  // the same shape, or empty
  float global_scale = 1;
  // [n_cols], with scheme.column_groups; otherwise empty.
  std::vector<int32_t> group_of_column;
  // Of static activations: the scale (int8, FP8), or NVFP4's global scale.
  std::optional<float> input_scale;

  // Sets the sizes and allocates; contents are zero, scales 1.
  void Resize(int64_t rows, int64_t cols);
  // The same without codes.
  void ResizeScales(int64_t rows, int64_t cols);

  int64_t n_scale_rows() const;
  int64_t n_scale_cols() const;
  // Where the scale of a weight is.
  int64_t ScaleIndex(int64_t row, int64_t col) const;
};

// Number of scales that a matrix of this shape has, [rows, cols].
int64_t NumScaleRows(const WeightScheme& scheme, int64_t n_rows);
int64_t NumScaleCols(const WeightScheme& scheme, int64_t n_rows,
                     int64_t n_cols);

// Values of codes, for the kinds that have a table of at most 256; integers:
// 0, 1, 2 ... (the zero is subtracted by the caller).
const float* CodeTable(CodeKind kind);

// Rows [first_row, first_row + n_rows) as float32, [n_rows, n_cols]:
//   kInteger  (code - zero) * (scale * scale_unit)
//   others    table[code] * (scale * scale_unit / global_scale)
// each operation in float32, in this order.
void DequantizeRows(const QuantizedMatrix& matrix, int64_t first_row,
                    int64_t n_rows, float* out);

// InvalidArgument names what is wrong: sizes that disagree, a code above its
// bits, a zero point that is no integer in range, a scale that is not finite
// or that its stored type does not hold.
absl::Status CheckQuantizedMatrix(const QuantizedMatrix& matrix);

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_QUANTIZED_MATRIX_H_
