// The codecs of 32 weights with a scale and a minimum, Q4_1 and Q5_1, as one
// template over the bits of a code. Tested by codec_test.cc.

#ifndef NARROW_KERNELS_QUANT_BLOCK32_AFFINE32_H_
#define NARROW_KERNELS_QUANT_BLOCK32_AFFINE32_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/quant/block32/block32.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/k/scale_search.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace block32 {

template <int kBits>
struct Affine {
  static_assert(kBits == 4 || kBits == 5, "the two that ggml has");

  static constexpr int kHigh = (1 << kBits) - 1;
  static constexpr int kBytes = 4 + kBits * kSize / 8;
  static constexpr FieldRanges kRanges = {1, 1, 1, 1, 1, true, 0, kHigh};

  static void Fit(const float* weights, const float* column_weights,
                  BlockFields* fields) {
    int8_t codes[kSize];
    const AffineScale line = column_weights == nullptr
                                 ? PlainAffineScale(weights, kHigh)
                                 : Search(weights, column_weights, codes);
    *fields = BlockFields();
    fields->d = LegalHalf(line.d);
    fields->dmin = LegalHalf(-line.low);
    fields->scales[0] = 1;
    fields->mins[0] = 1;
  }

  static void Round(const BlockFields& fields, int /*first*/,
                    const float* target, const float* /*metric*/, int8_t* codes,
                    float* values) {
    RoundToNearest(kRanges, fields, *target, codes, values);
  }

  static void Pack(const BlockFields& fields, const int8_t* codes,
                   uint8_t* bytes) {
    Write({fields.d, -fields.dmin}, reinterpret_cast<const uint8_t*>(codes),
          bytes);
  }

  static void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
    *fields = BlockFields();
    fields->d = LoadHalf(bytes);
    fields->dmin = -LoadHalf(bytes + 2);
    fields->scales[0] = 1;
    fields->mins[0] = 1;
    uint8_t* from_zero = reinterpret_cast<uint8_t*>(codes);
    kBits == 4 ? UnpackNibbles(bytes + 4, from_zero)
               : UnpackFiveBits(bytes + 4, from_zero);
  }

  static bool IsFinite(const uint8_t* bytes) {
    return HalfIsFinite(bytes) && HalfIsFinite(bytes + 2);
  }

  static void Encode(const float* weights, int64_t n_rows, int64_t n_cols,
                     const float* importance, uint8_t* bytes) {
    for (int64_t row = 0; row < n_rows; ++row) {
      const float mean_square =
          importance == nullptr ? 0 : MeanSquare(weights, n_cols);
      for (int64_t column = 0; column < n_cols; column += kSize) {
        if (importance == nullptr) {
          EncodePlain(weights + column, bytes);
        } else {
          EncodeWeighted(weights + column, importance + column, mean_square,
                         bytes);
        }
        bytes += kBytes;
      }
      weights += n_cols;
    }
  }

  static void Decode(const uint8_t* bytes, int64_t n_blocks, float* weights) {
    BlockFields fields;
    int8_t codes[kSize];
    for (int64_t b = 0; b < n_blocks; ++b) {
      Unpack(bytes + b * kBytes, &fields, codes);
      for (int i = 0; i < kSize; ++i) {
        weights[b * kSize + i] =
            static_cast<float>(codes[i]) * fields.d - fields.dmin;
      }
    }
  }

 private:
  static AffineScale Search(const float* weights, const float* block_weights,
                            int8_t* codes) {
    const k_quants::AffineLine line = k_quants::SearchAffine(
        {weights, kSize}, block_weights, kHigh, k_quants::kImportanceGrid,
        /*absolute_error=*/false, k_quants::CodeRule::kBoundThenRound, codes);
    return {line.scale, line.low};
  }

  static void EncodePlain(const float* weights, uint8_t* bytes) {
    const AffineScale line = PlainAffineScale(weights, kHigh);
    uint8_t codes[kSize];
    PlainCodes(weights, line, 0, kHigh, codes);
    Write(line, codes, bytes);
  }

  static void EncodeWeighted(const float* weights, const float* importance,
                             float mean_square, uint8_t* bytes) {
    float block_weights[kSize];
    WeighBlock(weights, importance, mean_square, block_weights);
    int8_t codes[kSize];
    const AffineScale line = Search(weights, block_weights, codes);
    Write(line, reinterpret_cast<const uint8_t*>(codes), bytes);
  }

  static void Write(const AffineScale& line, const uint8_t* codes,
                    uint8_t* bytes) {
    StoreHalf(line.d, bytes);
    StoreHalf(line.low, bytes + 2);
    kBits == 4 ? PackNibbles(codes, bytes + 4) : PackFiveBits(codes, bytes + 4);
  }
};

}  // namespace block32
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_BLOCK32_AFFINE32_H_
