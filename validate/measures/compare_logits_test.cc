#include "validate/measures/compare_logits.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

std::vector<float> Random(int64_t n, float scale, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> logits(static_cast<size_t>(n));
  for (float& value : logits) {
    value = normal(random);
  }
  return logits;
}

// ln of the sum of exponentials, in long double.
long double LogSum(const std::vector<float>& logits, size_t n) {
  long double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    sum += std::exp(static_cast<long double>(logits[i]));
  }
  return std::log(sum);
}

// The kernels' exponentials are within 2e-7, and logits of 16 are rounded to
// 1e-6 when they are subtracted.
constexpr double kTolerance = 4e-6;

TEST(CompareLogits, AsTheDefinition) {
  for (const float scale : {0.1f, 2.0f, 6.0f}) {
    const std::vector<float> p = Random(1003, scale, 1);
    std::vector<float> q = Random(1003, 0.2f * scale, 2);
    for (size_t i = 0; i < q.size(); ++i) {
      q[i] += p[i];
    }
    const long double log_p = LogSum(p, p.size());
    const long double log_q = LogSum(q, q.size());
    long double divergence = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      divergence += std::exp(p[i] - log_p) * (p[i] - log_p - q[i] + log_q);
    }
    std::vector<float> p_copy = p;
    std::vector<float> q_copy = q;
    const TokenComparison token =
        CompareLogits(p_copy.data(), 1003, q_copy.data(), 1003, 17);
    EXPECT_NEAR(token.reference_nll, static_cast<double>(log_p - p[17]),
                kTolerance);
    EXPECT_NEAR(token.candidate_nll, static_cast<double>(log_q - q[17]),
                kTolerance);
    EXPECT_NEAR(token.divergence, static_cast<double>(divergence), kTolerance);
  }
}

// Each model's loss is over its own ids, the divergence over those of both.
TEST(CompareLogits, IdsThatOneModelLacks) {
  const std::vector<float> p = Random(100, 1, 3);
  std::vector<float> q(p.begin(), p.begin() + 90);
  std::vector<float> p_copy = p;
  std::vector<float> q_copy = q;
  const TokenComparison token =
      CompareLogits(p_copy.data(), 100, q_copy.data(), 90, 5);
  EXPECT_NEAR(token.reference_nll, static_cast<double>(LogSum(p, 100) - p[5]),
              kTolerance);
  EXPECT_NEAR(token.candidate_nll, static_cast<double>(LogSum(p, 90) - p[5]),
              kTolerance);
  EXPECT_NEAR(token.divergence, 0, kTolerance);
}

TEST(CompareLogits, TheLowestOfEqualTokensIsTheTop) {
  std::vector<float> p = {0, 3, 1, 3};
  std::vector<float> q = {0, 2, 1, 2};
  std::vector<float> r = {0, 2, 1, 2.5};
  EXPECT_EQ(ScoreLogits(p.data(), 4, 0).top_token, 1);
  std::vector<float> p_copy = p;
  EXPECT_TRUE(CompareLogits(p_copy.data(), 4, q.data(), 4, 0).same_top);
  EXPECT_FALSE(CompareLogits(p.data(), 4, r.data(), 4, 0).same_top);
}

TEST(CompareLogits, WhatIsNoNumberStaysNone) {
  std::vector<float> p = {0, 1, 2};
  std::vector<float> q(3, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(
      std::isnan(CompareLogits(p.data(), 3, q.data(), 3, 1).divergence));
}

}  // namespace
}  // namespace narrow
