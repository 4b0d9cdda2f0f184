// Q1_0: signs, weight = d or -d.
//
//   bytes  field
//   0-1    d, half precision
//   2-17   a bit a weight, from the low bits up: 1 for d, 0 for -d
//
// 128 weights in 18 bytes, little-endian, frozen. d is the mean magnitude,
// whose sum in order is part of the bytes; zero counts as positive, whatever
// its sign. ggml takes no importance here.

#include <cmath>
#include <cstdint>

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/ternary/scaled_codes.h"
#include "kernels/quant/ternary/ternary_blocks.h"

namespace narrow {
namespace {

struct Signs {
  static constexpr int kBlock = ternary::kSignBlock;
  static constexpr int kBytes = ternary::kSignBytes;
  static constexpr int kScaleAt = 0;
  static constexpr int kHigh = 1;
  static constexpr bool kHasZero = false;

  static float Scale(const float* weights) {
    float sum = 0;
    for (int i = 0; i < kBlock; ++i) {
      sum += std::fabs(weights[i]);
    }
    return sum / static_cast<float>(kBlock);
  }

  static void Codes(const float* weights, float /*d*/, uint8_t* stored) {
    for (int i = 0; i < kBlock; ++i) {
      stored[i] = weights[i] >= 0;
    }
  }

  static void PackStored(const uint8_t* stored, uint8_t* bytes) {
    for (int j = 0; j < kBlock / 8; ++j) {
      int byte = 0;
      for (int i = 0; i < 8; ++i) {
        byte |= stored[8 * j + i] << i;
      }
      bytes[2 + j] = static_cast<uint8_t>(byte);
    }
  }

  static void UnpackStored(const uint8_t* bytes, uint8_t* stored) {
    for (int i = 0; i < kBlock; ++i) {
      stored[i] = (bytes[2 + i / 8] >> (i % 8)) & 1;
    }
  }
};

using Definition = ternary::ScaledCodes<Signs>;

}  // namespace

const BlockCodec kQ1_0Codec = {
    QuantType::kQ1_0,
    Signs::kBlock,
    /*unit=*/1,
    Definition::kRanges,
    /*uses_importance=*/false,
    /*error_budget=*/0.65f,
    &Definition::Fit,
    &Definition::Round,
    &Definition::Pack,
    &Definition::Unpack,
    &Definition::IsFinite,
    &Definition::Encode,
    &avx2::EncodeQ1_0,
    &avx512::EncodeQ1_0,
    &Definition::Decode,
    &avx2::DecodeQ1_0,
    &avx512::DecodeQ1_0,
};

}  // namespace narrow
