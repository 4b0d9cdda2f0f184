// Q8_0: a scale and 8-bit codes, weight = d * code.
//
//   bytes  field
//   0-1    d, half precision
//   2-33   codes, signed, in order
//
// 32 weights in 34 bytes, little-endian, frozen. ggml takes no importance
// here and gives the largest magnitude the code 127.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/quant/block32/block32.h"
#include "kernels/quant/codec_variants.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace {

using block32::kSize;

constexpr int kBytes = 34;
constexpr FieldRanges kRanges = {1, 1, 1, 0, 0, false, -128, 127};

float Scale(const float* weights) {
  float magnitude = 0;
  for (int i = 0; i < kSize; ++i) {
    const float size = std::fabs(weights[i]);
    magnitude = magnitude > size ? magnitude : size;
  }
  return magnitude / 127.0f;
}

void Fit(const float* weights, const float* /*column_weights*/,
         BlockFields* fields) {
  *fields = BlockFields();
  fields->d = LegalHalf(Scale(weights));
  fields->scales[0] = 1;
}

void Round(const BlockFields& fields, int /*first*/, const float* target,
           const float* /*metric*/, int8_t* codes, float* values) {
  block32::RoundToNearest(kRanges, fields, *target, codes, values);
}

void Pack(const BlockFields& fields, const int8_t* codes, uint8_t* bytes) {
  StoreHalf(fields.d, bytes);
  std::memcpy(bytes + 2, codes, kSize);
}

void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
  *fields = BlockFields();
  fields->d = LoadHalf(bytes);
  fields->scales[0] = 1;
  std::memcpy(codes, bytes + 2, kSize);
}

void Encode(const float* weights, int64_t n_rows, int64_t n_cols,
            const float* /*importance*/, uint8_t* bytes) {
  const int64_t n_blocks = n_rows * n_cols / kSize;
  for (int64_t b = 0; b < n_blocks; ++b, weights += kSize, bytes += kBytes) {
    BlockFields fields;
    fields.d = Scale(weights);
    const float inverse = fields.d != 0 ? 1.0f / fields.d : 0.0f;
    int8_t codes[kSize];
    for (int i = 0; i < kSize; ++i) {
      // Halves go away from zero.
      codes[i] =
          static_cast<int8_t>(TruncateToInt(std::round(weights[i] * inverse)));
    }
    Pack(fields, codes, bytes);
  }
}

void Decode(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  BlockFields fields;
  int8_t codes[kSize];
  for (int64_t b = 0; b < n_blocks; ++b) {
    Unpack(bytes + b * kBytes, &fields, codes);
    for (int i = 0; i < kSize; ++i) {
      weights[b * kSize + i] = static_cast<float>(codes[i]) * fields.d;
    }
  }
}

}  // namespace

const BlockCodec kQ8_0Codec = {
    QuantType::kQ8_0,
    kSize,
    /*unit=*/1,
    kRanges,
    /*uses_importance=*/false,
    /*error_budget=*/0.007f,
    &Fit,
    &Round,
    &Pack,
    &Unpack,
    &HalfIsFinite,
    &Encode,
    &avx2::EncodeQ8_0,
    &avx512::EncodeQ8_0,
    &Decode,
    &avx2::DecodeQ8_0,
    &avx512::DecodeQ8_0,
};

}  // namespace narrow
