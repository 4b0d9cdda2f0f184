// IQ1_S: 1.5625 bits a weight, one scale and one shift for each 32.
//
//   bytes  field
//   0-1    d, half precision
//   2-33   points: the low eight bits of octet 0 … 31
//   34-49  groups 0 … 7, two bytes each:
//            bits 0-11   the high three bits of its four octets' points
//            bits 12-14  scale
//            bit 15      shift: 0 up, 1 down
//
// weight = d * (2 * scale + 1) * (level - 1 + shift), see groups.h. 256
// weights in 50 bytes, little-endian, frozen.

#include "kernels/quant/codec_variants.h"
#include "kernels/quant/iq1/codec_parts.h"

namespace narrow {
namespace iq1 {
namespace {

constexpr int kPoints = 2;
constexpr int kGroupFields = kPoints + kOctets;
static_assert(kGroupFields + 2 * (kBlock / IQ1_S::kGroup) == IQ1_S::kBytes &&
                  IQ1_S::kBytes == 50,
              "IQ1_S's block is frozen");

}  // namespace

void StoreGroups(IQ1_S, const Groups& groups, uint8_t* bytes) {
  StoreHalf(groups.d, bytes);
  for (int g = 0; g < kBlock / IQ1_S::kGroup; ++g) {
    uint32_t field = static_cast<uint32_t>(groups.scales[g]) << 12 |
                     static_cast<uint32_t>(groups.shifts[g]) << 15;
    for (int o = 0; o < 4; ++o) {
      const uint32_t point = groups.points[4 * g + o];
      bytes[kPoints + 4 * g + o] = static_cast<uint8_t>(point);
      field |= point >> 8 << (3 * o);
    }
    bytes[kGroupFields + 2 * g] = static_cast<uint8_t>(field);
    bytes[kGroupFields + 2 * g + 1] = static_cast<uint8_t>(field >> 8);
  }
}

void LoadGroups(IQ1_S, const uint8_t* bytes, Groups* groups) {
  groups->d = LoadHalf(bytes);
  for (int g = 0; g < kBlock / IQ1_S::kGroup; ++g) {
    const int field =
        bytes[kGroupFields + 2 * g] | bytes[kGroupFields + 2 * g + 1] << 8;
    groups->scales[g] = field >> 12 & 7;
    groups->shifts[g] = field >> 15;
    for (int o = 0; o < 4; ++o) {
      groups->points[4 * g + o] = static_cast<uint16_t>(
          bytes[kPoints + 4 * g + o] | (field >> (3 * o) & 7) << 8);
    }
  }
}

void EncodePlainly(IQ1_S, const float* x, const float* importance,
                   uint8_t* bytes) {
  Groups groups;
  FitGroups(IQ1_S(), x, importance, &groups);
  StoreGroups(IQ1_S(), groups, bytes);
}

}  // namespace iq1

const BlockCodec kIQ1_SCodec = iq1::MakeCodec<iq1::IQ1_S>(
    QuantType::kIQ1_S, /*error_budget=*/0.5f, avx2::EncodeIQ1_S,
    avx512::EncodeIQ1_S, avx2::DecodeIQ1_S, avx512::DecodeIQ1_S,
    /*requires_importance=*/true);

}  // namespace narrow
