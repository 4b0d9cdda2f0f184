// The encoders of one block a lane of Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1, for
// block32_simd.cc and for a card's threads (kernels/quant/team). The
// definitions are in q8_0.cc, block32.cc, symmetric32.h and affine32.h, whose
// operations each lane repeats in their order.

#ifndef NARROW_KERNELS_QUANT_BLOCK32_BLOCK32_LANES_H_
#define NARROW_KERNELS_QUANT_BLOCK32_BLOCK32_LANES_H_

#include <cstddef>
#include <cstdint>

#include "kernels/quant/k/search_lanes.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace block32_lanes {

inline constexpr int kSize = 32;

// Codes of a block from 0, in 32-bit words as block32.h lays them out.
template <int kBits>
NARROW_LANE_FUNCTION void PackWords(const I32* codes, I32* words) {
  if constexpr (kBits == 5) {
    I32 high = {};
    for (int i = 0; i < kSize; ++i) {
      high |= ((codes[i] >> 4) & 1) << i;
    }
    *words++ = high;
  }
  for (int w = 0; w < 4; ++w) {
    I32 word = {};
    for (int b = 0; b < 4; ++b) {
      const I32 low = codes[4 * w + b] & 15;
      const I32 high = codes[4 * w + b + 16] & 15;
      word |= (low | (high << 4)) << (8 * b);
    }
    words[w] = word;
  }
}

// A line weight = d * code + low for each lane.
struct Lines {
  F32 d;
  F32 low;
};

// Codes from 0 nearest under `lines`, code 0 stored as `zero`.
NARROW_LANE_FUNCTION void PlainCodes(const F32* x, const Lines& lines,
                                     float zero, int code_high, I32* codes) {
  const F32 inverse = Select(lines.d != 0.0f, 1.0f / lines.d, F32{});
  for (int i = 0; i < kSize; ++i) {
    const F32 position = (x[i] - lines.low) * inverse;
    // The low byte alone counts, as a signed one.
    const I32 code = (Truncate(position + (zero + 0.5f)) << 24) >> 24;
    codes[i] = MinInt(code, SplatInt(code_high));
  }
}

// A scale alone: Q4_0, Q5_0.
template <int kBits>
struct Symmetric {
  static constexpr int kHalf = 1 << (kBits - 1);
  static constexpr int kBytes = 2 + kBits * kSize / 8;

  NARROW_LANE_FUNCTION static Lines Plain(const F32* x, I32* codes) {
    F32 extreme = {};
    F32 magnitude = {};
    for (int i = 0; i < kSize; ++i) {
      const F32 size = Abs(x[i]);
      extreme = Select(size > magnitude, x[i], extreme);
      magnitude = Max(size, magnitude);
    }
    const Lines lines = {extreme / static_cast<float>(-kHalf), F32{}};
    PlainCodes(x, lines, kHalf, 2 * kHalf - 1, codes);
    return lines;
  }

  NARROW_LANE_FUNCTION static Lines Weighted(const F32* x, const F32* w,
                                             I32* codes) {
    Lines lines = {};
    F32 inverse;
    k_lanes::SearchSymmetric<kSize, kHalf, 1>(x, w, &lines.d, &inverse);
    // Zero weights have neither scale nor inverse, and codes 0. (An infinite
    // weight has an inverse of 0, too, but its scale is a NaN.)
    const I32 zero = (inverse == 0.0f) & (lines.d == 0.0f);
    for (int i = 0; i < kSize; ++i) {
      const I32 code = ClampInt(RoundToInt(inverse * x[i]), -kHalf, kHalf - 1);
      codes[i] = SelectInt(zero, I32{}, code + kHalf);
    }
    return lines;
  }

  NARROW_LANE_FUNCTION static void Write(const Lines& lines, const I32* codes,
                                         int n_blocks, uint8_t* bytes,
                                         ptrdiff_t stride) {
    I32 words[kBits];
    PackWords<kBits>(codes, words);
    StoreHalves(F16FromFloat(lines.d), n_blocks, bytes, stride);
    StoreBlocks<kBits>(words, n_blocks, bytes + 2, stride);
  }
};

