// Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1, compiled once for each instruction set;
// the definitions are in q8_0.cc, block32.cc, symmetric32.h and affine32.h.
//
// Encoders: a lane is a block, so each lane repeats the plain code's
// operations in its order. Without importance the lanes are neighbouring
// blocks; with it they are the blocks of neighbouring rows in one column,
// which share their importance. Decoders: a lane is a weight.

#include <cstdint>

#include "kernels/quant/block32/block32_lanes.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

using block32_lanes::Affine;
using block32_lanes::Bytes;
using block32_lanes::kSize;
using block32_lanes::Lines;
using block32_lanes::Symmetric;

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
