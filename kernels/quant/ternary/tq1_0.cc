// TQ1_0: trits, five in a byte, weight = d * (trit - 1).
//
//   bytes  weights
//   0-31   0-159: byte j holds those of j, j + 32, … j + 128
//   32-47  160-239: byte 32 + j holds those of 160 + j, 160 + j + 16, …
//   48-51  240-255: byte 48 + j holds those of 240 + j, 240 + j + 4, …, four
//   52-53  d, half precision
//
// 256 weights in 54 bytes, little-endian, frozen. Five trits make a number
// v = t0 * 81 + t1 * 27 + t2 * 9 + t3 * 3 + t4 < 243 (t4 = 0 where there are
// four), stored as ceil(v * 256 / 243). Read as a fraction of 256 it begins
// with the digit t0 in base 3: three times the byte, divided by 256. The
// byte times 3^i, what overflows dropped, begins with ti. ggml takes no
// importance here.

#include <cstdint>

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/ternary/scaled_codes.h"
#include "kernels/quant/ternary/ternary_blocks.h"

namespace narrow {
namespace {

struct Tq1 {
  static constexpr int kBlock = ternary::kTq1Block;
  static constexpr int kBytes = ternary::kTq1Bytes;
  static constexpr int kScaleAt = 52;
  static constexpr int kHigh = 1;
  static constexpr bool kHasZero = true;

  // Runs of bytes that share a stride between their trits.
  struct Run {
    int n_bytes;
    int n_trits;
  };
  static constexpr Run kRuns[] = {{32, 5}, {16, 5}, {4, 4}};

  static float Scale(const float* weights) {
    return ternary::MagnitudeSinceNaN(weights, kBlock);
  }

  static void Codes(const float* weights, float d, uint8_t* stored) {
    ternary::RoundToTrits(weights, d, kBlock, stored);
  }

  static void PackStored(const uint8_t* stored, uint8_t* bytes) {
    for (const Run& run : kRuns) {
      for (int j = 0; j < run.n_bytes; ++j) {
        uint8_t number = 0;
        for (int i = 0; i < 5; ++i) {
          const uint8_t trit =
              i < run.n_trits ? stored[j + i * run.n_bytes] : uint8_t{0};
          number = static_cast<uint8_t>(number * 3 + trit);
        }
        *bytes++ = static_cast<uint8_t>((number * 256 + 242) / 243);
      }
      stored += run.n_bytes * run.n_trits;
    }
  }

  static void UnpackStored(const uint8_t* bytes, uint8_t* stored) {
    for (const Run& run : kRuns) {
      for (int j = 0; j < run.n_bytes; ++j) {
        uint8_t rest = *bytes++;
        for (int i = 0; i < run.n_trits; ++i) {
          stored[j + i * run.n_bytes] = static_cast<uint8_t>(rest * 3 >> 8);
          rest = static_cast<uint8_t>(rest * 3);
        }
      }
      stored += run.n_bytes * run.n_trits;
    }
  }
};

using Definition = ternary::ScaledCodes<Tq1>;

}  // namespace

namespace ternary {

void EncodeTq1Block(const float* weights, uint8_t* bytes) {
  Definition::EncodeBlock(weights, bytes);
}

}  // namespace ternary

const BlockCodec kTQ1_0Codec = {
    QuantType::kTQ1_0,
    Tq1::kBlock,
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
    &avx2::EncodeTQ1_0,
    &avx512::EncodeTQ1_0,
    &Definition::Decode,
    &avx2::DecodeTQ1_0,
    &avx512::DecodeTQ1_0,
};

}  // namespace narrow
