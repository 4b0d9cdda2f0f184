#include "validate/tasks/task_statistics.h"

#include <cmath>

#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr double kZ = 1.959963984540054;

// What llama-perplexity --hellaswag prints after so many tasks (Debian's
// 0.7.0): in per cent, four digits.
TEST(WilsonInterval, AgreesWithLlamaPerplexity) {
  const Interval three = WilsonInterval(1, 3, kZ);
  EXPECT_NEAR(three.low, 0.061492, 6e-7);
  EXPECT_NEAR(three.high, 0.792340, 6e-7);
  const Interval twenty = WilsonInterval(4, 20, kZ);
  EXPECT_NEAR(twenty.low, 0.080658, 6e-7);
  EXPECT_NEAR(twenty.high, 0.416017, 6e-7);
}

TEST(WilsonInterval, EndsStayWithinZeroAndOne) {
  const Interval none = WilsonInterval(0, 1, kZ);
  EXPECT_NEAR(none.low, 0, 1e-15);
  EXPECT_NEAR(none.high, 0.793451, 1e-5);
  EXPECT_GE(none.low, 0);
  const Interval all = WilsonInterval(50, 50, kZ);
  EXPECT_LE(all.high, 1);
  EXPECT_NEAR(all.high, 1, 1e-12);
}

// By hand: 2 * sum of C(n, k) / 2^n up to the smaller count.
TEST(McNemarExact, SmallCountsByHand) {
  EXPECT_EQ(McNemarExact(0, 0), 1);
  EXPECT_NEAR(McNemarExact(1, 0), 1, 1e-12);
  EXPECT_NEAR(McNemarExact(0, 5), 2.0 / 32, 1e-12);
  EXPECT_NEAR(McNemarExact(5, 0), 2.0 / 32, 1e-12);
  EXPECT_NEAR(McNemarExact(3, 7), 2.0 * (1 + 10 + 45 + 120) / 1024, 1e-12);
  EXPECT_EQ(McNemarExact(4, 4), 1);
}

// Against the sum of all terms, made by a recurrence.
TEST(McNemarExact, LargeCountsAgreeWithTheFullSum) {
  const int64_t lost = 480;
  const int64_t gained = 540;
  const int64_t n = lost + gained;
  double term = std::pow(0.5, 1020);
  double tail = 0;
  for (int64_t k = 0; k <= lost; ++k) {
    tail += term;
    term *= static_cast<double>(n - k) / static_cast<double>(k + 1);
  }
  EXPECT_NEAR(McNemarExact(lost, gained) / (2 * tail), 1, 1e-9);
  // Beyond the doubles' 2^-1074 there are still values.
  EXPECT_GT(McNemarExact(9900, 10100), 0.1);
  EXPECT_LT(McNemarExact(9000, 11000), 1e-40);
}

}  // namespace
}  // namespace narrow
