// Decoders of IQ3_XXS and IQ3_S: points become magnitudes by a table, a block
// at a time; then lanes hold neighbouring weights.

#include <cstdint>
#include <cstring>

#include "kernels/quant/iq3/fields.h"
#include "kernels/quant/iq3/layout.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq3_lanes {
namespace {

using iq3::IQ3_S;
using iq3::IQ3_XXS;
using iq3::kGroup;
using iq3::kGroups;
using iq3::kPoint;
using iq3::kPoints;
using iq3::kPointsPerGroup;
using iq3::kSuperBlock;

// What a group's weights have in common. 16, of which the first 8 count.
struct GroupFields {
  alignas(64) uint32_t signs[16];
  alignas(64) float unit[16];  // what a magnitude of 1 is worth
};

NARROW_LANE_FUNCTION void ReadGroups(IQ3_XXS, const uint8_t* bytes,
                                     GroupFields* groups) {
  uint32_t words[16] = {};
  std::memcpy(words, bytes + 2 + kPoints, 4 * kGroups);
  const F32 d = Splat(ScalarFromF16(bytes));
  I32 lanes;
  std::memcpy(&lanes, words, sizeof(lanes));
  const U32 word = AsUint(lanes);
  // Seven signs a byte, and their parity as the eighth.
  U32 signs = (word & 0x7f) | (word << 1 & 0x7f00) | (word << 2 & 0x7f0000) |
              (word << 3 & 0x7f000000);
  U32 parity = signs ^ signs >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  signs |= (parity & 0x01010101) << 7;
  std::memcpy(groups->signs, &signs, sizeof(signs));
  const F32 scale = ToFloat(reinterpret_cast<I32>(word >> 28));
  Store(d * (0.5f + scale) * 0.5f, groups->unit);
}

NARROW_LANE_FUNCTION void ReadGroups(IQ3_S, const uint8_t* bytes,
                                     GroupFields* groups) {
  const uint8_t* signs = bytes + 2 + kPoints + kPoints / 8;
  std::memcpy(groups->signs, signs, 4 * kGroups);
  uint32_t packed;
  std::memcpy(&packed, signs + 4 * kGroups, sizeof(packed));
  const F32 d = Splat(ScalarFromF16(bytes));
  // (Lanes from 8 on are not used; a shift by 32 would have no result.)
  const I32 lane = LaneNumbers() & 7;
  const I32 scale =
      reinterpret_cast<I32>(AsUint(SplatInt(static_cast<int32_t>(packed))) >>
                            AsUint(4 * lane)) &
      15;
  Store(d * ToFloat(1 + 2 * scale), groups->unit);
}

NARROW_LANE_FUNCTION uint32_t HighBits(IQ3_XXS, const uint8_t* /*bytes*/,
                                       int /*group*/) {
  return 0;
}

// Bit p: the high bit of the group's point p.
NARROW_LANE_FUNCTION uint32_t HighBits(IQ3_S, const uint8_t* bytes, int group) {
  return bytes[2 + kPoints + group];
}

template <class Type>
NARROW_LANE_FUNCTION void DecodeBlocks(const uint8_t* bytes, int64_t n_blocks,
                                       float* weights) {
  const uint32_t* table = PointMagnitudes(Type());
  for (int64_t block = 0; block < n_blocks; ++block) {
    GroupFields groups;
    ReadGroups(Type(), bytes, &groups);
    alignas(64) uint32_t magnitudes[kPoints];
    for (int g = 0; g < kGroups; ++g) {
      const uint32_t high = HighBits(Type(), bytes, g);
      for (int p = 0; p < kPointsPerGroup; ++p) {
        const int at = kPointsPerGroup * g + p;
        magnitudes[at] = table[bytes[2 + at] | (high << (8 - p) & 256)];
      }
    }
    const uint8_t* from = reinterpret_cast<const uint8_t*>(magnitudes);
    for (int g = 0; g < kGroups; ++g) {
      const F32 unit = Splat(groups.unit[g]);
      const I32 signs = SplatInt(static_cast<int32_t>(groups.signs[g]));
      for (int i = 0; i < kGroup; i += kLanes) {
        const int at = kGroup * g + i;
        const F32 value = unit * ToFloat(LoadBytes(from + at));
        // The weight's own sign bit on top.
        const I32 sign = signs << (31 - i - LaneNumbers());
        Store(AsFloat(AsInt(value) ^ (sign & INT32_MIN)), weights + at);
      }
    }
    bytes += Type::kBytes;
    weights += kSuperBlock;
  }
}

}  // namespace
}  // namespace iq3_lanes

void DecodeIQ3_XXS(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  iq3_lanes::DecodeBlocks<iq3::IQ3_XXS>(bytes, n_blocks, weights);
}

void DecodeIQ3_S(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  iq3_lanes::DecodeBlocks<iq3::IQ3_S>(bytes, n_blocks, weights);
}

}  // namespace NARROW_SIMD
}  // namespace narrow
