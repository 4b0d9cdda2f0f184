#include "validate/score_text.h"

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "validate/estimate.h"
#include "validate/fake_runner.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

FakeRunner RandomRunner(int64_t n_vocab) {
  FakeRunner runner(n_vocab);
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 2);
  for (int64_t i = 0; i < n_vocab; ++i) {
    for (int64_t j = 0; j < n_vocab; ++j) {
      runner.set_logit(i, j, normal(random));
    }
  }
  return runner;
}

TextTokens RandomText(int64_t n_tokens, int64_t n_vocab) {
  std::mt19937 random(5);
  TextTokens text;
  for (int64_t i = 0; i < n_tokens; ++i) {
    text.ids.push_back(static_cast<int32_t>(random() % n_vocab));
  }
  return text;
}

std::vector<ScoredWindow> Plan(const TextTokens& text, Protocol protocol,
                               int64_t context, int64_t stride = 0) {
  WindowSettings settings;
  settings.protocol = protocol;
  settings.context = context;
  settings.stride = stride;
  return *PlanWindows(text.ids.size(), settings);
}

TEST(ScoreText, UniformLogitsGiveTheVocabularySize) {
  FakeRunner runner(2048);
  const TextTokens text = RandomText(300, 2048);
  for (const auto& windows : {Plan(text, Protocol::kLlamaCpp, 64),
                              Plan(text, Protocol::kHuggingFace, 64, 16),
                              Plan(text, Protocol::kHuggingFace, 64, 64)}) {
    const auto scores = ScoreText(text, windows, {}, &runner, nullptr);
    ASSERT_TRUE(scores.ok()) << scores.status();
    const Estimate perplexity = ExpOf(MeanOf(scores->nll));
    EXPECT_NEAR(perplexity.value, 2048, 1e-8);
    EXPECT_NEAR(perplexity.error, 0, 1e-8);
  }
}

// Text 1 2 3 4 0 1 2 3, context 4, BOS 0: windows 0 2 3 4 and 0 1 2 3; the
// output at position 2 is scored against token 3.
TEST(ScoreText, LlamaCppByHand) {
  FakeRunner runner = RandomRunner(5);
  const TextTokens text{{1, 2, 3, 4, 0, 1, 2, 3}, 0};
  const auto scores =
      ScoreText(text, Plan(text, Protocol::kLlamaCpp, 4), {}, &runner, nullptr);
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_THAT(runner.rows, ElementsAre(Pair(3, 2), Pair(2, 2)));
  EXPECT_THAT(scores->nll,
              ElementsAre(-runner.LogProb(3, 4), -runner.LogProb(2, 3)));
  EXPECT_THAT(scores->window_sizes, ElementsAre(1, 1));
  EXPECT_EQ(scores->n_run, 8);
}

TEST(ScoreText, BosTakesTheFirstPlaceOfEveryWindow) {
  FakeRunner runner = RandomRunner(5);
  TextTokens text{{1, 2, 3, 4}, 0};
  const std::vector<ScoredWindow> windows = {{0, 2, 1}, {2, 2, 1}};
  ASSERT_TRUE(ScoreText(text, windows, {}, &runner, nullptr).ok());
  EXPECT_THAT(runner.rows, ElementsAre(Pair(0, 0), Pair(0, 0)));
  runner.rows.clear();
  text.window_bos.reset();
  ASSERT_TRUE(ScoreText(text, windows, {}, &runner, nullptr).ok());
  EXPECT_THAT(runner.rows, ElementsAre(Pair(1, 0), Pair(3, 0)));
}

// Text of 7 tokens, context 4, stride 2: windows 0-3, 2-5, 4-6.
TEST(ScoreText, StrideByHand) {
  FakeRunner runner = RandomRunner(5);
  const TextTokens text{{4, 3, 2, 1, 0, 4, 2}, {}};
  const auto scores = ScoreText(text, Plan(text, Protocol::kHuggingFace, 4, 2),
                                {}, &runner, nullptr);
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_THAT(runner.rows, ElementsAre(Pair(4, 0), Pair(3, 1), Pair(2, 2),
                                       Pair(1, 1), Pair(0, 2), Pair(4, 1)));
  EXPECT_THAT(scores->nll,
              ElementsAre(-runner.LogProb(4, 3), -runner.LogProb(3, 2),
                          -runner.LogProb(2, 1), -runner.LogProb(1, 0),
                          -runner.LogProb(0, 4), -runner.LogProb(4, 2)));
  EXPECT_THAT(scores->window_sizes, ElementsAre(3, 2, 1));
}

TEST(ScoreText, AllPositionsByHand) {
  FakeRunner runner = RandomRunner(5);
  const TextTokens text{{4, 3, 2, 1, 0, 4}, {}};
  const auto scores = ScoreText(text, Plan(text, Protocol::kHuggingFace, 3, 3),
                                {}, &runner, nullptr);
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_THAT(scores->nll,
              ElementsAre(-runner.LogProb(4, 3), -runner.LogProb(3, 2),
                          -runner.LogProb(1, 0), -runner.LogProb(0, 4)));
}

TEST(ScoreText, NotesTheMostProbableToken) {
  FakeRunner runner(5);
  runner.set_logit(1, 2, 3);
  runner.set_logit(2, 4, 3);
  const TextTokens text{{1, 2, 3}, {}};
  const auto scores = ScoreText(text, Plan(text, Protocol::kHuggingFace, 4, 2),
                                {}, &runner, nullptr);
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_THAT(scores->top_tokens, ElementsAre(2, 4));
  EXPECT_THAT(scores->is_top, ElementsAre(true, false));
}

