// IQ4_XS: a scale, 6-bit scales of sub-blocks and places in a table,
// weight = d * (scale[g] - 32) * table[place].
//
//   bytes  field
//   0-1    d, half precision
//   2-3    the high two bits of the eight scales, from the low bits up
//   4-7    their low four bits: scale 2j in the low nibble of byte 4 + j,
//          scale 2j + 1 in the high one
//   8-135  places in the table of iq4.h, 16 bytes a sub-block: place j in
//          the low nibble of its byte j, place j + 16 in the high one
//
// 256 weights in 136 bytes, little-endian, frozen. ggml's d gives the scale
// of the largest magnitude -32; codes are rounded under that d before it is
// itself rounded to half precision.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/quant/code_table.h"
#include "kernels/quant/codec_variants.h"
#include "kernels/quant/iq4/iq4.h"
#include "kernels/quant/iq4/plain_calls.h"
#include "kernels/quant/iq4/reference.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace {

using iq4::kHighScale;
using iq4::kLowScale;
using iq4::kSize;
using iq4::kSubBlocks;
using iq4::kSuperBlock;
using iq4::kXsBytes;

constexpr int kCodesAt = 8;

constexpr FieldRanges kRanges = {kSubBlocks,
                                 kLowScale,
                                 kHighScale,
                                 0,
                                 0,
                                 false,
                                 -127,
                                 113,
                                 1,
                                 nullptr,
                                 absl::Span<const int8_t>(iq4::kCodes, 16)};

// The super-block's scale, of which each sub-block's is a multiple: the
// first of the largest magnitude becomes -32 times it.
float SuperScale(const float* scales) {
  float magnitude = 0;
  float extreme = 0;
  for (int g = 0; g < kSubBlocks; ++g) {
    if (std::fabs(scales[g]) > magnitude) {
      magnitude = std::fabs(scales[g]);
      extreme = scales[g];
    }
  }
  return -extreme / 32.0f;
}

int RoundScale(float scale, float inverse_d) {
  return std::min(std::max(RoundToInt(inverse_d * scale), kLowScale),
                  kHighScale);
}

void PackScales(float d, const int* scales, uint8_t* bytes) {
  std::fill(bytes + 2, bytes + kCodesAt, uint8_t{0});
  StoreHalf(d, bytes);
  for (int g = 0; g < kSubBlocks; ++g) {
    const int stored = scales[g] - kLowScale;
    bytes[2 + g / 4] |= static_cast<uint8_t>((stored >> 4) << (2 * (g % 4)));
    bytes[4 + g / 2] |= static_cast<uint8_t>((stored & 15) << (4 * (g % 2)));
  }
}

// Where sub-block g's places lie.
int PlacesAt(int g) { return kCodesAt + g * kSize / 2; }

void Fit(const float* weights, const float* column_weights,
         BlockFields* fields) {
  float scales[kSubBlocks];
  for (int g = 0; g < kSubBlocks; ++g) {
    float block_weights[kSize];
    iq4::WeighBlock(weights + g * kSize, nullptr, 0, block_weights);
    const float scale = iq4::SearchScale(
        weights + g * kSize,
        column_weights == nullptr ? block_weights : column_weights + g * kSize);
    scales[g] = std::isfinite(scale) ? scale : 0.0f;
  }
  *fields = BlockFields();
  fields->d = LegalHalf(SuperScale(scales));
  for (int g = 0; g < kSubBlocks; ++g) {
    // (Bounded before it is rounded: d may be cut to what a half holds.)
    const float position = PositionAmongCodes(scales[g], fields->d);
    fields->scales[g] = static_cast<int16_t>(RoundScale(
        std::min(std::max(position, -32.0f), 31.0f), /*inverse_d=*/1.0f));
  }
}

float Step(const BlockFields& fields, int g) {
  return fields.d * static_cast<float>(fields.scales[g]);
}

