// Q1_0, compiled once for each instruction set; the definition is in q1_0.cc.
//
// The sum of magnitudes has an order, so there a lane is a block; signs are
// taken from the blocks as they lie, a lane a weight.

#include <cstdint>

#include "kernels/quant/ternary/ternary_blocks.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

constexpr int kSize = ternary::kSignBlock;
constexpr int kBytes = ternary::kSignBytes;
// Weights that are transposed at a time.
constexpr int kPart = 32;

// A bit for each lane that is at least 0, to the low kLanes / 8 bytes.
NARROW_LANE_FUNCTION void StoreSigns(F32 x, uint8_t* to) {
#if defined(__AVX512F__)
  const __mmask16 bits = _mm512_cmp_ps_mask(x, F32{}, _CMP_GE_OQ);
#else
  const auto bits = static_cast<uint8_t>(
      _mm256_movemask_ps(_mm256_cmp_ps(x, F32{}, _CMP_GE_OQ)));
#endif
  __builtin_memcpy(to, &bits, kLanes / 8);
}

}  // namespace

void EncodeQ1_0(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* /*importance*/, uint8_t* bytes) {
  const int64_t n_blocks = n_rows * n_cols / kSize;
  for (int64_t first = 0; first < n_blocks; first += kLanes) {
    const int64_t left = n_blocks - first;
    const int n = left < kLanes ? static_cast<int>(left) : kLanes;
    const float* x = weights + first * kSize;
    uint8_t* out = bytes + first * kBytes;
    F32 sum = {};
    for (int i = 0; i < kSize; i += kPart) {
      F32 part[kPart];
      LoadBlocks<kPart>(x + i, kSize, n, part);
      for (int j = 0; j < kPart; ++j) {
        sum += Abs(part[j]);
      }
    }
    StoreHalves(F16FromFloat(sum / static_cast<float>(kSize)), n, out, kBytes);
    for (int k = 0; k < n; ++k) {
      for (int i = 0; i < kSize; i += kLanes) {
        StoreSigns(Load(x + k * kSize + i), out + k * kBytes + 2 + i / 8);
      }
    }
  }
}

void DecodeQ1_0(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    const F32 d = Splat(ScalarFromF16(bytes));
    for (int i = 0; i < kSize; i += kLanes) {
      uint16_t bits = 0;
      __builtin_memcpy(&bits, bytes + 2 + i / 8, kLanes / 8);
      const I32 bit = (SplatInt(bits) >> LaneNumbers()) & 1;
      Store(Select(bit != 0, d, -d), weights + i);
    }
    bytes += kBytes;
    weights += kSize;
  }
}

}  // namespace NARROW_SIMD
}  // namespace narrow
