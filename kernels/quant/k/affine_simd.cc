// Encoders of the affine types Q2_K, Q4_K and Q5_K in lanes.

#include "kernels/quant/k/encode_lanes.h"
#include "kernels/quant/k/search_lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace k_lanes {
namespace {

using k_quants::PlainWeight;

// Sub-blocks searched side by side in each lane: on Zen 5, one is a third
// slower than four, two a twentieth.
constexpr int kWays = 4;

// As the reference's QuantizeToLargest.
template <class Type>
F32 QuantizeToLargest(const F32* numbers, int n, I32* integers) {
  F32 largest = {};
  for (int g = 0; g < n; ++g) {
    largest = Max(numbers[g], largest);
  }
  const F32 high = Splat(static_cast<float>(Type::kScaleHigh));
  const F32 inverse = Select(largest > F32{}, high / largest, F32{});
  for (int g = 0; g < n; ++g) {
    const I32 nearest = RoundToInt(inverse * numbers[g]) & 255;
    integers[g] = Type::kBoundPlainScales
                      ? MinInt(nearest, SplatInt(Type::kScaleHigh))
                      : nearest;
  }
  return largest / high;
}

template <class Type>
F32 QuantizeWeighted(const F32* numbers, const F32* weights, I32* integers) {
  constexpr int kSubBlocks = kSuperBlock / Type::kSubBlock;
  F32 unit;
  SearchUnits<kSubBlocks, Type::kScaleHigh>(numbers, weights, integers, &unit);
  if (Type::kBoundImportanceScales) {
    for (int g = 0; g < kSubBlocks; ++g) {
      integers[g] = MinInt(integers[g], SplatInt(Type::kScaleHigh));
    }
  }
  return unit;
}

// Weights of one sub-block without importance.
template <class Type>
void PlainWeights(const F32* x, F32* w) {
  constexpr int kSize = Type::kSubBlock;
  F32 rms = {};
  if (Type::kPlainWeight == PlainWeight::kMagnitudeAndRms) {
    rms = Sqrt(SumOfSquares(x, kSize) / static_cast<float>(kSize));
  }
  for (int i = 0; i < kSize; ++i) {
    w[i] = rms + Abs(x[i]);
  }
}

template <class Options>
struct AffineCodes {
  static constexpr bool kKnown = true;
  NARROW_LANE_FUNCTION static I32 Code(F32 x, float inverse, float from) {
    return RoundToInt(BestCode<Options>(x, Splat(inverse), Splat(from)));
  }
};

template <class Type, bool kImportance>
void EncodeAffineGroup(const Group& group, uint8_t* bytes) {
  constexpr int kSize = Type::kSubBlock;
  constexpr int kSubBlocks = kSuperBlock / kSize;
  using Options = AffineOptions<kSize, Type::kCodeHigh,
                                !kImportance && Type::kPlainAbsoluteError,
                                kImportance, kWays>;
  F32 x[kSuperBlock];
  LoadLanes<kSuperBlock>(group.weights, 0, x);
  GroupScales result = {};
  result.failed = NotFinite(x, kSuperBlock);

  F32 variance = {};
  if (kImportance) {
    variance = Type::kVarianceFactor * SumOfSquares(x, kSuperBlock) /
               static_cast<float>(kSuperBlock);
  }
  F32 scales[kSubBlocks], mins[kSubBlocks], sums[kSubBlocks];
  for (int g = 0; g < kSubBlocks; g += kWays) {
    F32 w[kWays * kSize];
    for (int way = 0; way < kWays; ++way) {
      F32* sub_w = w + way * kSize;
      const F32* sub_x = x + (g + way) * kSize;
      if (kImportance) {
        LoadLanes<kSize>(group.importance, (g + way) * kSize, sub_w);
        result.failed |= NotFinite(sub_w, kSize);
        sums[g + way] = F32{};
        for (int i = 0; i < kSize; ++i) {
          sub_w[i] = sub_w[i] * Sqrt(variance + sub_x[i] * sub_x[i]);
          sums[g + way] += sub_w[i];
        }
      } else {
        PlainWeights<Type>(sub_x, sub_w);
      }
    }
    F32 low[kWays];
    SearchAffine<Options>(
        x + g * kSize, w,
        kImportance ? k_quants::kImportanceGrid : Type::kPlainGrid, scales + g,
        low, result.inverse + g, result.from + g);
    for (int way = 0; way < kWays; ++way) {
      mins[g + way] = -low[way];
    }
  }
  if (kImportance) {
    result.d = QuantizeWeighted<Type>(scales, sums, result.scales);
    result.dmin = QuantizeWeighted<Type>(mins, sums, result.mins);
  } else {
    result.d = QuantizeToLargest<Type>(scales, kSubBlocks, result.scales);
    result.dmin = QuantizeToLargest<Type>(mins, kSubBlocks, result.mins);
  }
  StoreGroup<Type, 0, Type::kCodeHigh, AffineCodes<Options>>(group, result,
                                                             bytes);
}

template <class Type>
void EncodeAffine(const float* weights, int64_t n_rows, int64_t n_cols,
                  const float* importance, uint8_t* bytes) {
  ForEachGroup<kSuperBlock, Type::kBytes>(
      weights, n_rows, n_cols, importance, bytes,
      importance != nullptr ? EncodeAffineGroup<Type, true>
                            : EncodeAffineGroup<Type, false>);
}

}  // namespace
}  // namespace k_lanes

void EncodeQ2_K(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  k_lanes::EncodeAffine<k_quants::Q2_K>(weights, n_rows, n_cols, importance,
                                        bytes);
}

void EncodeQ4_K(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  k_lanes::EncodeAffine<k_quants::Q4_K>(weights, n_rows, n_cols, importance,
                                        bytes);
}

void EncodeQ5_K(const float* weights, int64_t n_rows, int64_t n_cols,
                const float* importance, uint8_t* bytes) {
  k_lanes::EncodeAffine<k_quants::Q5_K>(weights, n_rows, n_cols, importance,
                                        bytes);
}

}  // namespace NARROW_SIMD
}  // namespace narrow
