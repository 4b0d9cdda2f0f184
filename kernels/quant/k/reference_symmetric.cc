// Scales of the symmetric types Q3_K and Q6_K, as ggml 0.27 fits them.

#include <cmath>

#include "kernels/quant/k/reference.h"

namespace narrow {
namespace k_quants {
namespace {

constexpr int kSize = 16;
constexpr int kSubBlocks = 16;
static_assert(Q3_K::kSubBlock == kSize && Q6_K::kSubBlock == kSize,
              "both types have sub-blocks of 16");

// The first scale of the greatest magnitude.
float LargestScale(const float* scales) {
  float largest = 0;
  for (int g = 0; g < kSubBlocks; ++g) {
    if (std::fabs(scales[g]) > std::fabs(largest)) {
      largest = scales[g];
    }
  }
  return largest;
}

// ggml stores the integer in a byte before it bounds it.
int NearestByte(float value) { return static_cast<int8_t>(RoundToInt(value)); }

SubScales FitPlainQ3_K(const float* x, int8_t* codes) {
  float scales[kSubBlocks];
  for (int g = 0; g < kSubBlocks; ++g) {
    scales[g] = DescendSymmetric({x + kSize * g, kSize}, Q3_K::kCodeHalf,
                                 codes + kSize * g);
  }
  SubScales result = {};
  const float largest = LargestScale(scales);
  if (largest == 0) {
    for (int g = 0; g < kSubBlocks; ++g) {
      // Six zero bits.
      result.scales[g] = Q3_K::kScaleLow;
    }
    return result;
  }
  const float inverse = static_cast<float>(Q3_K::kScaleLow) / largest;
  result.d = 1 / inverse;
  for (int g = 0; g < kSubBlocks; ++g) {
    result.scales[g] = Bounded(NearestByte(inverse * scales[g]),
                               Q3_K::kScaleLow, Q3_K::kScaleHigh);
  }
  return result;
}

SubScales FitImportanceQ3_K(const float* x, const float* importance,
                            int8_t* codes) {
  float squares = 0;
  for (int i = 0; i < kSuperBlock; ++i) {
    squares += x[i] * x[i];
  }
  const float variance = 2 * squares / kSuperBlock;
  float scales[kSubBlocks];
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
    scales[g] = SearchSymmetric({sub, kSize}, weights, Q3_K::kCodeHalf,
                                codes + kSize * g);
  }
  // The scales are numbers to quantize like any others.
  int8_t scale_codes[kSubBlocks];
  SubScales result = {};
  result.d = SearchSymmetric(scales, sums, -Q3_K::kScaleLow, scale_codes);
  for (int g = 0; g < kSubBlocks; ++g) {
    result.scales[g] = scale_codes[g];
  }
  return result;
}

}  // namespace

SubScales FitScales(Q3_K, const float* x, const float* importance,
                    int8_t* codes) {
  return importance == nullptr ? FitPlainQ3_K(x, codes)
                               : FitImportanceQ3_K(x, importance, codes);
}

SubScales FitScales(Q6_K, const float* x, const float* importance,
                    int8_t* codes) {
  float scales[kSubBlocks];
  for (int g = 0; g < kSubBlocks; ++g) {
    // Importance counts as it is here, without regard to the weights.
    scales[g] = SearchSymmetric(
        {x + kSize * g, kSize},
        importance != nullptr ? importance + kSize * g : nullptr,
        Q6_K::kCodeHalf, codes + kSize * g);
  }
  SubScales result = {};
  const float largest = LargestScale(scales);
  if (std::fabs(largest) < kZeroLimit) {
    // A block of zero bits.
    for (int i = 0; i < kSuperBlock; ++i) {
      codes[i] = -Q6_K::kCodeHalf;
    }
    return result;
  }
  const float inverse = static_cast<float>(Q6_K::kScaleLow) / largest;
  result.d = 1 / inverse;
  for (int g = 0; g < kSubBlocks; ++g) {
    const int nearest = RoundToInt(inverse * scales[g]);
    result.scales[g] = static_cast<int8_t>(
        nearest < Q6_K::kScaleHigh ? nearest : Q6_K::kScaleHigh);
  }
  return result;
}

}  // namespace k_quants
}  // namespace narrow
