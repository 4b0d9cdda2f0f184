// Scales of the affine types Q2_K, Q4_K and Q5_K, as ggml 0.27 fits them.

#include <cmath>

#include "kernels/quant/k/reference.h"

namespace narrow {
namespace k_quants {
namespace {

float SumOfSquares(const float* x, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) {
    sum += x[i] * x[i];
  }
  return sum;
}

// Units from the largest number, the integers to nearest.
template <class Type>
float QuantizeToLargest(const float* numbers, int n, int* integers) {
  float largest = 0;
  for (int g = 0; g < n; ++g) {
    largest = numbers[g] > largest ? numbers[g] : largest;
  }
  const float high = static_cast<float>(Type::kScaleHigh);
  const float inverse = largest > 0 ? high / largest : 0;
  for (int g = 0; g < n; ++g) {
    const int nearest = static_cast<uint8_t>(RoundToInt(inverse * numbers[g]));
    integers[g] = Type::kBoundPlainScales
                      ? Bounded(nearest, 0, Type::kScaleHigh)
                      : nearest;
  }
  return largest / high;
}

// Each sub-block's weights count by their own magnitude.
template <class Type>
SubScales FitPlain(const float* x, int8_t* codes) {
  constexpr int kSize = Type::kSubBlock;
  constexpr int kSubBlocks = kSuperBlock / kSize;
  float scales[kSubBlocks];
  float mins[kSubBlocks];
  for (int g = 0; g < kSubBlocks; ++g) {
    const float* sub = x + kSize * g;
    float rms = 0;
    if (Type::kPlainWeight == PlainWeight::kMagnitudeAndRms) {
      rms = std::sqrt(SumOfSquares(sub, kSize) / kSize);
    }
    float weights[kSize];
    for (int i = 0; i < kSize; ++i) {
      weights[i] = rms + std::fabs(sub[i]);
    }
    const AffineLine line =
        SearchAffine({sub, kSize}, weights, Type::kCodeHigh, Type::kPlainGrid,
                     Type::kPlainAbsoluteError, CodeRule::kRoundThenBound,
                     codes + kSize * g);
    scales[g] = line.scale;
    mins[g] = -line.low;
  }
  SubScales result = {};
  result.d = QuantizeToLargest<Type>(scales, kSubBlocks, result.scales);
  result.dmin = QuantizeToLargest<Type>(mins, kSubBlocks, result.mins);
  return result;
}

template <class Type>
float QuantizeWeighted(const float* numbers, const float* weights, int n,
                       int* integers) {
  uint8_t codes[16];
  const float unit = SearchUnit({numbers, static_cast<size_t>(n)}, weights,
                                Type::kScaleHigh, codes);
  for (int g = 0; g < n; ++g) {
    integers[g] = Type::kBoundImportanceScales
                      ? Bounded(codes[g], 0, Type::kScaleHigh)
                      : codes[g];
  }
  return unit;
}

// Columns count by importance, damped for weights well inside the block.
template <class Type>
SubScales FitWithImportance(const float* x, const float* importance,
                            int8_t* codes) {
  constexpr int kSize = Type::kSubBlock;
  constexpr int kSubBlocks = kSuperBlock / kSize;
  const float variance =
      Type::kVarianceFactor * SumOfSquares(x, kSuperBlock) / kSuperBlock;
  float scales[kSubBlocks];
  float mins[kSubBlocks];
  float sums[kSubBlocks];
  for (int g = 0; g < kSubBlocks; ++g) {
    const float* sub = x + kSize * g;
    float weights[kSize];
    sums[g] = 0;
    for (int i = 0; i < kSize; ++i) {
      weights[i] =
          importance[kSize * g + i] * std::sqrt(variance + sub[i] * sub[i]);
      sums[g] += weights[i];
    }
    const AffineLine line = SearchAffine(
        {sub, kSize}, weights, Type::kCodeHigh, kImportanceGrid,
        /*absolute_error=*/false, CodeRule::kBoundThenRound, codes + kSize * g);
    scales[g] = line.scale;
    mins[g] = -line.low;
  }
  SubScales result = {};
  result.d = QuantizeWeighted<Type>(scales, sums, kSubBlocks, result.scales);
  result.dmin = QuantizeWeighted<Type>(mins, sums, kSubBlocks, result.mins);
  return result;
}

template <class Type>
SubScales FitAffine(const float* x, const float* importance, int8_t* codes) {
  return importance == nullptr ? FitPlain<Type>(x, codes)
                               : FitWithImportance<Type>(x, importance, codes);
}

}  // namespace

SubScales FitScales(Q2_K, const float* x, const float* importance,
                    int8_t* codes) {
  return FitAffine<Q2_K>(x, importance, codes);
}

SubScales FitScales(Q4_K, const float* x, const float* importance,
                    int8_t* codes) {
  return FitAffine<Q4_K>(x, importance, codes);
}

SubScales FitScales(Q5_K, const float* x, const float* importance,
                    int8_t* codes) {
  return FitAffine<Q5_K>(x, importance, codes);
}

}  // namespace k_quants
}  // namespace narrow
