// MXFP4 and NVFP4, compiled once for each instruction set; the definitions
// are in mxfp4.cc, nvfp4.cc and e2m1.h.
//
// Encoders: first the largest magnitudes and scales of kLanes groups of
// weights that share one, a lane each; then the weights, a lane each. Where a
// scale is within what its byte can hold, every distance that ggml compares
// is exact near the middle of two codes, so its search is a comparison with
// middles; where it is not, the plain encoder does the group.

#include <cstdint>

#include "kernels/quant/fp4/e2m1_table.h"
#include "kernels/quant/fp4/fp4_blocks.h"
#include "kernels/quant/fp4/fp4_lanes.h"
#include "kernels/quant/nibble_lanes.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

using fp4_lanes::Mx;
using fp4_lanes::Nv;
using fp4_lanes::Scales;

// Bit patterns of the largest magnitudes of kLanes groups of kSize weights,
// a lane each. Those of groups beyond `n_groups` repeat the first. An
// infinity or a NaN is above all numbers.
template <int kSize>
NARROW_LANE_FUNCTION I32 LargestMagnitudes(const float* weights, int n_groups) {
  F32 rows[kLanes];
  for (int k = 0; k < kLanes; ++k) {
    const float* group = weights + (k < n_groups ? k * kSize : 0);
    I32 greatest = {};
    for (int i = 0; i < kSize; i += kLanes) {
      greatest = MaxInt(greatest, AsInt(Load(group + i)) & 0x7fffffff);
    }
    rows[k] = AsFloat(greatest);
  }
  Transpose(rows);
  I32 greatest = AsInt(rows[0]);
  for (int i = 1; i < kLanes; ++i) {
    greatest = MaxInt(greatest, AsInt(rows[i]));
  }
  return greatest;
}

// Codes by how many steps, rounded down, a magnitude has. A weight's bin may
// be the one beside its own, since `inverse` is rounded, so bins on both
// sides of a whole middle have that middle.
class Nibbles {
 public:
  NARROW_LANE_FUNCTION Nibbles() : doubled_(kDoubled), lower_(kLower) {}

  NARROW_LANE_FUNCTION I32 Of(F32 x, float step, float inverse) const {
    const F32 size = Abs(x);
    const I32 bin = MinInt(Truncate(size * inverse), SplatInt(15));
    const F32 middle = ToFloat(doubled_.At(bin)) * (0.5f * step);
    // A middle goes towards zero, which has no sign.
    const I32 code = lower_.At(bin) - (size > middle);
    return code | ((x < -0.5f * step) & 8);
  }

 private:
  // Twice the middle.
  static constexpr uint8_t kDoubled[16] = {1,  3,  5,  7,  10, 10, 14, 14,
                                           20, 20, 20, 20, 20, 20, 20, 20};
  // The magnitude below it, as a nibble.
  static constexpr uint8_t kLower[16] = {0, 1, 2, 3, 4, 4, 5, 5,
                                         6, 6, 6, 6, 6, 6, 6, 6};

  SixteenBytes doubled_;
  SixteenBytes lower_;
};

// Sixteen weights' nibbles, j and j + 8 in byte j.
NARROW_LANE_FUNCTION void StoreSubBlock(const Nibbles& nibbles,
                                        const float* weights, float step,
                                        float inverse, uint8_t* bytes) {
  const I32 first = nibbles.Of(Load(weights), step, inverse);
#if defined(__AVX512F__)
  const __m128i codes =
      _mm512_maskz_cvtepi32_epi8(0xffff, reinterpret_cast<__m512i>(first));
  const __m128i high = _mm_slli_epi16(_mm_srli_si128(codes, 8), 4);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes),
                   _mm_or_si128(codes, high));
#else
  const I32 second = nibbles.Of(Load(weights + kLanes), step, inverse);
  StoreBytes(first | (second << 4), bytes);
#endif
}

// Codes of kLanes groups at most; encode(k, step, inverse) does one and
// plain(k) one whose lane failed.
template <class Type, class StoreScale, class Encode, class Plain>
NARROW_LANE_FUNCTION void EncodeGroups(const float* weights, int n_groups,
                                       const StoreScale& store_scale,
                                       const Encode& encode,
                                       const Plain& plain) {
  const Scales scales =
      Type::ScalesOf(LargestMagnitudes<Type::kSize>(weights, n_groups));
  float steps[kLanes];
  float inverses[kLanes];
  int32_t bytes[kLanes];
  Store(scales.step, steps);
  Store(scales.inverse, inverses);
  Store(AsFloat(scales.bytes), reinterpret_cast<float*>(bytes));
  const bool any_failed = Any(scales.failed);
#pragma GCC unroll 4
  for (int k = 0; k < n_groups; ++k) {
    if (any_failed && scales.failed[k]) {
      plain(k);
    } else {
      store_scale(k, static_cast<uint8_t>(bytes[k]));
      encode(k, steps[k], inverses[k]);
    }
  }
}

