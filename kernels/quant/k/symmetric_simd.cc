// Encoders of the symmetric types Q3_K and Q6_K in lanes.

#include "kernels/quant/k/encode_lanes.h"
#include "kernels/quant/k/search_lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace k_lanes {
namespace {

using k_quants::Q3_K;
using k_quants::Q6_K;

constexpr int kSize = 16;
constexpr int kSubBlocks = 16;
// Sub-blocks searched side by side in each lane: on Zen 5, two are a quarter
// slower in DescendSymmetric, whose chains hold a division, and eight spill
// too many registers.
constexpr int kWays = 4;

F32 LargestScale(const F32* scales) {
  F32 largest = {};
  for (int g = 0; g < kSubBlocks; ++g) {
    largest = Select(Abs(scales[g]) > Abs(largest), scales[g], largest);
  }
  return largest;
}

template <int kHalf>
struct SymmetricCodes {
  static constexpr bool kKnown = true;
  NARROW_LANE_FUNCTION static I32 Code(F32 x, float inverse, float /*from*/) {
    // Without an inverse, what is there counts as zero.
    return inverse == 0
               ? SplatInt(-kHalf)
               : ClampInt(RoundToInt(Splat(inverse) * x), -kHalf, kHalf - 1);
  }
};

void EncodePlainQ3_K(const Group& group, uint8_t* bytes) {
  F32 x[kSuperBlock];
  LoadLanes<kSuperBlock>(group.weights, 0, x);
  GroupScales result = {};
  result.failed = NotFinite(x, kSuperBlock);
  F32 scales[kSubBlocks];
  DescendSymmetric<kSize, Q3_K::kCodeHalf, kWays>(x, kSubBlocks, scales);
  const F32 largest = LargestScale(scales);
  const I32 zero = largest == F32{};
  const F32 inverse = Splat(static_cast<float>(Q3_K::kScaleLow)) / largest;
  result.d = Select(zero, F32{}, Splat(1.0f) / inverse);
  for (int g = 0; g < kSubBlocks; ++g) {
    const I32 byte = (RoundToInt(inverse * scales[g]) << 24) >> 24;
    result.scales[g] =
        SelectInt(zero, SplatInt(Q3_K::kScaleLow),
                  ClampInt(byte, Q3_K::kScaleLow, Q3_K::kScaleHigh));
  }
  StoreGroup<Q3_K, -Q3_K::kCodeHalf, Q3_K::kCodeHalf - 1, UnknownCodes>(
      group, result, bytes);
}

void EncodeImportanceQ3_K(const Group& group, uint8_t* bytes) {
  F32 x[kSuperBlock];
  LoadLanes<kSuperBlock>(group.weights, 0, x);
  GroupScales result = {};
  result.failed = NotFinite(x, kSuperBlock);
  const F32 variance =
      2.0f * SumOfSquares(x, kSuperBlock) / static_cast<float>(kSuperBlock);
  F32 scales[kSubBlocks], sums[kSubBlocks];
  for (int g = 0; g < kSubBlocks; g += kWays) {
    F32 w[kWays * kSize];
    for (int way = 0; way < kWays; ++way) {
      F32* sub_w = w + way * kSize;
      const F32* sub_x = x + (g + way) * kSize;
      LoadLanes<kSize>(group.importance, (g + way) * kSize, sub_w);
      result.failed |= NotFinite(sub_w, kSize);
      sums[g + way] = F32{};
      for (int i = 0; i < kSize; ++i) {
        sub_w[i] = sub_w[i] * Sqrt(variance + sub_x[i] * sub_x[i]);
        sums[g + way] += sub_w[i];
      }
    }
    SearchSymmetric<kSize, Q3_K::kCodeHalf, kWays>(x + g * kSize, w, scales + g,
                                                   result.inverse + g);
  }
  result.failed |= NotFinite(scales, kSubBlocks);
  F32 inverse;
  SearchSymmetric<kSubBlocks, -Q3_K::kScaleLow, 1>(scales, sums, &result.d,
                                                   &inverse);
  for (int g = 0; g < kSubBlocks; ++g) {
    result.scales[g] = SelectInt(inverse == F32{}, SplatInt(Q3_K::kScaleLow),
                                 ClampInt(RoundToInt(inverse * scales[g]),
                                          Q3_K::kScaleLow, Q3_K::kScaleHigh));
  }
  StoreGroup<Q3_K, -Q3_K::kCodeHalf, Q3_K::kCodeHalf - 1,
             SymmetricCodes<Q3_K::kCodeHalf>>(group, result, bytes);
}

template <bool kImportance>
void EncodeGroupQ6_K(const Group& group, uint8_t* bytes) {
  F32 x[kSuperBlock];
  LoadLanes<kSuperBlock>(group.weights, 0, x);
  GroupScales result = {};
  result.failed = NotFinite(x, kSuperBlock);
  F32 scales[kSubBlocks];
  for (int g = 0; g < kSubBlocks; g += kWays) {
    F32 w[kWays * kSize];
    const F32* sub_x = x + g * kSize;
    if (kImportance) {
      LoadLanes<kWays * kSize>(group.importance, g * kSize, w);
      result.failed |= NotFinite(w, kWays * kSize);
    } else {
      for (int i = 0; i < kWays * kSize; ++i) {
        w[i] = sub_x[i] * sub_x[i];
      }
    }
    SearchSymmetric<kSize, Q6_K::kCodeHalf, kWays>(sub_x, w, scales + g,
                                                   result.inverse + g);
  }
  const F32 largest = LargestScale(scales);
  const F32 inverse = Splat(static_cast<float>(Q6_K::kScaleLow)) / largest;
  // A block of zero bits; rare enough for the plain code.
  result.failed |= ~(Abs(largest) >= Splat(k_quants::kZeroLimit));
  result.d = Splat(1.0f) / inverse;
  for (int g = 0; g < kSubBlocks; ++g) {
    const I32 nearest = RoundToInt(inverse * scales[g]);
    result.scales[g] =
        (MinInt(nearest, SplatInt(Q6_K::kScaleHigh)) << 24) >> 24;
  }
  StoreGroup<Q6_K, -Q6_K::kCodeHalf, Q6_K::kCodeHalf - 1,
             SymmetricCodes<Q6_K::kCodeHalf>>(group, result, bytes);
}

}  // namespace
}  // namespace k_lanes

void EncodeQ3_K(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  ForEachGroup<k_quants::kSuperBlock, k_quants::Q3_K::kBytes>(
      weights, n_rows, n_cols, importance, bytes,
      importance != nullptr ? k_lanes::EncodeImportanceQ3_K
                            : k_lanes::EncodePlainQ3_K);
}

void EncodeQ6_K(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  ForEachGroup<k_quants::kSuperBlock, k_quants::Q6_K::kBytes>(
      weights, n_rows, n_cols, importance, bytes,
      importance != nullptr ? k_lanes::EncodeGroupQ6_K<true>
                            : k_lanes::EncodeGroupQ6_K<false>);
}

}  // namespace NARROW_SIMD
}  // namespace narrow
