// Weights and importances for tests and benchmarks, made of integers alone,
// so that tools/make_quant_goldens.py makes the same ones bit for bit.
//
// A generator of 64-bit state s steps s = s * 6364136223846793005 +
// 1442695040888963407 and yields the top 16 bits. "Normal" numbers are the
// sum of four yields less 131070, so |n| <= 131070 with deviation 37837.

#ifndef NARROW_KERNELS_QUANT_TEST_WEIGHTS_H_
#define NARROW_KERNELS_QUANT_TEST_WEIGHTS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace narrow {

class TestGenerator {
 public:
  explicit TestGenerator(uint64_t seed) : state_(seed) {}

  uint32_t Next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 48);
  }
  // Consecutive numbers of a stream: the sum of four, centred.
  int Normal();

 private:
  uint64_t state_;
};

enum class Distribution {
  kNormal,     // deviation 0.036, as trained weights have
  kBf16,       // the same with the low 16 bits cut off
  kOutliers,   // one in 64 is 64 times as large
  kPositive,   // |normal|
  kNegative,   // -|normal|
  kConstant,   // a row has one value; rows differ in sign and size
  kZero,       // runs of 32 zeros, -0 among them, and of normal weights
  kOneHot,     // one in 32 is not zero
  kGrid,       // multiples of 1/2 up to 4, full of ties
  kRamp,       // column number
  kSubnormal,  // normal * 2^-140: on both sides of 2^-126
  kTiny,       // normal * 2^-149: the smallest there are
  kLarge,      // normal * 2^2: beyond half precision, scales within
  kHuge,       // normal * 2^100: squares and scales overflow
  kNotFinite,  // normal, here and there a NaN or an infinity
};
inline constexpr int kNumDistributions = 15;

// As written in test names.
const char* DistributionName(Distribution distribution);

std::vector<float> TestWeights(Distribution distribution, int64_t n_rows,
                               int64_t n_cols);

enum class ImportanceKind {
  kNone,
  kVaried,     // over eight orders of magnitude
  kWithZeros,  // the same; half of all runs of 16, and single ones, are zero
};
inline constexpr int kNumImportanceKinds = 3;
const char* ImportanceName(ImportanceKind kind);

// Empty for kNone.
std::vector<float> TestImportance(ImportanceKind kind, int64_t n_cols);

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEST_WEIGHTS_H_
