// TQ1_0, TQ2_0 and Q2_0, compiled once for each instruction set; the
// definitions are in tq1_0.cc, tq2_0.cc, q2_0.cc and scaled_codes.h.
//
// A lane is a weight. In a block of finite weights whose scale has a
// reciprocal every quotient lies within -1 … 1 but for its rounding, so two
// comparisons make a trit; any other block goes to the plain encoder.

#include <cstdint>

#include "kernels/quant/ternary/ternary_blocks.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

// Bits of the largest magnitude among kSize weights; an infinity or a NaN is
// above all numbers.
template <int kSize>
NARROW_LANE_FUNCTION int32_t LargestMagnitude(const float* weights) {
  I32 greatest = {};
  for (int i = 0; i < kSize; i += kLanes) {
    greatest = MaxInt(greatest, AsInt(Load(weights + i)) & 0x7fffffff);
  }
#if defined(__AVX512F__)
  const auto all = reinterpret_cast<__m512i>(greatest);
  const __m256i half =
      _mm256_max_epi32(_mm512_maskz_extracti64x4_epi64(0xf, all, 0),
                       _mm512_maskz_extracti64x4_epi64(0xf, all, 1));
#else
  const auto half = reinterpret_cast<__m256i>(greatest);
#endif
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(half),
                               _mm256_extracti128_si256(half, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return _mm_cvtsi128_si32(four);
}

// A block's scale from its largest magnitude's bits, if lanes can do it.
struct Scale {
  bool works;
  uint16_t half;
  float inverse;
};
NARROW_LANE_FUNCTION Scale ScaleOf(int32_t magnitude) {
  float d;
  __builtin_memcpy(&d, &magnitude, sizeof(d));
  Scale scale;
  // From 2^-126 up, where the reciprocal is finite, to the last number.
  scale.works =
      magnitude == 0 || (magnitude >= 0x00800000 && magnitude < 0x7f800000);
  scale.half = static_cast<uint16_t>(_cvtss_sh(d, _MM_FROUND_TO_NEAREST_INT));
  scale.inverse = magnitude == 0 ? 0.0f : 1.0f / d;
  return scale;
}

// Trits from 0: to nearest, halves away from zero.
NARROW_LANE_FUNCTION I32 Trits(F32 x, float inverse) {
  const F32 position = x * inverse;
  return 1 - (position >= 0.5f) + (position <= -0.5f);
}

NARROW_LANE_FUNCTION void StoreHalf(uint16_t half, uint8_t* to) {
  __builtin_memcpy(to, &half, sizeof(half));
}

// ceil(number * 256 / 243) of numbers below 243: the number and
// ceil(number * 13 / 243), by a reciprocal that is exact in that range.
NARROW_LANE_FUNCTION I32 FractionOf243(I32 number) {
  return number + (((number * 13 + 242) * 1079) >> 18);
}

// kBytes bytes of five trits each.
template <int kBytes>
NARROW_LANE_FUNCTION void StoreFives(const float* weights, float inverse,
                                     uint8_t* bytes) {
  for (int j = 0; j < kBytes; j += kLanes) {
    I32 number = {};
    for (int i = 0; i < 5; ++i) {
      number = number * 3 + Trits(Load(weights + i * kBytes + j), inverse);
    }
    StoreBytes(FractionOf243(number), bytes + j);
  }
}

// The last four bytes, of four trits each.
NARROW_LANE_FUNCTION void StoreFours(const float* weights, float inverse,
                                     uint8_t* bytes) {
  uint8_t trits[16];
  for (int i = 0; i < 16; i += kLanes) {
    StoreBytes(Trits(Load(weights + i), inverse), trits + i);
  }
  uint32_t words[4];
  __builtin_memcpy(words, trits, sizeof(words));
  // Four sums at once: none exceeds its byte.
  const uint32_t numbers =
      (((words[0] * 3 + words[1]) * 3 + words[2]) * 3 + words[3]) * 3;
  for (int j = 0; j < 4; ++j) {
    const uint32_t number = (numbers >> (8 * j)) & 255;
    bytes[j] = static_cast<uint8_t>((number * 256 + 242) / 243);
  }
}

// kBytes bytes to kTrits trits each.
template <int kBytes, int kTrits>
NARROW_LANE_FUNCTION void LoadTrits(const uint8_t* bytes, float d,
                                    float* weights) {
  for (int j = 0; j < kBytes; j += kLanes) {
    I32 rest = LoadBytes(bytes + j);
    for (int i = 0; i < kTrits; ++i) {
      rest = (rest & 255) * 3;
      Store(ToFloat((rest >> 8) - 1) * d, weights + i * kBytes + j);
    }
  }
}

// The last sixteen weights: trit i of byte j is weight 4 * i + j.
NARROW_LANE_FUNCTION void LoadFours(const uint8_t* bytes, float d,
                                    float* weights) {
  constexpr int32_t kPowers[16] = {1, 1, 1, 1, 3,  3,  3,  3,
                                   9, 9, 9, 9, 27, 27, 27, 27};
  int32_t word;
  __builtin_memcpy(&word, bytes, sizeof(word));
  for (int i = 0; i < 16; i += kLanes) {
    I32 power;
    __builtin_memcpy(&power, kPowers + i, sizeof(power));
    const I32 byte = (SplatInt(word) >> ((LaneNumbers() & 3) * 8)) & 255;
    const I32 trit = (((byte * power) & 255) * 3) >> 8;
    Store(ToFloat(trit - 1) * d, weights + i);
  }
}

// kLanes neighbours' codes of two bits from 0, from a word that begins with
// the first of them.
NARROW_LANE_FUNCTION I32 TwoBitCodes(uint32_t word) {
  return (SplatInt(static_cast<int32_t>(word)) >> (LaneNumbers() * 2)) & 3;
}

}  // namespace

