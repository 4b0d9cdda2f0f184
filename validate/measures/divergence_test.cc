#include "validate/measures/divergence.h"

#include <cmath>
#include <vector>

#include "formats/base/parallel.h"
#include "gtest/gtest.h"
#include "validate/fake_runner.h"
#include "validate/score_text.h"
#include "validate/windows.h"

namespace narrow {
namespace {

// The definition, in double.
double Divergence(const std::vector<float>& p, const std::vector<float>& q) {
  const auto log_sum = [](const std::vector<float>& logits) {
    double sum = 0;
    for (float logit : logits) {
      sum += std::exp(static_cast<double>(logit));
    }
    return std::log(sum);
  };
  const double log_p = log_sum(p);
  const double log_q = log_sum(q);
  double total = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    total += std::exp(p[i] - log_p) * ((p[i] - log_p) - (q[i] - log_q));
  }
  return total;
}

std::vector<float> Logits(int n, int seed) {
  std::vector<float> logits(static_cast<size_t>(n));
  uint32_t state = static_cast<uint32_t>(seed) * 2654435761u + 1;
  for (float& logit : logits) {
    state = state * 1664525u + 1013904223u;
    logit = static_cast<float>(state >> 8) * (20.0f / (1 << 24)) - 10;
  }
  return logits;
}

TEST(DivergenceOfLogits, IsTheDefinition) {
  for (int n : {1, 2, 15, 16, 17, 33, 1000, 4097}) {
    const std::vector<float> p = Logits(n, n);
    const std::vector<float> q = Logits(n, n + 1);
    const double expected = Divergence(p, q);
    std::vector<float> p_spoilt = p;
    std::vector<float> q_spoilt = q;
    // Logits of up to 10 have errors of 5e-7, and exponentials 2e-7 relative.
    EXPECT_NEAR(DivergenceOfLogits(n, p_spoilt.data(), q_spoilt.data()),
                expected, 1e-5 * (1 + expected))
        << n;
  }
}

TEST(DivergenceOfLogits, OfEqualsIsZero) {
  std::vector<float> p = Logits(3000, 5);
  std::vector<float> q = p;
  EXPECT_NEAR(DivergenceOfLogits(3000, p.data(), q.data()), 0, 1e-12);
}

TEST(DivergenceOfLogits, IsNotClipped) {
  // q gives the certain token a probability of e^-60.
  std::vector<float> p = {80, 0};
  std::vector<float> q = {0, 60};
  EXPECT_NEAR(DivergenceOfLogits(2, p.data(), q.data()), 60, 1e-5);
}

// Through ScoreText: slices, groups and the order of positions.
TEST(Divergences, FollowTheScoredPositions) {
  constexpr int kVocab = 23;
  FakeRunner reference(kVocab);
  FakeRunner candidate(kVocab);
  for (int a = 0; a < kVocab; ++a) {
    for (int b = 0; b < kVocab; ++b) {
      reference.set_logit(a, b, static_cast<float>((a * 7 + b * 3) % 11) / 4);
      candidate.set_logit(a, b, static_cast<float>((a * 5 + b * 2) % 13) / 4);
    }
  }
  TextTokens text;
  for (int i = 0; i < 96; ++i) {
    text.ids.push_back((i * i + 3) % kVocab);
  }
  WindowSettings settings;
  settings.context = 16;
  const auto windows = PlanWindows(96, settings);
  ASSERT_TRUE(windows.ok());

  ScoreOptions options;
  options.hidden_bytes = 2 * 16 * 2 * 4;  // two windows a group
  std::vector<float> rows;
  options.keep_rows = &rows;
  ASSERT_TRUE(ScoreText(text, *windows, options, &reference, {}).ok());

  ThreadPool pool(2);
  DivergenceReference against = {&reference, &rows, &pool};
  against.logits_bytes = 3 * 2 * kVocab * 4;  // three rows a slice
  options.keep_rows = nullptr;
  options.reference = &against;
  const auto scores = ScoreText(text, *windows, options, &candidate, {});
  ASSERT_TRUE(scores.ok()) << scores.status();
  ASSERT_EQ(scores->divergences.size(), scores->nll.size());

  size_t i = 0;
  for (const ScoredWindow& window : *windows) {
    for (int64_t k = window.first_scored; k < window.n_tokens; ++k, ++i) {
      const int32_t before =
          text.ids[static_cast<size_t>(window.begin + k - 1)];
      std::vector<float> p;
      std::vector<float> q;
      for (int b = 0; b < kVocab; ++b) {
        p.push_back(reference.logit(before, b));
        q.push_back(candidate.logit(before, b));
      }
      EXPECT_NEAR(scores->divergences[i], Divergence(p, q), 1e-6) << i;
    }
  }
}

}  // namespace
}  // namespace narrow
