// TQ2_0: trits of two bits, weight = d * (trit - 1).
//
//   bytes  weights
//   0-31   0-127: byte j holds those of j, j + 32, j + 64 and j + 96, from
//          the low bits up
//   32-63  128-255, likewise
//   64-65  d, half precision
//
// 256 weights in 66 bytes, little-endian, frozen. The fourth code, weight 2d,
// can be read but ggml does not write it. It takes no importance here.

#include <cstdint>

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/ternary/scaled_codes.h"
#include "kernels/quant/ternary/ternary_blocks.h"

namespace narrow {
namespace {

struct Tq2 {
  static constexpr int kBlock = ternary::kTq2Block;
  static constexpr int kBytes = ternary::kTq2Bytes;
  static constexpr int kScaleAt = 64;
  static constexpr int kHigh = 2;
  static constexpr bool kHasZero = true;
  static constexpr int kStride = 32;

  static float Scale(const float* weights) {
    return ternary::MagnitudeSinceNaN(weights, kBlock);
  }

  static void Codes(const float* weights, float d, uint8_t* stored) {
    ternary::RoundToTrits(weights, d, kBlock, stored);
  }

  static void PackStored(const uint8_t* stored, uint8_t* bytes) {
    for (int j = 0; j < kBlock / 4; ++j) {
      const uint8_t* four = stored + j / kStride * 4 * kStride + j % kStride;
      int byte = 0;
      for (int i = 0; i < 4; ++i) {
        byte |= (four[i * kStride] & 3) << (2 * i);
      }
      bytes[j] = static_cast<uint8_t>(byte);
    }
  }

  static void UnpackStored(const uint8_t* bytes, uint8_t* stored) {
    for (int j = 0; j < kBlock / 4; ++j) {
      uint8_t* four = stored + j / kStride * 4 * kStride + j % kStride;
      for (int i = 0; i < 4; ++i) {
        four[i * kStride] = (bytes[j] >> (2 * i)) & 3;
      }
    }
  }
};

using Definition = ternary::ScaledCodes<Tq2>;

}  // namespace

namespace ternary {

void EncodeTq2Block(const float* weights, uint8_t* bytes) {
  Definition::EncodeBlock(weights, bytes);
}

}  // namespace ternary

const BlockCodec kTQ2_0Codec = {
    QuantType::kTQ2_0,
    Tq2::kBlock,
    /*unit=*/1,
    Definition::kRanges,
    /*uses_importance=*/false,
    /*error_budget=*/0.8f,
    &Definition::Fit,
    &Definition::Round,
    &Definition::Pack,
    &Definition::Unpack,
    &Definition::IsFinite,
    &Definition::Encode,
    &avx2::EncodeTQ2_0,
    &avx512::EncodeTQ2_0,
    &Definition::Decode,
    &avx2::DecodeTQ2_0,
    &avx512::DecodeTQ2_0,
};

}  // namespace narrow
