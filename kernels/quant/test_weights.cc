#include "kernels/quant/test_weights.h"

#include <cmath>
#include <cstdlib>

#include "formats/base/float16.h"

namespace narrow {
namespace {

// Every product below is exact.
float TestWeight(Distribution distribution, int64_t row, int64_t column,
                 int normal) {
  const float number = static_cast<float>(normal);
  switch (distribution) {
    case Distribution::kNormal:
      return number * 0x1p-20f;
    case Distribution::kBf16:
      return FloatFromBits(FloatBits(number * 0x1p-20f) & 0xffff0000);
    case Distribution::kOutliers:
      return number * (normal % 64 == 0 ? 0x1p-14f : 0x1p-20f);
    case Distribution::kPositive:
      return std::fabs(number) * 0x1p-20f;
    case Distribution::kNegative:
      return -std::fabs(number) * 0x1p-20f;
    case Distribution::kConstant:
      return static_cast<float>(row % 2 == 0 ? row + 1 : -row) * 0.1875f;
    case Distribution::kZero:
      return column / 32 % 2 == 0 ? (normal % 2 == 0 ? 0.0f : -0.0f)
                                  : number * 0x1p-20f;
    case Distribution::kOneHot:
      return column % 32 == (column / 32 + row) % 32 ? number * 0x1p-20f : 0.0f;
    case Distribution::kGrid:
      return static_cast<float>(normal % 9) * 0.5f;
    case Distribution::kRamp:
      return static_cast<float>(column - 100 * row) * 0x1p-8f;
    case Distribution::kSubnormal:
      return number * 0x1p-140f;
    case Distribution::kTiny:
      return number * 0x1p-149f;
    case Distribution::kLarge:
      return number * 0x1p2f;
    case Distribution::kHuge:
      return number * 0x1p100f;
    case Distribution::kNotFinite:
      if (normal % 211 == 0) {
        return FloatFromBits(0x7fc00000);
      }
      return normal % 199 == 0
                 ? FloatFromBits(normal < 0 ? 0xff800000 : 0x7f800000)
                 : number * 0x1p-20f;
  }
  return 0;
}

}  // namespace

int TestGenerator::Normal() {
  int sum = -131070;
  for (int i = 0; i < 4; ++i) {
    sum += static_cast<int>(Next());
  }
  return sum;
}

const char* DistributionName(Distribution distribution) {
  static constexpr const char* kNames[kNumDistributions] = {
      "normal",    "bf16", "outliers", "positive", "negative",
      "constant",  "zero", "one_hot",  "grid",     "ramp",
      "subnormal", "tiny", "large",    "huge",     "not_finite"};
  return kNames[static_cast<int>(distribution)];
}

std::vector<float> TestWeights(Distribution distribution, int64_t n_rows,
                               int64_t n_cols) {
  TestGenerator generator(1 + static_cast<uint64_t>(distribution));
  std::vector<float> weights;
  weights.reserve(n_rows * n_cols);
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t column = 0; column < n_cols; ++column) {
      weights.push_back(
          TestWeight(distribution, row, column, generator.Normal()));
    }
  }
  return weights;
}

const char* ImportanceName(ImportanceKind kind) {
  static constexpr const char* kNames[kNumImportanceKinds] = {"none", "varied",
                                                              "with_zeros"};
  return kNames[static_cast<int>(kind)];
}

std::vector<float> TestImportance(ImportanceKind kind, int64_t n_cols) {
  std::vector<float> importance;
  if (kind == ImportanceKind::kNone) {
    return importance;
  }
  TestGenerator generator(1000);
  for (int64_t column = 0; column < n_cols; ++column) {
    const uint32_t mantissa = 1 + generator.Next();
    const uint32_t exponent = generator.Next() % 24;
    const uint32_t gap = generator.Next();
    const bool zero = column / 16 % 2 == 0 || gap % 8 == 0;
    importance.push_back(kind == ImportanceKind::kWithZeros && zero
                             ? 0.0f
                             : std::ldexp(static_cast<float>(mantissa),
                                          static_cast<int>(exponent) - 30));
  }
  return importance;
}

}  // namespace narrow
