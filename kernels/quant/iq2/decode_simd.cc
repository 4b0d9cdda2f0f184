// The IQ2 decoders: two units at a time become sixteen signed bytes by
// tables, and these weights.

#include <cstdint>
#include <cstring>

#include "kernels/quant/iq2/block.h"
#include "kernels/quant/iq2/decode_tables.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace iq2_lanes {
namespace {

using iq2::DecodeTables;
using iq2::Iq2S;
using iq2::Iq2Xs;
using iq2::Iq2Xxs;
using iq2::kSuperBlock;

// Where a unit's bytes are in the tables.
struct UnitPlace {
  uint32_t point;
  uint32_t signs;
};

// Reads a number of the host's, little-endian as the file's.
template <typename Number>
NARROW_LANE_FUNCTION Number Read(const uint8_t* bytes) {
  Number number;
  std::memcpy(&number, bytes, sizeof(number));
  return number;
}

NARROW_LANE_FUNCTION UnitPlace PlaceOf(Iq2Xxs, const uint8_t* bytes, int u) {
  const uint8_t* group = bytes + 2 + u / 4 * 8;
  const uint32_t word = Read<uint32_t>(group + 4);
  return {group[u % 4], (word >> (7 * (u % 4))) & 127};
}

NARROW_LANE_FUNCTION UnitPlace PlaceOf(Iq2Xs, const uint8_t* bytes, int u) {
  const uint32_t word = Read<uint16_t>(bytes + 2 + 2 * u);
  return {word & 511, word >> 9};
}

NARROW_LANE_FUNCTION UnitPlace PlaceOf(Iq2S, const uint8_t* bytes, int u) {
  const uint32_t high = (bytes[66 + u / 4] >> (2 * (u % 4))) & 3u;
  return {bytes[2 + u] | high << 8, bytes[34 + u]};
}

// What a magnitude of 1 is worth, for each pair of units.
NARROW_LANE_FUNCTION void ReadUnits(Iq2Xxs, const uint8_t* bytes,
                                    float* units) {
  const float d = ScalarFromF16(bytes) * 0.25f;
  for (int g = 0; g < 8; ++g) {
    const int scale = bytes[2 + 8 * g + 7] >> 4;
    units[2 * g] = units[2 * g + 1] = d * (0.5f + static_cast<float>(scale));
  }
}

// Sixteen scales of four bits.
NARROW_LANE_FUNCTION void ReadUnits(const uint8_t* bytes, const uint8_t* packed,
                                    float* units) {
  const __m128i low_first = _mm_set1_epi8(15);
  const __m128i pairs =
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed));
  uint8_t scales[16];
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(scales),
      _mm_and_si128(_mm_unpacklo_epi8(pairs, _mm_srli_epi16(pairs, 4)),
                    low_first));
  const F32 d = Splat(ScalarFromF16(bytes) * 0.25f);
  for (int g = 0; g < 16; g += kLanes) {
    Store(d * (Splat(0.5f) + ToFloat(LoadBytes(scales + g))), units + g);
  }
}
NARROW_LANE_FUNCTION void ReadUnits(Iq2Xs, const uint8_t* bytes, float* units) {
  ReadUnits(bytes, bytes + 66, units);
}
NARROW_LANE_FUNCTION void ReadUnits(Iq2S, const uint8_t* bytes, float* units) {
  ReadUnits(bytes, bytes + 74, units);
}

// Eight bytes each of a and b.
NARROW_LANE_FUNCTION __m128i LoadPair(const uint64_t* a, const uint64_t* b) {
  return _mm_castps_si128(_mm_loadh_pi(
      _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(a))),
      reinterpret_cast<const __m64*>(b)));
}

NARROW_LANE_FUNCTION void StoreWeights(__m128i bytes, float unit, float* to) {
#if defined(__AVX512F__)
  Store(Splat(unit) * ToFloat(reinterpret_cast<I32>(
                          _mm512_maskz_cvtepi8_epi32(0xffff, bytes))),
        to);
#else
  Store(
      Splat(unit) * ToFloat(reinterpret_cast<I32>(_mm256_cvtepi8_epi32(bytes))),
      to);
  Store(Splat(unit) * ToFloat(reinterpret_cast<I32>(
                          _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))),
        to + kLanes);
#endif
}

template <class Type>
NARROW_LANE_FUNCTION void DecodeBlocks(const uint8_t* bytes, int64_t n_blocks,
                                       float* weights) {
  const DecodeTables tables = TablesOf(Type());
  for (int64_t b = 0; b < n_blocks; ++b, bytes += Type::kBytes) {
    alignas(64) float units[16];
    ReadUnits(Type(), bytes, units);
#pragma GCC unroll 4
    for (int pair = 0; pair < kSuperBlock / 16; ++pair) {
      const UnitPlace first = PlaceOf(Type(), bytes, 2 * pair);
      const UnitPlace second = PlaceOf(Type(), bytes, 2 * pair + 1);
      const __m128i magnitudes = LoadPair(tables.magnitudes + first.point,
                                          tables.magnitudes + second.point);
      const __m128i signs =
          LoadPair(tables.signs + first.signs, tables.signs + second.signs);
      StoreWeights(_mm_sign_epi8(magnitudes, signs), units[pair],
                   weights + 16 * pair);
    }
    weights += kSuperBlock;
  }
}

}  // namespace
}  // namespace iq2_lanes

void DecodeIQ2_XXS(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  iq2_lanes::DecodeBlocks<iq2::Iq2Xxs>(bytes, n_blocks, weights);
}

void DecodeIQ2_XS(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  iq2_lanes::DecodeBlocks<iq2::Iq2Xs>(bytes, n_blocks, weights);
}

void DecodeIQ2_S(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  iq2_lanes::DecodeBlocks<iq2::Iq2S>(bytes, n_blocks, weights);
}

}  // namespace NARROW_SIMD
}  // namespace narrow
