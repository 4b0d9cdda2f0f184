// What TQ1_0, TQ2_0, Q1_0 and Q2_0 have in common, as a template over a type:
// a half-precision scale and small codes, weight = d * code.
//
// A type has kBlock weights and kBytes bytes a block, kScaleAt, where its
// scale lies, kLow and kHigh, its codes, kHasZero, and
//
//   static float Scale(const float* weights);
//   static void Codes(const float* weights, float d, uint8_t* stored);
//   static void PackStored(const uint8_t* stored, uint8_t* bytes);
//   static void UnpackStored(const uint8_t* bytes, uint8_t* stored);
//
// of which Scale and Codes are ggml's encoder. Stored codes count from 0.

#ifndef NARROW_KERNELS_QUANT_TERNARY_SCALED_CODES_H_
#define NARROW_KERNELS_QUANT_TERNARY_SCALED_CODES_H_

#include <cmath>
#include <cstdint>

#include "kernels/quant/code_table.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace ternary {

inline constexpr int8_t kAllCodes[4] = {-1, 0, 1, 2};
inline constexpr int8_t kSigns[2] = {-1, 1};

template <class Type>
struct ScaledCodes {
  static absl::Span<const int8_t> Table() {
    return Type::kHasZero ? absl::Span<const int8_t>(kAllCodes, Type::kHigh + 2)
                          : absl::Span<const int8_t>(kSigns);
  }
  static constexpr FieldRanges kRanges = {
      1,
      1,
      1,
      0,
      0,
      false,
      -1,
      Type::kHigh,
      1,
      nullptr,
      Type::kHasZero ? absl::Span<const int8_t>()
                     : absl::Span<const int8_t>(kSigns, 2)};

  static void Fit(const float* weights, const float* /*column_weights*/,
                  BlockFields* fields) {
    *fields = BlockFields();
    fields->d = LegalHalf(Type::Scale(weights));
    fields->scales[0] = 1;
  }

  static void Round(const BlockFields& fields, int /*first*/,
                    const float* target, const float* /*metric*/, int8_t* codes,
                    float* values) {
    *codes =
        Table()[NearestPlace(Table(), PositionAmongCodes(*target, fields.d))];
    *values = static_cast<float>(*codes) * fields.d;
  }

  static void Pack(const BlockFields& fields, const int8_t* codes,
                   uint8_t* bytes) {
    uint8_t stored[Type::kBlock];
    for (int i = 0; i < Type::kBlock; ++i) {
      stored[i] =
          static_cast<uint8_t>(Type::kHasZero ? codes[i] + 1 : codes[i] > 0);
    }
    StoreHalf(fields.d, bytes + Type::kScaleAt);
    Type::PackStored(stored, bytes);
  }

  static void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
    *fields = BlockFields();
    fields->d = LoadHalf(bytes + Type::kScaleAt);
    fields->scales[0] = 1;
    uint8_t stored[Type::kBlock];
    Type::UnpackStored(bytes, stored);
    for (int i = 0; i < Type::kBlock; ++i) {
      codes[i] = Table()[stored[i]];
    }
  }

  static bool IsFinite(const uint8_t* bytes) {
    return HalfIsFinite(bytes + Type::kScaleAt);
  }

  static void EncodeBlock(const float* weights, uint8_t* bytes) {
    const float d = Type::Scale(weights);
    uint8_t stored[Type::kBlock];
    Type::Codes(weights, d, stored);
    StoreHalf(d, bytes + Type::kScaleAt);
    Type::PackStored(stored, bytes);
  }

  static void Encode(const float* weights, int64_t n_rows, int64_t n_cols,
                     const float* /*importance*/, uint8_t* bytes) {
    const int64_t n_blocks = n_rows * n_cols / Type::kBlock;
    for (int64_t b = 0; b < n_blocks; ++b) {
      EncodeBlock(weights + b * Type::kBlock, bytes + b * Type::kBytes);
    }
  }

  static void Decode(const uint8_t* bytes, int64_t n_blocks, float* weights) {
    BlockFields fields;
    int8_t codes[Type::kBlock];
    for (int64_t b = 0; b < n_blocks; ++b) {
      Unpack(bytes + b * Type::kBytes, &fields, codes);
      for (int i = 0; i < Type::kBlock; ++i) {
        weights[b * Type::kBlock + i] = static_cast<float>(codes[i]) * fields.d;
      }
    }
  }
};

// ggml's largest magnitude for TQ1_0 and TQ2_0: a NaN takes the place of what
// came before it and gives way to what comes next.
inline float MagnitudeSinceNaN(const float* weights, int n) {
  float magnitude = 0;
  for (int i = 0; i < n; ++i) {
    const float size = std::fabs(weights[i]);
    magnitude = magnitude > size ? magnitude : size;
  }
  return magnitude;
}

// ggml's trits from 0: to nearest, halves away from zero. Of a number beyond
// the trits (after a NaN, or under a scale without a reciprocal) the low byte
// of a 64-bit integer counts; what that cannot hold becomes its lowest value.
inline void RoundToTrits(const float* weights, float d, int n,
                         uint8_t* stored) {
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  for (int i = 0; i < n; ++i) {
    // The low byte of every float from 2^31 up is 0.
    const float rounded = std::round(weights[i] * inverse);
    const int integer =
        std::fabs(rounded) < 0x1p31f ? static_cast<int>(rounded) : 0;
    stored[i] = static_cast<uint8_t>(static_cast<uint32_t>(integer) + 1);
  }
}

}  // namespace ternary
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TERNARY_SCALED_CODES_H_
