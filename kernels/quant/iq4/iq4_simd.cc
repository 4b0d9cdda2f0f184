// IQ4_NL and IQ4_XS, compiled once for each instruction set; the definitions
// are in iq4_nl.cc, iq4_xs.cc and reference.cc.
//
// Encoders: a lane is a block (IQ4_NL) or a super-block (IQ4_XS), neighbours
// in memory and thus maybe of several rows, so each lane repeats the plain
// code's operations in its order. Decoders: a lane is a weight.

#include <cstdint>

#include "kernels/quant/block_lanes.h"
#include "kernels/quant/iq4/plain_calls.h"
#include "kernels/quant/iq4/search_lanes.h"
#include "kernels/quant/nibble_lanes.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

using iq4::kSize;
using iq4::kSubBlocks;
using iq4::kSuperBlock;

NARROW_LANE_FUNCTION F32 TwiceMeanSquare(const F32* x, int n) {
  F32 sum = {};
  for (int i = 0; i < n; ++i) {
    sum += x[i] * x[i];
  }
  return sum * (2.0f / static_cast<float>(n));
}

// The scale of 32 weights of each lane, the first of which is `first` in its
// block.
NARROW_LANE_FUNCTION F32 BlockScale(const Group& group, const F32* x, int first,
                                    F32 twice_mean_square) {
  F32 w[kSize];
  if (group.importance[0] == nullptr) {
    for (int i = 0; i < kSize; ++i) {
      w[i] = x[i] * x[i];
    }
  } else {
    LoadLanes<kSize>(group.importance, first, w);
    for (int i = 0; i < kSize; ++i) {
      w[i] *= Sqrt(twice_mean_square + x[i] * x[i]);
    }
  }
  return iq4_lanes::SearchScale(x, w);
}

NARROW_LANE_FUNCTION F32 Inverse(F32 scale) {
  return Select(scale != 0.0f, 1.0f / scale, F32{});
}

// Rounds 32 weights of each lane and stores their places, 16 bytes a block.
NARROW_LANE_FUNCTION void StorePlaces(const F32* x, F32 inverse, int n_blocks,
                                      uint8_t* bytes, ptrdiff_t stride) {
  const iq4_lanes::Places places;
  I32 words[4];
  for (int word = 0; word < 4; ++word) {
    words[word] = I32{};
    for (int b = 0; b < 4; ++b) {
      const int i = 4 * word + b;
      words[word] |= places.Of(inverse * x[i]) << (8 * b);
      words[word] |= places.Of(inverse * x[i + 16]) << (8 * b + 4);
    }
  }
  StoreBlocks<4>(words, n_blocks, bytes, stride);
}

struct Nl {
  static constexpr int kBlock = kSize;
  static constexpr int kBytes = iq4::kNlBytes;

  // Gives the lanes that lanes cannot encode.
  static I32 EncodeGroup(const Group& group, uint8_t* bytes) {
    F32 x[kSize];
    LoadLanes<kSize>(group.weights, 0, x);
    const F32 d = BlockScale(group, x, 0, TwiceMeanSquare(x, kSize));
    StoreHalves(F16FromFloat(d), group.n_blocks, bytes, kBytes);
    StorePlaces(x, Inverse(d), group.n_blocks, bytes + 2, kBytes);
    return NotFinite(x, kSize);
  }

  static void EncodePlainly(const float* weights, const float* importance,
                            uint8_t* bytes) {
    iq4::EncodeNlBlock(weights, importance, bytes);
  }
};

struct Xs {
  static constexpr int kBlock = kSuperBlock;
  static constexpr int kBytes = iq4::kXsBytes;

