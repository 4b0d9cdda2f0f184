#include "validate/gate/bounds.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "validate/gate/quantiles.h"

namespace narrow {
namespace {

// Tables of any book; R 4.2: qt(.95, c(1, 2, 5, 19, 1000)), qt(.999, 19).
TEST(Quantiles, StudentAsInTables) {
  EXPECT_NEAR(StudentQuantile(0.95, 1), 6.313751515, 1e-8);
  EXPECT_NEAR(StudentQuantile(0.95, 2), 2.919985580, 1e-8);
  EXPECT_NEAR(StudentQuantile(0.95, 5), 2.015048373, 1e-8);
  EXPECT_NEAR(StudentQuantile(0.95, 19), 1.729132812, 1e-8);
  EXPECT_NEAR(StudentQuantile(0.95, 1000), 1.646378818, 1e-8);
  EXPECT_NEAR(StudentQuantile(0.999, 19), 3.579400148, 1e-8);
  EXPECT_NEAR(StudentQuantile(0.05, 19), -1.729132812, 1e-8);
  EXPECT_EQ(StudentQuantile(0.5, 7), 0);
  // Two degrees have a closed form: t = (2p - 1) / sqrt(2 p (1 - p)); far out.
  const double p = 1e-12;
  EXPECT_NEAR(StudentQuantile(p, 2) / -(1 / std::sqrt(2 * p)), 1, 1e-6);
}

TEST(Quantiles, BetaHasItsClosedForms) {
  for (double x : {0.01, 0.3, 0.77}) {
    EXPECT_NEAR(BetaProbability(x, 1, 1), x, 1e-13);
    EXPECT_NEAR(BetaProbability(x, 3, 1), x * x * x, 1e-13);
    EXPECT_NEAR(BetaProbability(x, 1, 4), 1 - std::pow(1 - x, 4), 1e-13);
    EXPECT_NEAR(BetaQuantile(BetaProbability(x, 40, 7), 40, 7), x, 1e-9);
  }
}

TEST(MeanOfClusters, ByHand) {
  // Means 1, 2, 6 over two values each: 3; deviations -4, -2, 6.
  const ClusterMean mean = MeanOfClusters({2, 4, 12}, {2, 2, 2});
  EXPECT_DOUBLE_EQ(mean.mean, 3);
  EXPECT_NEAR(mean.error, std::sqrt(56.0 * 3 / 2) / 6, 1e-14);
  EXPECT_NEAR(mean.skewness,
              std::sqrt(6.0) / 1 * (144.0 / 3) / std::pow(56.0 / 3, 1.5),
              1e-13);
  EXPECT_EQ(mean.n, 3);
}

ClusterMean Mean(double skewness, int64_t n) {
  ClusterMean mean;
  mean.mean = 10;
  mean.error = 1;
  mean.skewness = skewness;
  mean.n = n;
  return mean;
}

double Upper(const ClusterMean& mean, double rate) {
  return UpperBound(mean, BoundQuantile(rate, mean.n));
}

double Lower(const ClusterMean& mean, double rate) {
  return LowerBound(mean, BoundQuantile(rate, mean.n));
}

TEST(Bounds, WithoutSkewnessAreStudents) {
  const double t = StudentQuantile(0.05 * 40 / 160, 39);
  EXPECT_NEAR(Upper(Mean(0, 40), 0.05), 10 - t, 1e-12);
  EXPECT_NEAR(Lower(Mean(0, 40), 0.05), 10 + t, 1e-12);
}

// Skewness to the right moves the bound above outwards, and the one below no
// nearer.
TEST(Bounds, SkewnessWidensTheSideOfTheTail) {
  EXPECT_GT(Upper(Mean(2, 40), 0.05), Upper(Mean(0, 40), 0.05) + 0.3);
  EXPECT_DOUBLE_EQ(Lower(Mean(2, 40), 0.05), Lower(Mean(0, 40), 0.05));
  EXPECT_DOUBLE_EQ(Lower(Mean(-2, 40), 0.05) - 10,
                   10 - Upper(Mean(2, 40), 0.05));
  // Hall's transformation of the bound is the quantile again.
  const double g = 2 / std::sqrt(40.0);
  const double big_t = 10 - Upper(Mean(2, 40), 0.05);
  EXPECT_NEAR(
      big_t + g * big_t * big_t / 3 + g * g * std::pow(big_t, 3) / 27 + g / 6,
      StudentQuantile(0.05 * 40 / 160, 39), 1e-12);
}

TEST(Bounds, LessRateIsWider) {
  for (double skewness : {-3.0, 0.0, 3.0}) {
    double last = 10;
    for (double rate : {0.2, 0.05, 0.01, 1e-4, 1e-8}) {
      const double bound = Upper(Mean(skewness, 16), rate);
      EXPECT_GT(bound, last);
      last = bound;
    }
  }
}

TEST(Bounds, AFewWindowsBoundNothing) {
  EXPECT_EQ(Upper(Mean(0, kMinClusters - 1), 0.05), INFINITY);
  EXPECT_EQ(Lower(Mean(0, kMinClusters - 1), 0.05), -INFINITY);
  EXPECT_TRUE(std::isfinite(Upper(Mean(0, kMinClusters), 0.05)));
}

// R: binom.test(18, 20)$conf.int, two-sided 90 %.
TEST(Bounds, SharesAsClopperAndPearson) {
  EXPECT_NEAR(LowerShareBound(18, 20, 0.05), 0.7173815, 1e-6);
  EXPECT_NEAR(UpperShareBound(18, 20, 0.05), 0.9819348, 1e-6);
  EXPECT_NEAR(LowerShareBound(20, 20, 0.05), std::pow(0.05, 1.0 / 20), 1e-12);
  EXPECT_EQ(UpperShareBound(20, 20, 0.05), 1);
  EXPECT_EQ(LowerShareBound(0, 20, 0.05), 0);
}

}  // namespace
}  // namespace narrow
