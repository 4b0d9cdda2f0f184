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

// `stored`: sixteen bytes, `offset` above the integers.
NARROW_LANE_FUNCTION void Multiply(float unit, const void* stored, int offset,
                                   float* products) {
  const uint8_t* bytes = static_cast<const uint8_t*>(stored);
  for (int g = 0; g < 16; g += kLanes) {
    Store(unit * ToFloat(LoadBytes(bytes + g) - offset), products + g);
  }
}

// Four bits of each of sixteen bytes, as words of four.
NARROW_LANE_FUNCTION void ReadProducts(k_quants::Q2_K, const uint8_t* bytes,
                                       Products* products) {
  uint32_t scales[4], mins[4];
  std::memcpy(scales, bytes, sizeof(scales));
  for (int i = 0; i < 4; ++i) {
    mins[i] = (scales[i] >> 4) & 0x0f0f0f0f;
    scales[i] &= 0x0f0f0f0f;
  }
  Multiply(ScalarFromF16(bytes + 80), scales, 0, products->scale);
  Multiply(ScalarFromF16(bytes + 82), mins, 0, products->low);
}

NARROW_LANE_FUNCTION void ReadProducts(k_quants::Q3_K, const uint8_t* bytes,
                                       Products* products) {
  uint32_t packed[3];
  std::memcpy(packed, bytes + 96, sizeof(packed));
  uint32_t scales[4];
  for (int i = 0; i < 4; ++i) {
    scales[i] = ((packed[i % 2] >> (4 * (i / 2))) & 0x0f0f0f0f) |
                (((packed[2] >> (2 * i)) & 0x03030303) << 4);
  }
  Multiply(ScalarFromF16(bytes + 108), scales, 32, products->scale);
}

NARROW_LANE_FUNCTION void ReadProducts(k_quants::Q4_K, const uint8_t* bytes,
                                       Products* products) {
  uint32_t packed[3];
  std::memcpy(packed, bytes + 4, sizeof(packed));
  const uint32_t scales[4] = {
      packed[0] & 0x3f3f3f3f,
      (packed[2] & 0x0f0f0f0f) | ((packed[0] >> 2) & 0x30303030), 0, 0};
  const uint32_t mins[4] = {
      packed[1] & 0x3f3f3f3f,
      ((packed[2] >> 4) & 0x0f0f0f0f) | ((packed[1] >> 2) & 0x30303030), 0, 0};
  Multiply(ScalarFromF16(bytes), scales, 0, products->scale);
  Multiply(ScalarFromF16(bytes + 2), mins, 0, products->low);
}

NARROW_LANE_FUNCTION void ReadProducts(k_quants::Q5_K, const uint8_t* bytes,
                                       Products* products) {
  ReadProducts(k_quants::Q4_K(), bytes, products);
}

NARROW_LANE_FUNCTION void ReadProducts(k_quants::Q6_K, const uint8_t* bytes,
                                       Products* products) {
  // Two's complement, made an offset.
  uint32_t scales[4];
  std::memcpy(scales, bytes + 192, sizeof(scales));
  for (int i = 0; i < 4; ++i) {
    scales[i] ^= 0x80808080;
  }
  Multiply(ScalarFromF16(bytes + 208), scales, 128, products->scale);
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
