// What ggml's blocks of 32 weights have in common: where codes lie, rounding
// under one scale and one minimum, and the encoders of the two kinds,
//
//   symmetric   weight = d * code,           code in [-2^(bits-1), 2^(bits-1))
//   affine      weight = d * code + low,     code in [0, 2^bits)
//
// In BlockFields an affine block's low is -dmin * mins[0] with mins[0] = 1.
// Stored codes ("from 0") are the symmetric ones plus 2^(bits-1).

#ifndef NARROW_KERNELS_QUANT_BLOCK32_BLOCK32_H_
#define NARROW_KERNELS_QUANT_BLOCK32_BLOCK32_H_

#include <cstdint>

#include "kernels/quant/codec.h"

namespace narrow {
namespace block32 {

inline constexpr int kSize = 32;

// Codes from 0 in bytes, frozen, little-endian. 4 bits:
//
//   byte j (0 … 15): code j in the low nibble, code j + 16 in the high one
//
// 5 bits: first 4 bytes, a bit a weight, with the fifth bit of code i in bit
// i; then 16 bytes with the low nibbles as for 4 bits.
void PackNibbles(const uint8_t* codes, uint8_t* bytes);
void UnpackNibbles(const uint8_t* bytes, uint8_t* codes);
void PackFiveBits(const uint8_t* codes, uint8_t* bytes);
void UnpackFiveBits(const uint8_t* bytes, uint8_t* codes);

// The code in `ranges` nearest to `target` under d, dmin and mins[0], and its
// value.
void RoundToNearest(const FieldRanges& ranges, const BlockFields& fields,
                    float target, int8_t* code, float* value);

// ggml's weighting of a block: column importance times
// sqrt(mean square of the row + weight²).
void WeighBlock(const float* weights, const float* importance,
                float mean_square, float* block_weights);

// Of a row; the sum is in float and in order, so it is part of the bytes.
float MeanSquare(const float* row, int64_t n_cols);

// ggml's encoders without importance, on a line weight = d * code + low.
struct AffineScale {
  float d;
  float low;
};

// The weight of the largest magnitude, the first among equals, gets code
// -code_half. -0 for a block of zeros.
float PlainScale(const float* weights, int code_half);
// From the smallest weight to the largest.
AffineScale PlainAffineScale(const float* weights, int code_high);
// Codes from 0, nearest under `line`, whose code 0 is stored as `zero`.
void PlainCodes(const float* weights, const AffineScale& line, float zero,
                int code_high, uint8_t* codes);

}  // namespace block32
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_BLOCK32_BLOCK32_H_
