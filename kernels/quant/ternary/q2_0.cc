// Q2_0: two bits a weight, weight = d * (code - 1), code 0 … 3.
//
//   bytes  field
//   0-1    d, half precision
//   2-17   codes, four in a byte, neighbours, from the low bits up
//
// 64 weights in 18 bytes, little-endian, frozen. ggml's d is the largest
// magnitude, so it never writes code 3, weight 2d. It takes no importance
// here.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/ternary/scaled_codes.h"
#include "kernels/quant/ternary/ternary_blocks.h"

namespace narrow {
namespace {

struct TwoBits {
  static constexpr int kBlock = ternary::kTwoBitBlock;
  static constexpr int kBytes = ternary::kTwoBitBytes;
  static constexpr int kScaleAt = 0;
  static constexpr int kHigh = 2;
  static constexpr bool kHasZero = true;

  static float Scale(const float* weights) {
    float magnitude = 0;
    for (int i = 0; i < kBlock; ++i) {
      const float size = std::fabs(weights[i]);
      magnitude = size > magnitude ? size : magnitude;
    }
    return magnitude;
  }

  static void Codes(const float* weights, float d, uint8_t* stored) {
    const float inverse = d > 0 ? 1.0f / d : 0.0f;
    for (int i = 0; i < kBlock; ++i) {
      // Halves go away from zero; what is no number goes to the lowest code.
      const int code = TruncateToInt(std::round(weights[i] * inverse));
      stored[i] = static_cast<uint8_t>(std::min(std::max(code, -1), 2) + 1);
    }
  }

  static void PackStored(const uint8_t* stored, uint8_t* bytes) {
    for (int j = 0; j < kBlock / 4; ++j) {
      int byte = 0;
      for (int i = 0; i < 4; ++i) {
        byte |= stored[4 * j + i] << (2 * i);
      }
      bytes[2 + j] = static_cast<uint8_t>(byte);
    }
  }

  static void UnpackStored(const uint8_t* bytes, uint8_t* stored) {
    for (int i = 0; i < kBlock; ++i) {
      stored[i] = (bytes[2 + i / 4] >> (2 * (i % 4))) & 3;
    }
  }
};

using Definition = ternary::ScaledCodes<TwoBits>;

}  // namespace

namespace ternary {

void EncodeTwoBitBlock(const float* weights, uint8_t* bytes) {
  Definition::EncodeBlock(weights, bytes);
}

}  // namespace ternary

const BlockCodec kQ2_0Codec = {
    QuantType::kQ2_0,
    TwoBits::kBlock,
    /*unit=*/1,
    Definition::kRanges,
    /*uses_importance=*/false,
    /*error_budget=*/0.7f,
    &Definition::Fit,
    &Definition::Round,
    &Definition::Pack,
    &Definition::Unpack,
    &Definition::IsFinite,
    &Definition::Encode,
    &avx2::EncodeQ2_0,
    &avx512::EncodeQ2_0,
    &Definition::Decode,
    &avx2::DecodeQ2_0,
    &avx512::DecodeQ2_0,
};

}  // namespace narrow
