#include "validate/summary.h"

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

TextScores MakeScores(const std::vector<double>& nll,
                      const std::vector<int64_t>& window_sizes) {
  TextScores scores;
  scores.nll = nll;
  scores.window_sizes = window_sizes;
  for (size_t i = 0; i < nll.size(); ++i) {
    scores.top_tokens.push_back(static_cast<int32_t>(i % 7));
    scores.is_top.push_back(i % 3 == 0);
  }
  return scores;
}

// Two models that share most of what makes tokens hard.
struct Pair {
  TextScores reference, candidate;
};

Pair CorrelatedScores(int n) {
  std::mt19937 random(17);
  std::normal_distribution<double> normal(0, 1);
  std::vector<double> a, b;
  for (int i = 0; i < n; ++i) {
    a.push_back(3 + 2 * normal(random));
    b.push_back(a.back() + 0.05 + 0.1 * normal(random));
  }
  const std::vector<int64_t> sizes = {n / 2, n / 4, n - n / 2 - n / 4};
  return {MakeScores(a, sizes), MakeScores(b, sizes)};
}

TEST(Summary, PerplexityByHand) {
  const TextScores scores =
      MakeScores({std::log(2.0), std::log(8.0), std::log(4.0)}, {2, 1});
  const PerplexitySummary summary = Summarize(scores);
  EXPECT_EQ(summary.n_scored, 3);
  EXPECT_NEAR(summary.mean_nll.value, 2 * std::log(2.0), 1e-15);
  EXPECT_NEAR(summary.perplexity.value, 4, 1e-12);
  // Deviations -ln 2, ln 2, 0: variance 2/3 ln^2 2, over n - 1 = 2.
  EXPECT_NEAR(summary.perplexity.error, 4 * std::log(2.0) / std::sqrt(3.0),
              1e-12);
  EXPECT_NEAR(summary.top_share.value, 1.0 / 3, 1e-15);
  ASSERT_EQ(summary.windows.size(), 2);
  EXPECT_EQ(summary.windows[0].n_scored, 2);
  EXPECT_NEAR(summary.windows[0].mean_nll, std::log(4.0), 1e-15);
  EXPECT_NEAR(summary.windows[0].running_perplexity, 4, 1e-12);
  EXPECT_NEAR(summary.windows[1].running_perplexity, 4, 1e-12);
}

TEST(Summary, LastRunningPerplexityIsTheResult) {
  const PerplexitySummary summary = Summarize(CorrelatedScores(1000).reference);
  EXPECT_EQ(summary.windows.back().running_perplexity,
            summary.perplexity.value);
}

TEST(Summary, IdenticalModelsDifferByNothing) {
  const TextScores scores = CorrelatedScores(999).reference;
  const PairedSummary paired = Compare(scores, scores);
  EXPECT_EQ(paired.mean_nll_difference.value, 0);
  EXPECT_EQ(paired.mean_nll_difference.error, 0);
  EXPECT_EQ(paired.mean_nll_difference.window_error, 0);
  EXPECT_EQ(paired.perplexity_ratio.value, 1);
  EXPECT_EQ(paired.perplexity_ratio.error, 0);
  EXPECT_EQ(paired.perplexity_difference.value, 0);
  EXPECT_EQ(paired.perplexity_difference.error, 0);
  EXPECT_EQ(paired.perplexity_difference.window_error, 0);
  EXPECT_EQ(paired.same_top_share.value, 1);
}

// The same from variances and the covariance of the two means:
//   error^2 of ln ratio     = Va + Vb - 2 C
//   error^2 of Pb - Pa      = Pa^2 Va + Pb^2 Vb - 2 Pa Pb C
TEST(Summary, PairedErrorsAreThoseOfTheCovarianceForm) {
  const Pair pair = CorrelatedScores(4000);
  const std::vector<double>& a = pair.reference.nll;
  const std::vector<double>& b = pair.candidate.nll;
  const double n = a.size();
  double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sa += a[i];
    sb += b[i];
    saa += a[i] * a[i];
    sbb += b[i] * b[i];
    sab += a[i] * b[i];
  }
  const double va = (saa / n - sa / n * (sa / n)) / (n - 1);
  const double vb = (sbb / n - sb / n * (sb / n)) / (n - 1);
  const double c = (sab / n - sa / n * (sb / n)) / (n - 1);
  const double pa = std::exp(sa / n), pb = std::exp(sb / n);

  const PairedSummary paired = Compare(pair.reference, pair.candidate);
  const double log_error = std::sqrt(va + vb - 2 * c);
  EXPECT_NEAR(paired.mean_nll_difference.value, (sb - sa) / n, 1e-12);
  EXPECT_NEAR(paired.mean_nll_difference.error, log_error, 1e-9);
  EXPECT_NEAR(paired.perplexity_ratio.value, pb / pa, 1e-12);
  EXPECT_NEAR(paired.perplexity_ratio.error, pb / pa * log_error, 1e-9);
  EXPECT_NEAR(paired.perplexity_difference.value, pb - pa, 1e-10);
  EXPECT_NEAR(paired.perplexity_difference.error,
              std::sqrt(pa * pa * va + pb * pb * vb - 2 * pa * pb * c), 1e-8);
  // Pairing is worth having: either perplexity alone is far less certain.
  EXPECT_LT(paired.perplexity_difference.error,
            Summarize(pair.reference).perplexity.error / 5);
}

TEST(Summary, WindowErrorsAreThoseOfTheDifferences) {
  const Pair pair = CorrelatedScores(400);
  std::vector<double> differences;
  for (size_t i = 0; i < pair.reference.nll.size(); ++i) {
    differences.push_back(pair.candidate.nll[i] - pair.reference.nll[i]);
  }
  const PairedSummary paired = Compare(pair.reference, pair.candidate);
  EXPECT_DOUBLE_EQ(paired.mean_nll_difference.window_error,
                   BlockError(differences, pair.reference.window_sizes));
}

TEST(Summary, CountsEqualTopTokens) {
  const TextScores a = MakeScores({1, 1, 1, 1}, {4});
  TextScores b = a;
  b.top_tokens[2] = 99;
  EXPECT_DOUBLE_EQ(Compare(a, b).same_top_share.value, 0.75);
}

}  // namespace
}  // namespace narrow
