#include "validate/measures/comparison.h"

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "validate/measures/bootstrap.h"
#include "validate/measures/quantile.h"

namespace narrow {
namespace {

PairedScores RandomScores(int64_t n_windows, int64_t n_tokens, double shift) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal(0, 1);
  PairedScores scores;
  for (int64_t w = 0; w < n_windows; ++w) {
    const double hard = 0.5 * normal(random);
    for (int64_t i = 0; i < n_tokens; ++i) {
      TokenComparison token;
      token.reference_nll = std::abs(2 + hard + normal(random));
      token.divergence = 0.02 * std::exp(hard + normal(random));
      token.candidate_nll =
          std::abs(token.reference_nll + shift + 0.2 * normal(random));
      token.same_top = normal(random) < 1.3;
      scores.tokens.push_back(token);
    }
    scores.window_sizes.push_back(n_tokens);
  }
  return scores;
}

// Formulas of llama-perplexity: sums, sums of squares and of products.
TEST(MakeComparison, ErrorsAreLlamaPerplexitys) {
  const PairedScores scores = RandomScores(10, 50, 0.1);
  const Comparison c = MakeComparison(scores, 0);
  const double n = 500;
  double p = 0, q = 0, pp = 0, qq = 0, pq = 0, dp2 = 0, dp4 = 0, same = 0;
  for (const TokenComparison& t : scores.tokens) {
    p += t.reference_nll / n;
    q += t.candidate_nll / n;
    pp += t.reference_nll * t.reference_nll / n;
    qq += t.candidate_nll * t.candidate_nll / n;
    pq += t.reference_nll * t.candidate_nll / n;
    dp2 += std::pow(DeltaP(t), 2) / n;
    dp4 += std::pow(DeltaP(t), 4) / n;
    same += t.same_top / n;
  }
  const double var_p = (pp - p * p) / (n - 1);
  const double var_q = (qq - q * q) / (n - 1);
  const double cov = (pq - p * q) / (n - 1);
  EXPECT_NEAR(c.perplexity.value, std::exp(q), 1e-10);
  EXPECT_NEAR(c.perplexity.error, std::exp(q) * std::sqrt(var_q), 1e-9);
  EXPECT_NEAR(c.reference_perplexity.error, std::exp(p) * std::sqrt(var_p),
              1e-9);
  EXPECT_NEAR(c.log_correlation, cov / std::sqrt(var_p * var_q), 1e-10);
  const double ratio_error = std::sqrt(var_p + var_q - 2 * cov);
  EXPECT_NEAR(c.log_ratio.value, q - p, 1e-12);
  EXPECT_NEAR(c.log_ratio.error, ratio_error, 1e-9);
  EXPECT_NEAR(c.ratio.error, std::exp(q - p) * ratio_error, 1e-9);
  EXPECT_NEAR(c.difference.value, std::exp(q) - std::exp(p), 1e-10);
  EXPECT_NEAR(c.difference.error,
              std::sqrt(std::exp(2 * q) * var_q + std::exp(2 * p) * var_p -
                        2 * std::exp(p + q) * cov),
              1e-9);
  EXPECT_NEAR(c.rms_delta_p.value, std::sqrt(dp2), 1e-12);
  EXPECT_NEAR(c.rms_delta_p.error,
              0.5 / std::sqrt(dp2) * std::sqrt((dp4 - dp2 * dp2) / (n - 1)),
              1e-9);
  EXPECT_NEAR(c.same_top.error, std::sqrt(same * (1 - same) / (n - 1)), 1e-12);
}

// Windows that are hard or easy as a whole: the error over tokens is too
// small; those over windows, by formula and by resampling, agree.
TEST(MakeComparison, ErrorsOverWindowsAgree) {
  const Comparison c = MakeComparison(RandomScores(60, 40, 0.1), 3);
  for (const Figure& figure : {c.perplexity, c.divergence, c.log_ratio,
                               c.difference, c.rms_delta_p, c.same_top}) {
    EXPECT_NEAR(figure.bootstrap_error / figure.window_error, 1, 0.12);
    EXPECT_LT(figure.low, figure.value);
    EXPECT_GT(figure.high, figure.value);
    EXPECT_NEAR((figure.high - figure.low) / (3.92 * figure.window_error), 1,
                0.15);
  }
  EXPECT_GT(c.divergence.window_error, 1.5 * c.divergence.error);
}

TEST(MakeComparison, QuantilesAreNumpys) {
  PairedScores scores;
  for (const double kl : {0.5, 0.1, 0.4, 0.2}) {
    scores.tokens.push_back({1, 1, kl, true});
  }
  scores.window_sizes = {4};
  const Comparison c = MakeComparison(scores, 0);
  EXPECT_DOUBLE_EQ(c.divergence_quantiles[kQuantileMinimum], 0.1);
  EXPECT_NEAR(c.divergence_quantiles[kQuantileMedian], 0.3, 1e-15);
  EXPECT_NEAR(c.divergence_quantiles[kQuantile90], 0.47, 1e-15);
  EXPECT_DOUBLE_EQ(c.divergence_quantiles[kQuantileMaximum], 0.5);
  // One window: what others would say is unknown.
  EXPECT_TRUE(std::isnan(c.divergence.window_error));
  EXPECT_TRUE(std::isnan(c.divergence.bootstrap_error));
  EXPECT_TRUE(std::isnan(c.divergence.low));
}

TEST(MakeComparison, AModelAgainstItself) {
  PairedScores scores = RandomScores(5, 20, 0);
  for (TokenComparison& token : scores.tokens) {
    token.candidate_nll = token.reference_nll;
    token.divergence = 0;
    token.same_top = true;
  }
  const Comparison c = MakeComparison(scores, 0);
  EXPECT_EQ(c.log_ratio.value, 0);
  EXPECT_EQ(c.log_ratio.error, 0);
  EXPECT_EQ(c.rms_delta_p.value, 0);
  EXPECT_EQ(c.rms_delta_p.window_error, 0);
  EXPECT_EQ(c.same_top.value, 1);
  EXPECT_NEAR(c.log_correlation, 1, 1e-12);
}

TEST(Bootstrap, FollowsFromTheSeedAlone) {
  const PairedScores scores = RandomScores(12, 10, 0.1);
  const auto error = [&](uint64_t seed) {
    return MakeComparison(scores, seed).divergence.bootstrap_error;
  };
  EXPECT_EQ(error(1), error(1));
  EXPECT_NE(error(1), error(2));
  EXPECT_NEAR(error(1) / error(2), 1, 0.1);
}

}  // namespace
}  // namespace narrow
