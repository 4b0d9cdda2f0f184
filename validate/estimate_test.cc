#include "validate/estimate.h"

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

std::vector<double> NormalValues(int n, double mean, double width) {
  std::mt19937 random(11);
  std::normal_distribution<double> normal(mean, width);
  std::vector<double> values(n);
  for (double& value : values) {
    value = normal(random);
  }
  return values;
}

// By hand: mean 3, mean square 11, variance 2, error sqrt(2 / 3).
TEST(Estimate, MeanOfFewValues) {
  const Estimate e = MeanOf({1.0, 3.0, 5.0, 3.0});
  EXPECT_DOUBLE_EQ(e.value, 3);
  EXPECT_DOUBLE_EQ(e.error, std::sqrt(2.0 / 3.0));
}

TEST(Estimate, ErrorIsThatOfTheDirectFormula) {
  const std::vector<double> values = NormalValues(5000, 4, 3);
  double sum = 0, squares = 0;
  for (double v : values) {
    sum += v;
    squares += v * v;
  }
  const double n = values.size();
  const double mean = sum / n;
  const double error = std::sqrt((squares / n - mean * mean) / (n - 1));
  const Estimate e = MeanOf(values);
  EXPECT_NEAR(e.value, mean, 1e-12);
  EXPECT_NEAR(e.error, error, 1e-12);
}

TEST(Estimate, EqualValuesHaveNoError) {
  const std::vector<double> zeros(100, 0.0);
  EXPECT_EQ(MeanOf(zeros).value, 0);
  EXPECT_EQ(MeanOf(zeros).error, 0);
  EXPECT_EQ(BlockError(zeros, {30, 70}), 0);
}

TEST(Estimate, OneValueLeavesTheErrorUnknown) {
  EXPECT_DOUBLE_EQ(MeanOf({2.5}).value, 2.5);
  EXPECT_TRUE(std::isnan(MeanOf({2.5}).error));
  EXPECT_TRUE(std::isnan(BlockError({1.0, 2.0}, {2})));
  EXPECT_TRUE(std::isnan(ShareOf(1, 1).error));
}

// Blocks of one value each are the plain sample: n / (n - 1) * S / n^2 is
// S / n / (n - 1).
TEST(Estimate, BlocksOfOneAreIndependentValues) {
  const std::vector<double> values = NormalValues(400, 0, 1);
  const std::vector<int64_t> ones(values.size(), 1);
  EXPECT_NEAR(BlockError(values, ones), MeanOf(values).error, 1e-12);
}

// Blocks of equal size: the error of the mean of the blocks' means.
TEST(Estimate, EqualBlocksAreTheSampleOfTheirMeans) {
  const std::vector<double> values = NormalValues(300, 5, 2);
  std::vector<double> means;
  for (int b = 0; b < 20; ++b) {
    double sum = 0;
    for (int i = 0; i < 15; ++i) {
      sum += values[b * 15 + i];
    }
    means.push_back(sum / 15);
  }
  EXPECT_NEAR(BlockError(values, std::vector<int64_t>(20, 15)),
              MeanOf(means).error, 1e-12);
}

// Every value k times in a row: the naive error shrinks by about sqrt(k),
// though nothing was learnt; that of the blocks does not.
TEST(Estimate, BlocksSeeRepetition) {
  const std::vector<double> values = NormalValues(200, 0, 1);
  std::vector<double> repeated;
  for (double v : values) {
    repeated.insert(repeated.end(), 9, v);
  }
  const double truth = MeanOf(values).error;
  EXPECT_NEAR(MeanOf(repeated).error, truth / 3, truth * 0.01);
  EXPECT_NEAR(BlockError(repeated, std::vector<int64_t>(200, 9)), truth, 1e-12);
}

TEST(Estimate, ShareAndExponential) {
  const Estimate share = ShareOf(30, 101);
  EXPECT_DOUBLE_EQ(share.value, 30.0 / 101);
  EXPECT_DOUBLE_EQ(share.error, std::sqrt(30.0 * 71 / 101 / 101 / 100));
  const Estimate e = ExpOf({std::log(20.0), 0.01});
  EXPECT_NEAR(e.value, 20, 1e-12);
  EXPECT_NEAR(e.error, 0.2, 1e-12);
}

}  // namespace
}  // namespace narrow