void Round(const BlockFields& fields, int first, const float* target,
           const float* /*metric*/, int8_t* codes, float* values) {
  iq4::RoundToCode(*target, Step(fields, first / kSize), codes, values);
}

void Pack(const BlockFields& fields, const int8_t* codes, uint8_t* bytes) {
  int scales[kSubBlocks];
  std::copy(fields.scales, fields.scales + kSubBlocks, scales);
  PackScales(fields.d, scales, bytes);
  for (int g = 0; g < kSubBlocks; ++g) {
    uint8_t places[kSize];
    for (int i = 0; i < kSize; ++i) {
      places[i] = iq4::PlaceOf(codes[g * kSize + i]);
    }
    iq4::PackPlaces(places, bytes + PlacesAt(g));
  }
}

void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
  *fields = BlockFields();
  fields->d = LoadHalf(bytes);
  for (int g = 0; g < kSubBlocks; ++g) {
    const int low = (bytes[4 + g / 2] >> (4 * (g % 2))) & 15;
    const int high = (bytes[2 + g / 4] >> (2 * (g % 4))) & 3;
    fields->scales[g] = static_cast<int16_t>((low | (high << 4)) + kLowScale);
    uint8_t places[kSize];
    iq4::UnpackPlaces(bytes + PlacesAt(g), places);
    for (int i = 0; i < kSize; ++i) {
      codes[g * kSize + i] = iq4::kCodes[places[i]];
    }
  }
}

void Encode(const float* weights, int64_t n_rows, int64_t n_cols,
            const float* importance, uint8_t* bytes) {
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t column = 0; column < n_cols; column += kSuperBlock) {
      iq4::EncodeXsBlock(weights + column,
                         importance == nullptr ? nullptr : importance + column,
                         bytes);
      bytes += kXsBytes;
    }
    weights += n_cols;
  }
}

void Decode(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  BlockFields fields;
  int8_t codes[kSuperBlock];
  for (int64_t b = 0; b < n_blocks; ++b) {
    Unpack(bytes + b * kXsBytes, &fields, codes);
    for (int i = 0; i < kSuperBlock; ++i) {
      weights[b * kSuperBlock + i] =
          Step(fields, i / kSize) * static_cast<float>(codes[i]);
    }
  }
}

}  // namespace

namespace iq4 {

void EncodeXsBlock(const float* weights, const float* importance,
                   uint8_t* bytes) {
  const float twice_mean_square = TwiceMeanSquare(weights, kSuperBlock);
  float scales[kSubBlocks];
  for (int g = 0; g < kSubBlocks; ++g) {
    float block_weights[kSize];
    WeighBlock(weights + g * kSize,
               importance == nullptr ? nullptr : importance + g * kSize,
               twice_mean_square, block_weights);
    scales[g] = SearchScale(weights + g * kSize, block_weights);
  }
  const float d = SuperScale(scales);
  const float inverse_d = Inverse(d);
  int stored[kSubBlocks];
  for (int g = 0; g < kSubBlocks; ++g) {
    stored[g] = RoundScale(scales[g], inverse_d);
    uint8_t places[kSize];
    PlaceCodes(weights + g * kSize, Inverse(d * static_cast<float>(stored[g])),
               places);
    PackPlaces(places, bytes + PlacesAt(g));
  }
  PackScales(d, stored, bytes);
}

}  // namespace iq4

const BlockCodec kIQ4_XSCodec = {
    QuantType::kIQ4_XS,
    kSuperBlock,
    /*unit=*/1,
    kRanges,
    /*uses_importance=*/true,
    /*error_budget=*/0.09f,
    &Fit,
    &Round,
    &Pack,
    &Unpack,
    &HalfIsFinite,
    &Encode,
    &avx2::EncodeIQ4_XS,
    &avx512::EncodeIQ4_XS,
    &Decode,
    &avx2::DecodeIQ4_XS,
    &avx512::DecodeIQ4_XS,
};

}  // namespace narrow
