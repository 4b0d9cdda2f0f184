// IQ1_M: 1.75 bits a weight, a scale for each 16 and a shift for each 8.
//
//   bytes  field
//   0-31   points: the low eight bits of octet 0 … 31
//   32-47  groups 0 … 15, a byte each, a nibble an octet, the first low:
//            bits 0-2  the high three bits of the octet's point
//            bit 3     the octet's shift: 0 up, 1 down
//   48-55  four words of two bytes: four groups each, then a part of d
//            bits 0-2, 3-5, 6-8, 9-11  scales
//            bits 12-15                four bits of d, the lowest first
//
// weight = d * (2 * scale + 1) * (level - 1 + shift), see groups.h; d is a
// half-precision number. 256 weights in 56 bytes, little-endian, frozen.

#include "formats/base/float16.h"
#include "kernels/quant/codec_variants.h"
#include "kernels/quant/iq1/codec_parts.h"

namespace narrow {
namespace iq1 {
namespace {

constexpr int kGroupFields = kOctets;
constexpr int kScaleWords = kGroupFields + kBlock / IQ1_M::kGroup;
static_assert(kScaleWords + 8 == IQ1_M::kBytes && IQ1_M::kBytes == 56,
              "IQ1_M's block is frozen");

}  // namespace

void StoreGroups(IQ1_M, const Groups& groups, uint8_t* bytes) {
  const uint32_t d = F16FromFloat(groups.d);
  uint32_t words[4];
  for (int i = 0; i < 4; ++i) {
    words[i] = (d >> (4 * i) & 15) << 12;
  }
  for (int g = 0; g < kBlock / IQ1_M::kGroup; ++g) {
    const uint32_t shift = static_cast<uint32_t>(groups.shifts[g]);
    const uint32_t first = groups.points[2 * g];
    const uint32_t second = groups.points[2 * g + 1];
    bytes[2 * g] = static_cast<uint8_t>(first);
    bytes[2 * g + 1] = static_cast<uint8_t>(second);
    bytes[kGroupFields + g] = static_cast<uint8_t>(
        first >> 8 | (shift >> 1) << 3 | (second >> 8) << 4 | (shift & 1) << 7);
    words[g / 4] |= static_cast<uint32_t>(groups.scales[g]) << (3 * (g % 4));
  }
  for (int i = 0; i < 4; ++i) {
    bytes[kScaleWords + 2 * i] = static_cast<uint8_t>(words[i]);
    bytes[kScaleWords + 2 * i + 1] = static_cast<uint8_t>(words[i] >> 8);
  }
}

void LoadGroups(IQ1_M, const uint8_t* bytes, Groups* groups) {
  uint32_t d = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t word = LoadHalfBits(bytes + kScaleWords + 2 * i);
    d |= word >> 12 << (4 * i);
    for (int g = 0; g < 4; ++g) {
      groups->scales[4 * i + g] = static_cast<int>(word >> (3 * g) & 7);
    }
  }
  groups->d = FloatFromF16(static_cast<uint16_t>(d));
  for (int g = 0; g < kBlock / IQ1_M::kGroup; ++g) {
    const int field = bytes[kGroupFields + g];
    groups->shifts[g] = (field >> 3 & 1) << 1 | field >> 7;
    groups->points[2 * g] =
        static_cast<uint16_t>(bytes[2 * g] | (field & 7) << 8);
    groups->points[2 * g + 1] =
        static_cast<uint16_t>(bytes[2 * g + 1] | (field >> 4 & 7) << 8);
  }
}

void EncodePlainly(IQ1_M, const float* x, const float* importance,
                   uint8_t* bytes) {
  Groups groups;
  FitGroups(IQ1_M(), x, importance, &groups);
  StoreGroups(IQ1_M(), groups, bytes);
}

}  // namespace iq1

const BlockCodec kIQ1_MCodec = iq1::MakeCodec<iq1::IQ1_M>(
    QuantType::kIQ1_M, /*error_budget=*/0.58f, avx2::EncodeIQ1_M,
    avx512::EncodeIQ1_M, avx2::DecodeIQ1_M, avx512::DecodeIQ1_M,
    /*requires_importance=*/false);

}  // namespace narrow
