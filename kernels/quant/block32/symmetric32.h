// The codecs of 32 weights with a scale alone, Q4_0 and Q5_0, as one template
// over the bits of a code. Tested by codec_test.cc.

#ifndef NARROW_KERNELS_QUANT_BLOCK32_SYMMETRIC32_H_
#define NARROW_KERNELS_QUANT_BLOCK32_SYMMETRIC32_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/quant/block32/block32.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/k/scale_search.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace block32 {

template <int kBits>
struct Symmetric {
  static_assert(kBits == 4 || kBits == 5, "the two that ggml has");

  static constexpr int kHalf = 1 << (kBits - 1);
  static constexpr int kBytes = 2 + kBits * kSize / 8;
  static constexpr FieldRanges kRanges = {1, 1,     1,      0,
                                          0, false, -kHalf, kHalf - 1};

  static void Fit(const float* weights, const float* column_weights,
                  BlockFields* fields) {
    int8_t codes[kSize];
    const float d = column_weights == nullptr
                        ? PlainScale(weights, kHalf)
                        : k_quants::SearchSymmetric(
                              {weights, kSize}, column_weights, kHalf, codes);
    *fields = BlockFields();
    fields->d = LegalHalf(d);
    fields->scales[0] = 1;
  }

  static void Round(const BlockFields& fields, int /*first*/,
                    const float* target, const float* /*metric*/, int8_t* codes,
                    float* values) {
    RoundToNearest(kRanges, fields, *target, codes, values);
  }

  static void Pack(const BlockFields& fields, const int8_t* codes,
                   uint8_t* bytes) {
    uint8_t from_zero[kSize];
    for (int i = 0; i < kSize; ++i) {
      from_zero[i] = static_cast<uint8_t>(codes[i] + kHalf);
    }
    Write(fields.d, from_zero, bytes);
  }

  static void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
    *fields = BlockFields();
    fields->d = LoadHalf(bytes);
    fields->scales[0] = 1;
    uint8_t from_zero[kSize];
    kBits == 4 ? UnpackNibbles(bytes + 2, from_zero)
               : UnpackFiveBits(bytes + 2, from_zero);
    for (int i = 0; i < kSize; ++i) {
      codes[i] = static_cast<int8_t>(from_zero[i] - kHalf);
    }
  }

  static bool IsFinite(const uint8_t* bytes) { return HalfIsFinite(bytes); }

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
        weights[b * kSize + i] = static_cast<float>(codes[i]) * fields.d;
      }
    }
  }

 private:
  static void EncodePlain(const float* weights, uint8_t* bytes) {
    const AffineScale line = {PlainScale(weights, kHalf), 0};
    uint8_t codes[kSize];
    PlainCodes(weights, line, kHalf, 2 * kHalf - 1, codes);
    Write(line.d, codes, bytes);
  }

  static void EncodeWeighted(const float* weights, const float* importance,
                             float mean_square, uint8_t* bytes) {
    float block_weights[kSize];
    WeighBlock(weights, importance, mean_square, block_weights);
    int8_t codes[kSize];
    BlockFields fields;
    fields.d = k_quants::SearchSymmetric({weights, kSize}, block_weights, kHalf,
                                         codes);
    Pack(fields, codes, bytes);
  }

  static void Write(float d, const uint8_t* codes, uint8_t* bytes) {
    StoreHalf(d, bytes);
    kBits == 4 ? PackNibbles(codes, bytes + 2) : PackFiveBits(codes, bytes + 2);
  }
};

}  // namespace block32
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_BLOCK32_SYMMETRIC32_H_