  static I32 EncodeGroup(const Group& group, uint8_t* bytes) {
    F32 x[kSuperBlock];
    for (int i = 0; i < kSuperBlock; i += kSize) {
      LoadLanes<kSize>(group.weights, i, x + i);
    }
    const F32 twice_mean_square = TwiceMeanSquare(x, kSuperBlock);
    F32 scales[kSubBlocks];
    F32 magnitude = {};
    F32 extreme = {};
    for (int g = 0; g < kSubBlocks; ++g) {
      scales[g] =
          BlockScale(group, x + g * kSize, g * kSize, twice_mean_square);
      const F32 size = Abs(scales[g]);
      extreme = Select(size > magnitude, scales[g], extreme);
      magnitude = Select(size > magnitude, size, magnitude);
    }
    const F32 d = -extreme / 32.0f;
    const F32 inverse_d = Inverse(d);
    I32 low = {};
    I32 high = {};
    for (int g = 0; g < kSubBlocks; ++g) {
      const I32 scale = ClampInt(RoundToInt(inverse_d * scales[g]),
                                 iq4::kLowScale, iq4::kHighScale);
      StorePlaces(x + g * kSize, Inverse(d * ToFloat(scale)), group.n_blocks,
                  bytes + 8 + g * kSize / 2, kBytes);
      const I32 stored = scale - iq4::kLowScale;
      low |= (stored & 15) << (4 * g);
      high |= (stored >> 4) << (2 * g);
    }
    const I32 words[2] = {F16FromFloat(d) | (high << 16), low};
    StoreBlocks<2>(words, group.n_blocks, bytes, kBytes);
    return NotFinite(x, kSuperBlock);
  }

  static void EncodePlainly(const float* weights, const float* importance,
                            uint8_t* bytes) {
    iq4::EncodeXsBlock(weights, importance, bytes);
  }
};

template <class Type>
void EncodeRows(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  ForEachGroup<Type::kBlock, Type::kBytes>(
      weights, n_rows, n_cols, importance, bytes,
      [](const Group& group, uint8_t* out) {
        const I32 failed = Type::EncodeGroup(group, out);
        if (Any(failed)) {
          for (int k = 0; k < group.n_blocks; ++k) {
            if (failed[k]) {
              Type::EncodePlainly(group.weights[k], group.importance[k],
                                  out + k * Type::kBytes);
            }
          }
        }
      });
}

// 32 weights from their places.
NARROW_LANE_FUNCTION void DecodePlaces(const uint8_t* bytes, float step,
                                       float* weights) {
  const NibblePairs codes = LookUpNibbles(iq4::kCodes, bytes);
  StoreProducts(codes.low, step, weights);
  StoreProducts(codes.high, step, weights + 16);
}

}  // namespace

void EncodeIQ4_NL(const float* weights, int64_t n_rows, int64_t n_cols,
                  const float* importance, uint8_t* bytes) {
  EncodeRows<Nl>(weights, n_rows, n_cols, importance, bytes);
}

void EncodeIQ4_XS(const float* weights, int64_t n_rows, int64_t n_cols,
                  const float* importance, uint8_t* bytes) {
  EncodeRows<Xs>(weights, n_rows, n_cols, importance, bytes);
}

void DecodeIQ4_NL(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    DecodePlaces(bytes + 2, ScalarFromF16(bytes), weights);
    bytes += iq4::kNlBytes;
    weights += kSize;
  }
}

void DecodeIQ4_XS(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float d = ScalarFromF16(bytes);
    uint16_t high;
    uint32_t low;
    __builtin_memcpy(&high, bytes + 2, sizeof(high));
    __builtin_memcpy(&low, bytes + 4, sizeof(low));
    for (int g = 0; g < kSubBlocks; ++g) {
      const int stored = static_cast<int>(((low >> (4 * g)) & 15) |
                                          (((high >> (2 * g)) & 3) << 4));
      const float step = d * static_cast<float>(stored + iq4::kLowScale);
      DecodePlaces(bytes + 8 + g * kSize / 2, step, weights + g * kSize);
    }
    bytes += iq4::kXsBytes;
    weights += kSuperBlock;
  }
}

}  // namespace NARROW_SIMD
}  // namespace narrow