// A window of 16 tokens and 2 floats has 128 bytes.
TEST(ScoreText, GroupingChangesMemoryAndNothingElse) {
  FakeRunner runner = RandomRunner(11);
  TextTokens text = RandomText(200, 11);
  text.window_bos = 0;
  for (const auto& windows : {Plan(text, Protocol::kLlamaCpp, 16),
                              Plan(text, Protocol::kHuggingFace, 16, 5)}) {
    const auto whole = ScoreText(text, windows, {}, &runner, nullptr);
    ASSERT_TRUE(whole.ok()) << whole.status();
    for (int64_t hidden_bytes : {0, 127, 128, 300, 640, 1 << 20}) {
      runner.group_windows.clear();
      ScoreOptions options;
      options.hidden_bytes = hidden_bytes;
      const auto scores = ScoreText(text, windows, options, &runner, nullptr);
      ASSERT_TRUE(scores.ok()) << scores.status();
      EXPECT_EQ(scores->nll, whole->nll);
      EXPECT_EQ(scores->top_tokens, whole->top_tokens);
      EXPECT_EQ(scores->window_sizes, whole->window_sizes);
      for (int64_t n : runner.group_windows) {
        EXPECT_LE(n, std::max<int64_t>(1, hidden_bytes / 128));
      }
    }
  }
}

TEST(ScoreText, WindowsThatMemoryDoesNotHoldRunInSmallerGroups) {
  FakeRunner runner = RandomRunner(11);
  const TextTokens text = RandomText(200, 11);
  const auto windows = Plan(text, Protocol::kLlamaCpp, 16);
  const auto whole = ScoreText(text, windows, {}, &runner, nullptr);
  ASSERT_TRUE(whole.ok()) << whole.status();
  runner.most_windows = 4;
  runner.group_windows.clear();
  const auto scores = ScoreText(text, windows, {}, &runner, nullptr);
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(scores->nll, whole->nll);
  EXPECT_EQ(scores->top_tokens, whole->top_tokens);
  // 12 windows: 12 and 6 do not fit.
  EXPECT_THAT(runner.group_windows, ElementsAre(3, 3, 3, 3));
  ASSERT_EQ(runner.notes.size(), 2u);
  EXPECT_THAT(runner.notes[1],
              HasSubstr("going on with 3 windows at once: no memory"));
  runner.most_windows = 0;
  EXPECT_EQ(ScoreText(text, windows, {}, &runner, nullptr).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(ScoreText, NamesThePlaceOfANumberThatIsNotFinite) {
  FakeRunner runner(5);
  runner.set_logit(2, 3, std::numeric_limits<float>::quiet_NaN());
  const TextTokens text{{0, 1, 1, 1, 4, 4, 1, 2, 3, 1}, {}};
  const auto scores = ScoreText(text, Plan(text, Protocol::kHuggingFace, 5, 5),
                                {}, &runner, nullptr);
  EXPECT_EQ(scores.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(scores.status().message()),
              HasSubstr("the log-probability of token 3 is nan; at position 3 "
                        "of window 1 (token 8 of the text)"));
}

TEST(ScoreText, RefusesIdsOutsideTheModel) {
  FakeRunner runner(5);
  TextTokens text{{0, 1, 5, 1}, {}};
  auto scores = ScoreText(text, Plan(text, Protocol::kHuggingFace, 4, 4), {},
                          &runner, nullptr);
  EXPECT_EQ(scores.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(scores.status().message()),
              HasSubstr("token 2 of the text is number 5"));
  text = {{0, 1, 2, 1}, 9};
  scores = ScoreText(text, Plan(text, Protocol::kHuggingFace, 4, 4), {},
                     &runner, nullptr);
  EXPECT_THAT(std::string(scores.status().message()),
              HasSubstr("the BOS token is number 9"));
}

TEST(ScoreText, ProgressRisesToTheTotal) {
  FakeRunner runner(5);
  const TextTokens text = RandomText(100, 5);
  ScoreOptions options;
  options.hidden_bytes = 3 * 80;  // three windows of ten tokens
  std::vector<ScoreProgress> seen;
  ASSERT_TRUE(ScoreText(text, Plan(text, Protocol::kLlamaCpp, 10), options,
                        &runner,
                        [&](const ScoreProgress& p) { seen.push_back(p); })
                  .ok());
  for (size_t i = 1; i < seen.size(); ++i) {
    EXPECT_GE(seen[i].tokens_done, seen[i - 1].tokens_done);
    EXPECT_GE(seen[i].windows_done, seen[i - 1].windows_done);
  }
  EXPECT_GE(seen.size(), 4 * 4);
  EXPECT_EQ(seen.front().tokens_done, 0);
  EXPECT_GT(seen[1].tokens_done, 0);
  EXPECT_EQ(seen[1].windows_done, 0);
  EXPECT_EQ(seen.back().windows_done, 10);
  EXPECT_EQ(seen.back().windows_total, 10);
  EXPECT_EQ(seen.back().tokens_done, 100);
  EXPECT_EQ(seen.back().tokens_total, 100);
}

}  // namespace
}  // namespace narrow
