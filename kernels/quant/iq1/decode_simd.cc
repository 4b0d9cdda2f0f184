// The IQ1 decoders. A group has three values, so its scale is multiplied with
// these alone; a weight is looked up among them by two bits of its octet's
// point. (All products are exact.)

#include <cstdint>

#include "kernels/quant/iq1/groups.h"
#include "kernels/quant/iq1/near_lists.h"
#include "kernels/quant/iq1/near_search_lanes.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq1_lanes {
namespace {

using iq1::IQ1_M;
using iq1::IQ1_S;
using iq1::kBlock;
using iq1::kDown;
using iq1::kOctet;
using iq1::kUp;

NARROW_LANE_FUNCTION uint32_t LoadHalfWord(const uint8_t* bytes) {
  return static_cast<uint32_t>(bytes[0] | bytes[1] << 8);
}

// Values of the levels for two octets side by side, by their shifts as of
// IQ1_M; only the first in the lower lanes where there are but eight.
struct LevelValues {
  F32 of_shifts[4];
};

NARROW_LANE_FUNCTION LevelValues MakeLevelValues() {
  const F32 up = Repeat4(_mm_set_ps(0.0f, kUp[2], kUp[1], kUp[0]));
  const F32 down = Repeat4(_mm_set_ps(0.0f, kDown[2], kDown[1], kDown[0]));
  const I32 second = LaneNumbers() >= kOctet;
  LevelValues values;
  values.of_shifts[0] = up;
  values.of_shifts[1] = Select(second, down, up);
  values.of_shifts[2] = Select(second, up, down);
  values.of_shifts[3] = down;
  return values;
}

// Two octets.
NARROW_LANE_FUNCTION void DecodePair(const LevelValues& values, float scale,
                                     uint32_t shifts, int32_t first,
                                     int32_t second, float* weights) {
  const I32 places = (LaneNumbers() & 15) * 2;
#if defined(__AVX512F__)
  Store(Lookup4(scale * values.of_shifts[shifts],
                SplatInt(first | second << 16) >> places),
        weights);
#else
  Store(Lookup4(scale * values.of_shifts[shifts & 2 ? 3 : 0],
                SplatInt(first) >> places),
        weights);
  Store(Lookup4(scale * values.of_shifts[shifts & 1 ? 3 : 0],
                SplatInt(second) >> places),
        weights + kOctet);
#endif
}

NARROW_LANE_FUNCTION float ScaleOf(float d, uint32_t stored) {
  return d * static_cast<float>(2 * stored + 1);
}

}  // namespace
}  // namespace iq1_lanes

// The bytes are those of iq1_s.cc.
void DecodeIQ1_S(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  using namespace iq1_lanes;
  const int32_t* levels = iq1::Iq1NearLists().point_levels;
  const LevelValues values = MakeLevelValues();
  for (int64_t block = 0; block < n_blocks; ++block) {
    const float d = ScalarFromF16(bytes);
    for (int g = 0; g < kBlock / IQ1_S::kGroup; ++g) {
      const uint8_t* low = bytes + 2 + 4 * g;
      const uint32_t field = LoadHalfWord(bytes + 34 + 2 * g);
      const float scale = ScaleOf(d, field >> 12 & 7);
      const uint32_t shifts = field >> 15 ? 3 : 0;
      for (int o = 0; o < 4; o += 2) {
        const uint32_t high = field >> (3 * o);
        DecodePair(values, scale, shifts, levels[low[o] | (high & 7) << 8],
                   levels[low[o + 1] | (high >> 3 & 7) << 8], weights);
        weights += 2 * kOctet;
      }
    }
    bytes += IQ1_S::kBytes;
  }
}

// The bytes are those of iq1_m.cc.
void DecodeIQ1_M(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  using namespace iq1_lanes;
  const int32_t* levels = iq1::Iq1NearLists().point_levels;
  const LevelValues values = MakeLevelValues();
  for (int64_t block = 0; block < n_blocks; ++block) {
    uint32_t words[4];
    uint32_t half = 0;
    for (int i = 0; i < 4; ++i) {
      words[i] = LoadHalfWord(bytes + 48 + 2 * i);
      half |= words[i] >> 12 << (4 * i);
    }
    const float d = ScalarFromF16(static_cast<uint16_t>(half));
    for (int g = 0; g < kBlock / IQ1_M::kGroup; ++g) {
      const uint32_t field = bytes[32 + g];
      DecodePair(values, ScaleOf(d, words[g / 4] >> (3 * (g % 4)) & 7),
                 (field >> 3 & 1) << 1 | field >> 7,
                 levels[bytes[2 * g] | (field & 7) << 8],
                 levels[bytes[2 * g + 1] | (field >> 4 & 7) << 8], weights);
      weights += 2 * kOctet;
    }
    bytes += IQ1_M::kBytes;
  }
}

}  // namespace NARROW_SIMD
}  // namespace narrow
