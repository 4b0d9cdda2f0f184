#include "formats/hf_export/llama3_rope.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

// Parameters that are found give the divisors that they were found from.
void ExpectFound(const Llama3RopeInputs& inputs) {
  const std::vector<float> factors = Llama3RopeFactors(inputs);
  const auto found = FindLlama3Rope(factors, inputs.theta, inputs.dim);
  ASSERT_TRUE(found.has_value())
      << inputs.factor << " " << inputs.high_freq_factor << " "
      << inputs.original_context;
  const std::vector<float> again = Llama3RopeFactors(*found);
  for (size_t i = 0; i < factors.size(); ++i) {
    EXPECT_NEAR(again[i], factors[i], 4e-6 * factors[i]);
  }
}

TEST(Llama3Rope, FindsPublishedParametersThemselves) {
  for (const double factor : {8.0, 32.0}) {
    for (const int64_t dim : {64, 128}) {
      const auto found = FindLlama3Rope(
          Llama3RopeFactors({500000, dim, factor, 1, 4, 8192}), 500000, dim);
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(found->factor, factor);
      EXPECT_EQ(found->low_freq_factor, 1);
      EXPECT_EQ(found->high_freq_factor, 4);
      EXPECT_EQ(found->original_context, 8192);
    }
  }
}

TEST(Llama3Rope, FindsParametersNobodyPublished) {
  for (const double factor : {1.5, 4.0, 5.5, 100.0}) {
    for (const double context : {64.0, 1000.0, 4096.0, 10000.0}) {
      for (const double high : {1.25, 3.5, 4.0, 20.0}) {
        for (const int64_t dim : {16, 64, 128}) {
          ExpectFound({10000, dim, factor, 1, high, context});
        }
      }
    }
  }
}

TEST(Llama3Rope, FindsAnEqualOneWhereLowIsNotOne) {
  ExpectFound({30000, 64, 5.5, 2, 7, 1000});
}

TEST(Llama3Rope, FindsNothingForOtherDivisors) {
  // Rising, but no blend of 1 and 8.
  std::vector<float> factors = Llama3RopeFactors({500000, 64, 8, 1, 4, 8192});
  factors[16] *= 1.01f;
  EXPECT_FALSE(FindLlama3Rope(factors, 500000, 64).has_value());
  // Slow frequencies are stretched, never fast ones.
  EXPECT_FALSE(
      FindLlama3Rope(std::vector<float>{8, 8, 1, 1}, 10000, 8).has_value());
}

}  // namespace
}  // namespace narrow
