// F32, F16, BF16 and F64 with lanes of weights. Compiled once for each
// instruction set; the definitions are in plain.cc. The last, short group is
// done in a buffer, so that every weight takes the same instructions.

#include <cstdint>

#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

// Calls body(i, n) for runs of kLanes weights and at last for fewer.
template <typename Body>
NARROW_LANE_FUNCTION void ForLanes(int64_t n_weights, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n_weights; i += kLanes) {
    body(i, kLanes);
  }
  if (i < n_weights) {
    body(i, static_cast<int>(n_weights - i));
  }
}

NARROW_LANE_FUNCTION F32 LoadSome(const float* from, int n) {
  F32 value = {};
  __builtin_memcpy(&value, from, 4 * static_cast<size_t>(n));
  return value;
}

NARROW_LANE_FUNCTION void StoreSome(F32 value, int n, float* to) {
  __builtin_memcpy(to, &value, 4 * static_cast<size_t>(n));
}

NARROW_LANE_FUNCTION I32 LoadHalves(const uint8_t* from, int n) {
  U16 halves = {};
  __builtin_memcpy(&halves, from, 2 * static_cast<size_t>(n));
  return __builtin_convertvector(halves, I32);
}

NARROW_LANE_FUNCTION void StoreSomeHalves(I32 value, int n, uint8_t* to) {
  const U16 halves = __builtin_convertvector(value, U16);
  __builtin_memcpy(to, &halves, 2 * static_cast<size_t>(n));
}

NARROW_LANE_FUNCTION I32 Bf16FromFloat(F32 value) {
  const U32 bits = AsUint(AsInt(value));
  const I32 rounded =
      reinterpret_cast<I32>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  const I32 nan = reinterpret_cast<I32>((bits >> 16) | 0x40);
  return SelectInt(value != value, nan, rounded);
}

}  // namespace

void EncodeF32(const float* weights, int64_t n_rows, int64_t n_cols,
               const float* /*importance*/, uint8_t* bytes) {
  __builtin_memcpy(bytes, weights, 4 * static_cast<size_t>(n_rows * n_cols));
}

void DecodeF32(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  __builtin_memcpy(weights, bytes, 4 * static_cast<size_t>(n_blocks));
}

void EncodeF16(const float* weights, int64_t n_rows, int64_t n_cols,
               const float* /*importance*/, uint8_t* bytes) {
  ForLanes(n_rows * n_cols, [=](int64_t i, int n) {
    StoreSomeHalves(F16FromFloat(LoadSome(weights + i, n)), n, bytes + 2 * i);
  });
}

void DecodeF16(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  ForLanes(n_blocks, [=](int64_t i, int n) {
    StoreSome(FloatFromF16(LoadHalves(bytes + 2 * i, n)), n, weights + i);
  });
}

void EncodeBF16(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* /*importance*/, uint8_t* bytes) {
  ForLanes(n_rows * n_cols, [=](int64_t i, int n) {
    StoreSomeHalves(Bf16FromFloat(LoadSome(weights + i, n)), n, bytes + 2 * i);
  });
}

void DecodeBF16(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  ForLanes(n_blocks, [=](int64_t i, int n) {
    StoreSome(AsFloat(LoadHalves(bytes + 2 * i, n) << 16), n, weights + i);
  });
}

void EncodeF64(const float* weights, int64_t n_rows, int64_t n_cols,
               const float* /*importance*/, uint8_t* bytes) {
  for (int64_t i = 0; i < n_rows * n_cols; ++i) {
    const double wide = weights[i];
    __builtin_memcpy(bytes + 8 * i, &wide, 8);
  }
}

void DecodeF64(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t i = 0; i < n_blocks; ++i) {
    double wide;
    __builtin_memcpy(&wide, bytes + 8 * i, 8);
    weights[i] = static_cast<float>(wide);
  }
}

}  // namespace NARROW_SIMD
}  // namespace narrow
