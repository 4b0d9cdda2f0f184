#include "kernels/quant/block32/block32.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "kernels/quant/numbers.h"

namespace narrow {
namespace block32 {

void PackNibbles(const uint8_t* codes, uint8_t* bytes) {
  for (int j = 0; j < kSize / 2; ++j) {
    bytes[j] = static_cast<uint8_t>((codes[j] & 15) |
                                    ((codes[j + kSize / 2] & 15) << 4));
  }
}

void UnpackNibbles(const uint8_t* bytes, uint8_t* codes) {
  for (int j = 0; j < kSize / 2; ++j) {
    codes[j] = bytes[j] & 15;
    codes[j + kSize / 2] = bytes[j] >> 4;
  }
}

void PackFiveBits(const uint8_t* codes, uint8_t* bytes) {
  std::fill(bytes, bytes + 4, uint8_t{0});
  for (int i = 0; i < kSize; ++i) {
    bytes[i / 8] |= static_cast<uint8_t>(((codes[i] >> 4) & 1) << (i % 8));
  }
  PackNibbles(codes, bytes + 4);
}

void UnpackFiveBits(const uint8_t* bytes, uint8_t* codes) {
  UnpackNibbles(bytes + 4, codes);
  for (int i = 0; i < kSize; ++i) {
    codes[i] |= static_cast<uint8_t>(((bytes[i / 8] >> (i % 8)) & 1) << 4);
  }
}

void RoundToNearest(const FieldRanges& ranges, const BlockFields& fields,
                    float target, int8_t* code, float* value) {
  const float offset = fields.dmin * static_cast<float>(fields.mins[0]);
  const float position = fields.d == 0 ? 0.0f : (target + offset) / fields.d;
  const float bounded =
      std::fmin(std::fmax(position, static_cast<float>(ranges.code_low)),
                static_cast<float>(ranges.code_high));
  *code = static_cast<int8_t>(RoundToInt(bounded));
  *value = static_cast<float>(*code) * fields.d - offset;
}

void WeighBlock(const float* weights, const float* importance,
                float mean_square, float* block_weights) {
  for (int i = 0; i < kSize; ++i) {
    block_weights[i] =
        importance[i] * std::sqrt(mean_square + weights[i] * weights[i]);
  }
}

float MeanSquare(const float* row, int64_t n_cols) {
  float sum = 0;
  for (int64_t i = 0; i < n_cols; ++i) {
    sum += row[i] * row[i];
  }
  return sum / static_cast<float>(n_cols);
}

float PlainScale(const float* weights, int code_half) {
  float extreme = 0;
  for (int i = 0; i < kSize; ++i) {
    if (std::fabs(weights[i]) > std::fabs(extreme)) {
      extreme = weights[i];
    }
  }
  return extreme / static_cast<float>(-code_half);
}

AffineScale PlainAffineScale(const float* weights, int code_high) {
  float low = FLT_MAX;
  float high = -FLT_MAX;
  for (int i = 0; i < kSize; ++i) {
    low = weights[i] < low ? weights[i] : low;
    high = weights[i] > high ? weights[i] : high;
  }
  return {(high - low) / static_cast<float>(code_high), low};
}

void PlainCodes(const float* weights, const AffineScale& line, float zero,
                int code_high, uint8_t* codes) {
  const float inverse = line.d != 0 ? 1.0f / line.d : 0.0f;
  for (int i = 0; i < kSize; ++i) {
    const float position = (weights[i] - line.low) * inverse;
    // Only the low byte counts of what lies outside the codes.
    const auto code =
        static_cast<int8_t>(TruncateToInt(position + (zero + 0.5f)));
    codes[i] = static_cast<uint8_t>(std::min<int>(code, code_high));
  }
}

}  // namespace block32
}  // namespace narrow
