// Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1, compiled once for each instruction set;
// the definitions are in q8_0.cc, block32.cc, symmetric32.h and affine32.h.
//
// Encoders: a lane is a block, so each lane repeats the plain code's
// operations in its order. Without importance the lanes are neighbouring
// blocks; with it they are the blocks of neighbouring rows in one column,
// which share their importance. Decoders: a lane is a weight.

#include <cstdint>

#include "kernels/quant/k/search_lanes.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

constexpr int kSize = 32;

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
    Lines lines;
    F32 inverse, from;
    k_lanes::SearchAffine<Options>(x, w, k_quants::kImportanceGrid, &lines.d,
                                   &lines.low, &inverse, &from);
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

NARROW_LANE_FUNCTION int LanesUsed(int64_t n_left) {
  return n_left < kLanes ? static_cast<int>(n_left) : kLanes;
}

template <typename Type>
void EncodePlain(const float* weights, int64_t n_blocks, uint8_t* bytes) {
  F32 x[kSize];
  I32 codes[kSize];
  for (int64_t b = 0; b < n_blocks; b += kLanes) {
    const int n = LanesUsed(n_blocks - b);
    LoadBlocks<kSize>(weights + b * kSize, kSize, n, x);
    const Lines lines = Type::Plain(x, codes);
    Type::Write(lines, codes, n, bytes + b * Type::kBytes, Type::kBytes);
  }
}

// Lane k: the mean square of row k, summed in the order of the columns.
NARROW_LANE_FUNCTION F32 MeanSquares(const float* rows, int64_t n_cols,
                                     int n_rows) {
  F32 x[kSize];
  F32 sum = {};
  for (int64_t column = 0; column < n_cols; column += kSize) {
    LoadBlocks<kSize>(rows + column, n_cols, n_rows, x);
    for (int i = 0; i < kSize; ++i) {
      sum += x[i] * x[i];
    }
  }
  return sum / static_cast<float>(n_cols);
}

template <typename Type>
void EncodeWeighted(const float* weights, int64_t n_rows, int64_t n_cols,
                    const float* importance, uint8_t* bytes) {
  const int64_t row_bytes = n_cols / kSize * Type::kBytes;
  F32 x[kSize];
  F32 w[kSize];
  I32 codes[kSize];
  for (int64_t row = 0; row < n_rows; row += kLanes) {
    const int n = LanesUsed(n_rows - row);
    const float* rows = weights + row * n_cols;
    const F32 mean_square = MeanSquares(rows, n_cols, n);
    uint8_t* out = bytes + row * row_bytes;
    for (int64_t column = 0; column < n_cols; column += kSize) {
      LoadBlocks<kSize>(rows + column, n_cols, n, x);
      for (int i = 0; i < kSize; ++i) {
        w[i] = importance[column + i] * Sqrt(mean_square + x[i] * x[i]);
      }
      const Lines lines = Type::Weighted(x, w, codes);
      Type::Write(lines, codes, n, out, row_bytes);
      out += Type::kBytes;
    }
  }
}

template <typename Type>
void Encode(const float* weights, int64_t n_rows, int64_t n_cols,
            const float* importance, uint8_t* bytes) {
  if (importance == nullptr) {
    EncodePlain<Type>(weights, n_rows * n_cols / kSize, bytes);
  } else {
    EncodeWeighted<Type>(weights, n_rows, n_cols, importance, bytes);
  }
}

// Calls body(i, codes) with the codes from 0 of kLanes weights of one block,
// of which `i` is the first.
template <int kBits, typename Body>
NARROW_LANE_FUNCTION void ForCodes(const uint8_t* bytes, const Body& body) {
  int32_t high_bits = 0;
  if constexpr (kBits == 5) {
    __builtin_memcpy(&high_bits, bytes, sizeof(high_bits));
    bytes += 4;
  }
  for (int i = 0; i < kSize; i += kLanes) {
    const I32 pair = LoadBytes(bytes + i % (kSize / 2));
    I32 codes = i < kSize / 2 ? pair & 15 : pair >> 4;
    if constexpr (kBits == 5) {
      codes |= ((SplatInt(high_bits) >> (LaneNumbers() + i)) & 1) << 4;
    }
    body(i, codes);
  }
}

template <int kBits>
void DecodeSymmetric(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  using Type = Symmetric<kBits>;
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float d = ScalarFromF16(bytes);
    ForCodes<kBits>(bytes + 2, [=](int i, I32 codes) {
      Store(ToFloat(codes - Type::kHalf) * d, weights + i);
    });
    bytes += Type::kBytes;
    weights += kSize;
  }
}

template <int kBits>
void DecodeAffine(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float d = ScalarFromF16(bytes);
    const float low = ScalarFromF16(bytes + 2);
    ForCodes<kBits>(bytes + 4, [=](int i, I32 codes) {
      Store(ToFloat(codes) * d + low, weights + i);
    });
    bytes += Affine<kBits>::kBytes;
    weights += kSize;
  }
}

}  // namespace

void EncodeQ8_0(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* /*importance*/, uint8_t* bytes) {
  EncodePlain<Bytes>(weights, n_rows * n_cols / kSize, bytes);
}

void EncodeQ4_0(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  Encode<Symmetric<4>>(weights, n_rows, n_cols, importance, bytes);
}

void EncodeQ5_0(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  Encode<Symmetric<5>>(weights, n_rows, n_cols, importance, bytes);
}

void EncodeQ4_1(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  Encode<Affine<4>>(weights, n_rows, n_cols, importance, bytes);
}

void EncodeQ5_1(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  Encode<Affine<5>>(weights, n_rows, n_cols, importance, bytes);
}

void DecodeQ8_0(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float d = ScalarFromF16(bytes);
    for (int i = 0; i < kSize; i += kLanes) {
      Store(ToFloat(LoadSignedBytes(bytes + 2 + i)) * d, weights + i);
    }
    bytes += Bytes::kBytes;
    weights += kSize;
  }
}

void DecodeQ4_0(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  DecodeSymmetric<4>(bytes, n_blocks, weights);
}

void DecodeQ5_0(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  DecodeSymmetric<5>(bytes, n_blocks, weights);
}

void DecodeQ4_1(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  DecodeAffine<4>(bytes, n_blocks, weights);
}

void DecodeQ5_1(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  DecodeAffine<5>(bytes, n_blocks, weights);
}

}  // namespace NARROW_SIMD
}  // namespace narrow
