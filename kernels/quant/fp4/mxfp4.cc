// MXFP4: E2M1 numbers under a power of two, weight = 2^(e - 127) * number.
//
//   bytes  field
//   0      e, an E8M0 scale (scale_bytes.h)
//   1-16   numbers (e2m1.h): number j in the low nibble of byte 1 + j,
//          number j + 16 in the high one
//
// 32 weights in 17 bytes, little-endian, frozen. ggml takes no importance
// here. In BlockFields d is the scale, which must be a power of two.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/fp4/e2m1.h"
#include "kernels/quant/fp4/fp4_blocks.h"
#include "kernels/quant/fp4/scale_bytes.h"

namespace narrow {
namespace {

using fp4::kMxBlock;
using fp4::kMxBytes;

constexpr int kHalf = kMxBlock / 2;
constexpr FieldRanges kRanges = {1,
                                 1,
                                 1,
                                 0,
                                 0,
                                 false,
                                 -12,
                                 12,
                                 fp4::kCodeUnit,
                                 nullptr,
                                 absl::Span<const int8_t>(fp4::kCodes, 15),
                                 UnitKind::kPowerOfTwo};

void Fit(const float* weights, const float* /*column_weights*/,
         BlockFields* fields) {
  // Of the scales that ggml's rule gives, those under which every code is a
  // finite weight, and no wrapped ones.
  const float magnitude = fp4::LargestMagnitude(weights, kMxBlock);
  const int exponent =
      magnitude > 0 ? fp4::FloorOfRoundedLog2(magnitude) - 2 : -127;
  *fields = BlockFields();
  fields->d = std::ldexp(1.0f, std::min(std::max(exponent, -127), 125));
  fields->scales[0] = 1;
}

void Round(const BlockFields& fields, int /*first*/, const float* target,
           const float* /*metric*/, int8_t* codes, float* values) {
  const float step = fields.d * fp4::kCodeUnit;
  *codes = fp4::RoundToCode(*target, step);
  *values = static_cast<float>(*codes) * step;
}

void Pack(const BlockFields& fields, const int8_t* codes, uint8_t* bytes) {
  bytes[0] = static_cast<uint8_t>(std::ilogb(fields.d) + 127);
  for (int j = 0; j < kHalf; ++j) {
    bytes[1 + j] = static_cast<uint8_t>(fp4::NibbleOf(codes[j]) |
                                        (fp4::NibbleOf(codes[j + kHalf]) << 4));
  }
}

void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
  *fields = BlockFields();
  fields->d = bytes[0] == fp4::kE8M0NaN
                  ? std::numeric_limits<float>::quiet_NaN()
                  : 2 * fp4::HalfE8M0(bytes[0]);
  fields->scales[0] = 1;
  for (int j = 0; j < kHalf; ++j) {
    codes[j] = fp4::kCodeOfNibble[bytes[1 + j] & 15];
    codes[j + kHalf] = fp4::kCodeOfNibble[bytes[1 + j] >> 4];
  }
}

// Weights of 2^128 and more, which the two largest scales give, are infinities
// in float; ggml calls such blocks sound, and so are these numbers.
bool IsFinite(const uint8_t* bytes) { return bytes[0] != fp4::kE8M0NaN; }

void Encode(const float* weights, int64_t n_rows, int64_t n_cols,
            const float* /*importance*/, uint8_t* bytes) {
  const int64_t n_blocks = n_rows * n_cols / kMxBlock;
  for (int64_t b = 0; b < n_blocks; ++b) {
    fp4::EncodeMxBlock(weights + b * kMxBlock, bytes + b * kMxBytes);
  }
}

void Decode(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float step = fp4::HalfE8M0(bytes[0]);
    for (int j = 0; j < kHalf; ++j) {
      weights[j] =
          static_cast<float>(fp4::kCodeOfNibble[bytes[1 + j] & 15]) * step;
      weights[j + kHalf] =
          static_cast<float>(fp4::kCodeOfNibble[bytes[1 + j] >> 4]) * step;
    }
    bytes += kMxBytes;
    weights += kMxBlock;
  }
}

}  // namespace

namespace fp4 {

void EncodeMxBlock(const float* weights, uint8_t* bytes) {
  bytes[0] = E8M0For(LargestMagnitude(weights, kMxBlock));
  const float step = HalfE8M0(bytes[0]);
  for (int j = 0; j < kHalf; ++j) {
    bytes[1 + j] =
        static_cast<uint8_t>(NearestNibble(weights[j], step) |
                             (NearestNibble(weights[j + kHalf], step) << 4));
  }
}

}  // namespace fp4

const BlockCodec kMXFP4Codec = {
    QuantType::kMXFP4,
    kMxBlock,
    /*unit=*/1,
    kRanges,
    /*uses_importance=*/false,
    /*error_budget=*/0.13f,
    &Fit,
    &Round,
    &Pack,
    &Unpack,
    &IsFinite,
    &Encode,
    &avx2::EncodeMXFP4,
    &avx512::EncodeMXFP4,
    &Decode,
    &avx2::DecodeMXFP4,
    &avx512::DecodeMXFP4,
};

}  // namespace narrow