// Half of UE4M3Value of scale_bytes.h, by byte.
struct HalfScales {
  float of[256];
};

constexpr HalfScales MakeHalfScales() {
  HalfScales scales = {};
  for (int byte = 0; byte < 256; ++byte) {
    const int exponent = (byte >> 3) & 15;
    const int mantissa = byte & 7;
    float value = static_cast<float>(exponent == 0 ? mantissa : 8 + mantissa);
    for (int e = 1; e < exponent; ++e) {
      value *= 2;
    }
    scales.of[byte] = byte == 0x7f ? 0.0f : value * 0x1p-10f;
  }
  return scales;
}

constexpr HalfScales kHalfScales = MakeHalfScales();

NARROW_LANE_FUNCTION int LanesUsed(int64_t n_left) {
  return n_left < kLanes ? static_cast<int>(n_left) : kLanes;
}

}  // namespace

void EncodeMXFP4(const float* weights, int64_t n_rows, int64_t n_cols,
                 const float* /*importance*/, uint8_t* bytes) {
  constexpr int kHalf = fp4::kMxBlock / 2;
  const Nibbles nibbles;
  const int64_t n_blocks = n_rows * n_cols / fp4::kMxBlock;
  for (int64_t b = 0; b < n_blocks; b += kLanes) {
    const float* x = weights + b * fp4::kMxBlock;
    uint8_t* out = bytes + b * fp4::kMxBytes;
    EncodeGroups<Mx>(
        x, LanesUsed(n_blocks - b),
        [=](int k, uint8_t scale) { out[k * fp4::kMxBytes] = scale; },
        [=](int k, float step, float inverse) {
          const float* from = x + k * fp4::kMxBlock;
          for (int i = 0; i < kHalf; i += kLanes) {
            const I32 low = nibbles.Of(Load(from + i), step, inverse);
            const I32 high = nibbles.Of(Load(from + kHalf + i), step, inverse);
            StoreBytes(low | (high << 4), out + k * fp4::kMxBytes + 1 + i);
          }
        },
        [=](int k) {
          fp4::EncodeMxBlock(x + k * fp4::kMxBlock, out + k * fp4::kMxBytes);
        });
  }
}

void EncodeNVFP4(const float* weights, int64_t n_rows, int64_t n_cols,
                 const float* /*importance*/, uint8_t* bytes) {
  constexpr int kSize = fp4::kNvSubBlock;
  const Nibbles nibbles;
  const int64_t n_groups = n_rows * n_cols / kSize;
  for (int64_t g = 0; g < n_groups; g += kLanes) {
    const float* x = weights + g * kSize;
    uint8_t* out = bytes + g / fp4::kNvSubBlocks * fp4::kNvBytes;
    const auto scale_at = [=](int k) {
      return out + k / fp4::kNvSubBlocks * fp4::kNvBytes +
             k % fp4::kNvSubBlocks;
    };
    const auto codes_at = [=](int k) {
      return out + k / fp4::kNvSubBlocks * fp4::kNvBytes + fp4::kNvSubBlocks +
             k % fp4::kNvSubBlocks * (kSize / 2);
    };
    EncodeGroups<Nv>(
        x, LanesUsed(n_groups - g),
        [=](int k, uint8_t scale) { *scale_at(k) = scale; },
        [=](int k, float step, float inverse) {
          StoreSubBlock(nibbles, x + k * kSize, step, inverse, codes_at(k));
        },
        [=](int k) {
          fp4::EncodeNvSubBlock(x + k * kSize, scale_at(k), codes_at(k));
        });
  }
}

void DecodeMXFP4(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    // HalfE8M0 of scale_bytes.h.
    const uint32_t byte = bytes[0];
    const uint32_t bits = byte < 2 ? 0x00200000u << byte : (byte - 1) << 23;
    float step;
    __builtin_memcpy(&step, &bits, sizeof(step));
    const NibblePairs codes = LookUpNibbles(fp4::kCodeOfNibble, bytes + 1);
    StoreProducts(codes.low, step, weights);
    StoreProducts(codes.high, step, weights + 16);
    bytes += fp4::kMxBytes;
    weights += fp4::kMxBlock;
  }
}

void DecodeNVFP4(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  for (int64_t b = 0; b < n_blocks; ++b) {
    for (int g = 0; g < fp4::kNvSubBlocks; g += 2) {
      const NibblePairs codes =
          LookUpNibbles(fp4::kCodeOfNibble, bytes + fp4::kNvSubBlocks + g * 8);
      StoreProducts(_mm_unpacklo_epi64(codes.low, codes.high),
                    kHalfScales.of[bytes[g]], weights);
      StoreProducts(_mm_unpackhi_epi64(codes.low, codes.high),
                    kHalfScales.of[bytes[g + 1]], weights + 16);
      weights += 2 * fp4::kNvSubBlock;
    }
    bytes += fp4::kNvBytes;
  }
}

}  // namespace NARROW_SIMD
}  // namespace narrow
