// Decoders in lanes: codes are unpacked to bytes, then become weights, kLanes
// neighbours at a time.

#include <cstdint>
#include <cstring>

#include "kernels/quant/k/code_planes.h"
#include "kernels/quant/k/super_block.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace k_lanes {
namespace {

using k_quants::kSuperBlock;

// The products of a super-block's units and the scales, and minima, of its
// sub-blocks. The integers are read as by UnpackScales, four to a word.
struct Products {
  float scale[16];
  float low[16];
};

NARROW_LANE_FUNCTION __m128i Load16(const uint8_t* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

// `stored`: sixteen bytes, `offset` above the integers. Built in a register:
// a load that spans several narrower stores would wait for them.
NARROW_LANE_FUNCTION void Multiply(float unit, __m128i stored, int offset,
                                   float* products) {
  uint8_t bytes[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), stored);
  for (int g = 0; g < 16; g += kLanes) {
    Store(unit * ToFloat(LoadBytes(bytes + g) - offset), products + g);
  }
}

NARROW_LANE_FUNCTION void ReadProducts(k_quants::Q2_K, const uint8_t* bytes,
                                       Products* products) {
  const __m128i packed = Load16(bytes);
  const __m128i nibble = _mm_set1_epi8(15);
  Multiply(ScalarFromF16(bytes + 80), _mm_and_si128(packed, nibble), 0,
           products->scale);
  Multiply(ScalarFromF16(bytes + 82),
           _mm_and_si128(_mm_srli_epi16(packed, 4), nibble), 0, products->low);
}

NARROW_LANE_FUNCTION void ReadProducts(k_quants::Q3_K, const uint8_t* bytes,
                                       Products* products) {
  uint32_t packed[3];
  std::memcpy(packed, bytes + 96, sizeof(packed));
  int scales[4];
  for (int i = 0; i < 4; ++i) {
    scales[i] =
        static_cast<int>(((packed[i % 2] >> (4 * (i / 2))) & 0x0f0f0f0f) |
                         (((packed[2] >> (2 * i)) & 0x03030303) << 4));
  }
  Multiply(ScalarFromF16(bytes + 108),
           _mm_set_epi32(scales[3], scales[2], scales[1], scales[0]), 32,
           products->scale);
}

NARROW_LANE_FUNCTION void ReadProducts(k_quants::Q4_K, const uint8_t* bytes,
                                       Products* products) {
  uint32_t packed[3];
  std::memcpy(packed, bytes + 4, sizeof(packed));
  // The last four of each are split over two words.
  const uint32_t last_scales =
      (packed[2] & 0x0f0f0f0f) | ((packed[0] >> 2) & 0x30303030);
  const uint32_t last_mins =
      ((packed[2] >> 4) & 0x0f0f0f0f) | ((packed[1] >> 2) & 0x30303030);
  Multiply(ScalarFromF16(bytes),
           _mm_set_epi32(0, 0, static_cast<int>(last_scales),
                         static_cast<int>(packed[0] & 0x3f3f3f3f)),
           0, products->scale);
  Multiply(ScalarFromF16(bytes + 2),
           _mm_set_epi32(0, 0, static_cast<int>(last_mins),
                         static_cast<int>(packed[1] & 0x3f3f3f3f)),
           0, products->low);
}

NARROW_LANE_FUNCTION void ReadProducts(k_quants::Q5_K, const uint8_t* bytes,
                                       Products* products) {
  ReadProducts(k_quants::Q4_K(), bytes, products);
}

NARROW_LANE_FUNCTION void ReadProducts(k_quants::Q6_K, const uint8_t* bytes,
                                       Products* products) {
  // Two's complement, made an offset.
  Multiply(ScalarFromF16(bytes + 208),
           _mm_xor_si128(Load16(bytes + 192), _mm_set1_epi8(-128)), 128,
           products->scale);
}

// `kStoredOffset`: what the stored code exceeds the code by. kMinima: whether
// the type has them.
template <class Type, int kStoredOffset, bool kMinima>
void DecodeBlocks(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  constexpr int kSubBlocks = kSuperBlock / Type::kSubBlock;
  for (int64_t block = 0; block < n_blocks; ++block) {
    Products products;
    ReadProducts(Type(), bytes, &products);
    uint8_t codes[kSuperBlock];
    UnpackCodes(Type(), bytes, codes);
    for (int g = 0; g < kSubBlocks; ++g) {
      const F32 scale = Splat(products.scale[g]);
      for (int i = 0; i < Type::kSubBlock; i += kLanes) {
        const I32 code =
            LoadBytes(codes + g * Type::kSubBlock + i) - kStoredOffset;
        F32 value = scale * ToFloat(code);
        if constexpr (kMinima) {
          value -= Splat(products.low[g]);
        }
        Store(value, weights + g * Type::kSubBlock + i);
      }
    }
    bytes += Type::kBytes;
    weights += kSuperBlock;
  }
}

}  // namespace
}  // namespace k_lanes

void DecodeQ2_K(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  k_lanes::DecodeBlocks<k_quants::Q2_K, 0, true>(bytes, n_blocks, weights);
}

void DecodeQ3_K(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  k_lanes::DecodeBlocks<k_quants::Q3_K, k_quants::Q3_K::kCodeHalf, false>(
      bytes, n_blocks, weights);
}

void DecodeQ4_K(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  k_lanes::DecodeBlocks<k_quants::Q4_K, 0, true>(bytes, n_blocks, weights);
}

void DecodeQ5_K(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  k_lanes::DecodeBlocks<k_quants::Q5_K, 0, true>(bytes, n_blocks, weights);
}

void DecodeQ6_K(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  k_lanes::DecodeBlocks<k_quants::Q6_K, k_quants::Q6_K::kCodeHalf, false>(
      bytes, n_blocks, weights);
}

}  // namespace NARROW_SIMD
}  // namespace narrow