void EncodeTQ1_0(const float* weights, int64_t n_rows, int64_t n_cols,
                 const float* /*importance*/, uint8_t* bytes) {
  const int64_t n_blocks = n_rows * n_cols / ternary::kTq1Block;
  for (int64_t b = 0; b < n_blocks; ++b) {
    const Scale scale = ScaleOf(LargestMagnitude<ternary::kTq1Block>(weights));
    if (scale.works) {
      StoreFives<32>(weights, scale.inverse, bytes);
      StoreFives<16>(weights + 160, scale.inverse, bytes + 32);
      StoreFours(weights + 240, scale.inverse, bytes + 48);
      StoreHalf(scale.half, bytes + 52);
    } else {
      ternary::EncodeTq1Block(weights, bytes);
    }
    weights += ternary::kTq1Block;
    bytes += ternary::kTq1Bytes;
  }
}

void EncodeTQ2_0(const float* weights, int64_t n_rows, int64_t n_cols,
                 const float* /*importance*/, uint8_t* bytes) {
  const int64_t n_blocks = n_rows * n_cols / ternary::kTq2Block;
  for (int64_t b = 0; b < n_blocks; ++b) {
    const Scale scale = ScaleOf(LargestMagnitude<ternary::kTq2Block>(weights));
    if (scale.works) {
      for (int j = 0; j < ternary::kTq2Block / 4; j += kLanes) {
        const float* four = weights + j / 32 * 128 + j % 32;
        I32 byte = {};
        for (int i = 0; i < 4; ++i) {
          byte |= Trits(Load(four + 32 * i), scale.inverse) << (2 * i);
        }
        StoreBytes(byte, bytes + j);
      }
      StoreHalf(scale.half, bytes + 64);
    } else {
      ternary::EncodeTq2Block(weights, bytes);
    }
    weights += ternary::kTq2Block;
    bytes += ternary::kTq2Bytes;
  }
}

void EncodeQ2_0(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* /*importance*/, uint8_t* bytes) {
  constexpr int kSize = ternary::kTwoBitBlock;
  const int64_t n_blocks = n_rows * n_cols / kSize;
  // Four neighbours' codes to a byte, in two steps.
  const __m128i pairs = _mm_set1_epi16(0x0401);
  const __m128i fours = _mm_set1_epi32(0x00100001);
  for (int64_t b = 0; b < n_blocks; ++b) {
    const Scale scale = ScaleOf(LargestMagnitude<kSize>(weights));
    if (scale.works) {
      uint8_t codes[kSize];
      for (int i = 0; i < kSize; i += kLanes) {
        StoreBytes(Trits(Load(weights + i), scale.inverse), codes + i);
      }
      __m128i words[4];
      for (int i = 0; i < 4; ++i) {
        words[i] = _mm_madd_epi16(
            _mm_maddubs_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(
                                  codes + 16 * i)),
                              pairs),
            fours);
      }
      StoreHalf(scale.half, bytes);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + 2),
                       _mm_packus_epi16(_mm_packus_epi32(words[0], words[1]),
                                        _mm_packus_epi32(words[2], words[3])));
    } else {
      ternary::EncodeTwoBitBlock(weights, bytes);
    }
    weights += kSize;
    bytes += ternary::kTwoBitBytes;
  }
}

void DecodeTQ1_0(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float d = ScalarFromF16(bytes + 52);
    LoadTrits<32, 5>(bytes, d, weights);
    LoadTrits<16, 5>(bytes + 32, d, weights + 160);
    LoadFours(bytes + 48, d, weights + 240);
    bytes += ternary::kTq1Bytes;
    weights += ternary::kTq1Block;
  }
}

void DecodeTQ2_0(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float d = ScalarFromF16(bytes + 64);
    for (int j = 0; j < ternary::kTq2Block / 4; j += kLanes) {
      float* four = weights + j / 32 * 128 + j % 32;
      const I32 byte = LoadBytes(bytes + j);
      for (int i = 0; i < 4; ++i) {
        Store(ToFloat(((byte >> (2 * i)) & 3) - 1) * d, four + 32 * i);
      }
    }
    bytes += ternary::kTq2Bytes;
    weights += ternary::kTq2Block;
  }
}

void DecodeQ2_0(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float d = ScalarFromF16(bytes);
    uint32_t words[4];
    __builtin_memcpy(words, bytes + 2, sizeof(words));
    for (int i = 0; i < ternary::kTwoBitBlock; i += kLanes) {
      const I32 codes = TwoBitCodes(words[i / 16] >> (i % 16 * 2));
      Store(ToFloat(codes - 1) * d, weights + i);
    }
    bytes += ternary::kTwoBitBytes;
    weights += ternary::kTwoBitBlock;
  }
}

}  // namespace NARROW_SIMD
}  // namespace narrow
