// NVFP4: E2M1 numbers under a scale for 16, weight = scale[g] * number.
//
//   bytes  field
//   0-3    scales of the four sub-blocks, UE4M3 (scale_bytes.h)
//   4-35   numbers (e2m1.h), 8 bytes a sub-block: number j in the low nibble
//          of its byte j, number j + 8 in the high one
//
// 64 weights in 36 bytes, little-endian, frozen. ggml takes no importance
// here. A tensor may have one more scale, a float, which stands in a tensor
// of its own; this codec knows nothing of it. In BlockFields d is 1 and
// scales[g] a scale's byte.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/fp4/e2m1.h"
#include "kernels/quant/fp4/fp4_blocks.h"
#include "kernels/quant/fp4/scale_bytes.h"

namespace narrow {
namespace {

using fp4::kNvBlock;
using fp4::kNvBytes;
using fp4::kNvSubBlock;
using fp4::kNvSubBlocks;

constexpr int kHalf = kNvSubBlock / 2;
// The largest number.
constexpr float kHighest = 6.0f;

float ScaleValue(int16_t stored) {
  return fp4::UE4M3Value(static_cast<uint8_t>(stored));
}

constexpr FieldRanges kRanges = {kNvSubBlocks,
                                 0,
                                 fp4::kUE4M3High,
                                 0,
                                 0,
                                 false,
                                 -12,
                                 12,
                                 fp4::kCodeUnit,
                                 &ScaleValue,
                                 absl::Span<const int8_t>(fp4::kCodes, 15),
                                 UnitKind::kOne};

// What a code is worth.
float Step(int16_t stored) { return ScaleValue(stored) * fp4::kCodeUnit; }

void Fit(const float* weights, const float* /*column_weights*/,
         BlockFields* fields) {
  *fields = BlockFields();
  fields->d = 1;
  for (int g = 0; g < kNvSubBlocks; ++g) {
    fields->scales[g] = fp4::UE4M3Of(
        fp4::LargestMagnitude(weights + g * kNvSubBlock, kNvSubBlock) /
        kHighest);
  }
}

void Round(const BlockFields& fields, int first, const float* target,
           const float* /*metric*/, int8_t* codes, float* values) {
  const float step = Step(fields.scales[first / kNvSubBlock]);
  *codes = fp4::RoundToCode(*target, step);
  *values = static_cast<float>(*codes) * step;
}

void Pack(const BlockFields& fields, const int8_t* codes, uint8_t* bytes) {
  for (int g = 0; g < kNvSubBlocks; ++g) {
    bytes[g] = static_cast<uint8_t>(fields.scales[g]);
  }
  for (int j = 0; j < kNvBlock / 2; ++j) {
    const int8_t* pair = codes + j / kHalf * kNvSubBlock + j % kHalf;
    bytes[kNvSubBlocks + j] = static_cast<uint8_t>(
        fp4::NibbleOf(pair[0]) | (fp4::NibbleOf(pair[kHalf]) << 4));
  }
}

void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
  *fields = BlockFields();
  fields->d = 1;
  std::copy(bytes, bytes + kNvSubBlocks, fields->scales);
  for (int j = 0; j < kNvBlock / 2; ++j) {
    int8_t* pair = codes + j / kHalf * kNvSubBlock + j % kHalf;
    pair[0] = fp4::kCodeOfNibble[bytes[kNvSubBlocks + j] & 15];
    pair[kHalf] = fp4::kCodeOfNibble[bytes[kNvSubBlocks + j] >> 4];
  }
}

// ggml reads every byte as a finite scale, and lets none pass for a NaN.
bool IsFinite(const uint8_t* /*bytes*/) { return true; }

void Encode(const float* weights, int64_t n_rows, int64_t n_cols,
            const float* /*importance*/, uint8_t* bytes) {
  const int64_t n_blocks = n_rows * n_cols / kNvBlock;
  for (int64_t b = 0; b < n_blocks; ++b) {
    for (int g = 0; g < kNvSubBlocks; ++g) {
      fp4::EncodeNvSubBlock(weights + g * kNvSubBlock, bytes + g,
                            bytes + kNvSubBlocks + g * kHalf);
    }
    bytes += kNvBytes;
    weights += kNvBlock;
  }
}

void Decode(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  BlockFields fields;
  int8_t codes[kNvBlock];
  for (int64_t b = 0; b < n_blocks; ++b) {
    Unpack(bytes + b * kNvBytes, &fields, codes);
    for (int i = 0; i < kNvBlock; ++i) {
      weights[b * kNvBlock + i] =
          static_cast<float>(codes[i]) * Step(fields.scales[i / kNvSubBlock]);
    }
  }
}

}  // namespace

namespace fp4 {

void EncodeNvSubBlock(const float* weights, uint8_t* scale, uint8_t* codes) {
  *scale = UE4M3Of(LargestMagnitude(weights, kNvSubBlock) / kHighest);
  const float step = Step(*scale);
  for (int j = 0; j < kHalf; ++j) {
    codes[j] =
        static_cast<uint8_t>(NearestNibble(weights[j], step) |
                             (NearestNibble(weights[j + kHalf], step) << 4));
  }
}

}  // namespace fp4

const BlockCodec kNVFP4Codec = {
    QuantType::kNVFP4,
    kNvBlock,
    /*unit=*/1,
    kRanges,
    /*uses_importance=*/false,
    /*error_budget=*/0.1f,
    &Fit,
    &Round,
    &Pack,
    &Unpack,
    &IsFinite,
    &Encode,
    &avx2::EncodeNVFP4,
    &avx512::EncodeNVFP4,
    &Decode,
    &avx2::DecodeNVFP4,
    &avx512::DecodeNVFP4,
};

}  // namespace narrow
