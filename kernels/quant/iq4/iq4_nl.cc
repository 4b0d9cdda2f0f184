// IQ4_NL: a scale and places in a table, weight = d * table[place].
//
//   bytes  field
//   0-1    d, half precision
//   2-17   places in the table of iq4.h: place j in the low nibble of byte
//          2 + j, place j + 16 in the high one
//
// 32 weights in 18 bytes, little-endian, frozen.

#include <cstdint>

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/iq4/iq4.h"
#include "kernels/quant/iq4/plain_calls.h"
#include "kernels/quant/iq4/reference.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace {

using iq4::kNlBytes;
using iq4::kSize;

constexpr FieldRanges kRanges = {1,
                                 1,
                                 1,
                                 0,
                                 0,
                                 false,
                                 -127,
                                 113,
                                 1,
                                 nullptr,
                                 absl::Span<const int8_t>(iq4::kCodes, 16)};

void Fit(const float* weights, const float* column_weights,
         BlockFields* fields) {
  float block_weights[kSize];
  iq4::WeighBlock(weights, nullptr, 0, block_weights);
  *fields = BlockFields();
  fields->d = LegalHalf(iq4::SearchScale(
      weights, column_weights == nullptr ? block_weights : column_weights));
  fields->scales[0] = 1;
}

void Round(const BlockFields& fields, int /*first*/, const float* target,
           const float* /*metric*/, int8_t* codes, float* values) {
  iq4::RoundToCode(*target, fields.d, codes, values);
}

void Pack(const BlockFields& fields, const int8_t* codes, uint8_t* bytes) {
  uint8_t places[kSize];
  for (int i = 0; i < kSize; ++i) {
    places[i] = iq4::PlaceOf(codes[i]);
  }
  StoreHalf(fields.d, bytes);
  iq4::PackPlaces(places, bytes + 2);
}

void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
  *fields = BlockFields();
  fields->d = LoadHalf(bytes);
  fields->scales[0] = 1;
  uint8_t places[kSize];
  iq4::UnpackPlaces(bytes + 2, places);
  for (int i = 0; i < kSize; ++i) {
    codes[i] = iq4::kCodes[places[i]];
  }
}

void Encode(const float* weights, int64_t n_rows, int64_t n_cols,
            const float* importance, uint8_t* bytes) {
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t column = 0; column < n_cols; column += kSize) {
      iq4::EncodeNlBlock(weights + column,
                         importance == nullptr ? nullptr : importance + column,
                         bytes);
      bytes += kNlBytes;
    }
    weights += n_cols;
  }
}

void Decode(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  BlockFields fields;
  int8_t codes[kSize];
  for (int64_t b = 0; b < n_blocks; ++b) {
    Unpack(bytes + b * kNlBytes, &fields, codes);
    for (int i = 0; i < kSize; ++i) {
      weights[b * kSize + i] = fields.d * static_cast<float>(codes[i]);
    }
  }
}

}  // namespace

namespace iq4 {

void EncodeNlBlock(const float* weights, const float* importance,
                   uint8_t* bytes) {
  float block_weights[kSize];
  WeighBlock(weights, importance, TwiceMeanSquare(weights, kSize),
             block_weights);
  const float d = SearchScale(weights, block_weights);
  uint8_t places[kSize];
  PlaceCodes(weights, Inverse(d), places);
  StoreHalf(d, bytes);
  PackPlaces(places, bytes + 2);
}

}  // namespace iq4

const BlockCodec kIQ4_NLCodec = {
    QuantType::kIQ4_NL,
    kSize,
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
    &avx2::EncodeIQ4_NL,
    &avx512::EncodeIQ4_NL,
    &Decode,
    &avx2::DecodeIQ4_NL,
    &avx512::DecodeIQ4_NL,
};

}  // namespace narrow