// A scale and a minimum: Q4_1, Q5_1.
template <int kBits>
struct Affine {
  static constexpr int kHigh = (1 << kBits) - 1;
  static constexpr int kBytes = 4 + kBits * kSize / 8;

  NARROW_LANE_FUNCTION static Lines Plain(const F32* x, I32* codes) {
    F32 low = Splat(3.40282347e+38f);
    F32 high = -low;
    for (int i = 0; i < kSize; ++i) {
      low = Min(x[i], low);
      high = Max(x[i], high);
    }
    const Lines lines = {(high - low) / static_cast<float>(kHigh), low};
    PlainCodes(x, lines, 0, kHigh, codes);
    return lines;
  }

  NARROW_LANE_FUNCTION static Lines Weighted(const F32* x, const F32* w,
                                             I32* codes) {
    using Options = k_lanes::AffineOptions<kSize, kHigh,
                                           /*kAbsoluteError=*/false,
                                           /*kBoundThenRound=*/true,
                                           /*kWays=*/1>;
    // (A copy: a card cannot refer to the constant.)
    constexpr k_quants::AffineGrid kGrid = k_quants::kImportanceGrid;
    const k_quants::AffineGrid grid = {kGrid.first, kGrid.step, kGrid.last};
    Lines lines;
    F32 inverse, from;
    k_lanes::SearchAffine<Options>(x, w, grid, &lines.d, &lines.low, &inverse,
                                   &from);
    for (int i = 0; i < kSize; ++i) {
      codes[i] = Truncate(k_lanes::BestCode<Options>(x[i], inverse, from));
    }
    return lines;
  }

  NARROW_LANE_FUNCTION static void Write(const Lines& lines, const I32* codes,
                                         int n_blocks, uint8_t* bytes,
                                         ptrdiff_t stride) {
    I32 words[kBits];
    PackWords<kBits>(codes, words);
    StoreHalves(F16FromFloat(lines.d), n_blocks, bytes, stride);
    StoreHalves(F16FromFloat(lines.low), n_blocks, bytes + 2, stride);
    StoreBlocks<kBits>(words, n_blocks, bytes + 4, stride);
  }
};

struct Bytes {
  static constexpr int kBytes = 34;

  NARROW_LANE_FUNCTION static Lines Plain(const F32* x, I32* codes) {
    F32 magnitude = {};
    for (int i = 0; i < kSize; ++i) {
      magnitude = Max(magnitude, Abs(x[i]));
    }
    const F32 d = magnitude / 127.0f;
    const F32 inverse = Select(d != 0.0f, 1.0f / d, F32{});
    for (int i = 0; i < kSize; ++i) {
      // To nearest, halves away from zero: the largest float below 0.5, with
      // the sign of x, is added, and the sum truncated.
      const F32 position = x[i] * inverse;
      const I32 sign = AsInt(position) & static_cast<int32_t>(0x80000000);
      codes[i] = Truncate(position + AsFloat(sign | 0x3effffff));
    }
    return {d, F32{}};
  }

  NARROW_LANE_FUNCTION static void Write(const Lines& lines, const I32* codes,
                                         int n_blocks, uint8_t* bytes,
                                         ptrdiff_t stride) {
    I32 words[kSize / 4];
    for (int w = 0; w < kSize / 4; ++w) {
      const I32* four = codes + 4 * w;
      words[w] = (four[0] & 0xff) | ((four[1] & 0xff) << 8) |
                 ((four[2] & 0xff) << 16) | (four[3] << 24);
    }
    StoreHalves(F16FromFloat(lines.d), n_blocks, bytes, stride);
    StoreBlocks<kSize / 4>(words, n_blocks, bytes + 2, stride);
  }
};

}  // namespace block32_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_BLOCK32_BLOCK32_LANES_H_
