#include "validate/windows.h"

#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

WindowSettings LlamaCpp(int64_t context, int64_t max_windows = -1) {
  WindowSettings settings;
  settings.context = context;
  settings.max_windows = max_windows;
  return settings;
}

WindowSettings HuggingFace(int64_t context, int64_t stride,
                           int64_t max_windows = -1) {
  WindowSettings settings;
  settings.protocol = Protocol::kHuggingFace;
  settings.context = context;
  settings.stride = stride;
  settings.max_windows = max_windows;
  return settings;
}

void ExpectWindow(const ScoredWindow& w, int64_t begin, int64_t n_tokens,
                  int64_t first_scored) {
  EXPECT_EQ(w.begin, begin);
  EXPECT_EQ(w.n_tokens, n_tokens);
  EXPECT_EQ(w.first_scored, first_scored);
}

TEST(Windows, LlamaCppScoresTheSecondHalf) {
  const auto windows = PlanWindows(1600, LlamaCpp(512));
  ASSERT_TRUE(windows.ok()) << windows.status();
  ASSERT_EQ(windows->size(), 3);
  ExpectWindow((*windows)[0], 0, 512, 257);
  ExpectWindow((*windows)[2], 1024, 512, 257);
  EXPECT_EQ((*windows)[0].n_scored(), 255);
}

TEST(Windows, LlamaCppTakesOddContexts) {
  const auto windows = PlanWindows(10, LlamaCpp(5));
  ASSERT_TRUE(windows.ok()) << windows.status();
  ASSERT_EQ(windows->size(), 2);
  ExpectWindow((*windows)[1], 5, 5, 3);  // first output at 5 / 2 = 2
}

TEST(Windows, LlamaCppNeedsTwoWindows) {
  EXPECT_TRUE(PlanWindows(1024, LlamaCpp(512)).ok());
  const auto windows = PlanWindows(1023, LlamaCpp(512, 1));
  EXPECT_EQ(windows.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(windows.status().message()),
              HasSubstr("it has 1023 tokens and 1024 are needed (two windows "
                        "of 512)"));
}

TEST(Windows, ChunksTakesTheFirstWindows) {
  EXPECT_EQ(PlanWindows(5000, LlamaCpp(512, 4))->size(), 4);
  EXPECT_EQ(PlanWindows(5000, LlamaCpp(512, 400))->size(), 9);
  EXPECT_EQ(PlanWindows(5000, HuggingFace(512, 256, 4))->size(), 4);
  EXPECT_FALSE(PlanWindows(5000, LlamaCpp(512, 0)).ok());
}

// 20 tokens, context 8, stride 3: the windows end at 8, 11, 14, 17, 20.
TEST(Windows, StrideScoresWhatIsNew) {
  const auto windows = PlanWindows(20, HuggingFace(8, 3));
  ASSERT_TRUE(windows.ok()) << windows.status();
  ASSERT_EQ(windows->size(), 5);
  ExpectWindow((*windows)[0], 0, 8, 1);
  ExpectWindow((*windows)[1], 3, 8, 5);
  ExpectWindow((*windows)[4], 12, 8, 5);
}

// With 19 tokens the last window ends early and scores two tokens.
TEST(Windows, StrideCutsTheLastWindow) {
  const auto windows = PlanWindows(19, HuggingFace(8, 3));
  ASSERT_TRUE(windows.ok()) << windows.status();
  ASSERT_EQ(windows->size(), 5);
  ExpectWindow((*windows)[4], 12, 7, 5);
}

TEST(Windows, StrideOfTheContextScoresAllPositions) {
  const auto windows = PlanWindows(19, HuggingFace(8, 8));
  ASSERT_TRUE(windows.ok()) << windows.status();
  ASSERT_EQ(windows->size(), 3);
  ExpectWindow((*windows)[0], 0, 8, 1);
  ExpectWindow((*windows)[1], 8, 8, 1);
  ExpectWindow((*windows)[2], 16, 3, 1);
  // One token left over has nothing before it.
  EXPECT_EQ(PlanWindows(17, HuggingFace(8, 8))->size(), 2);
}

TEST(Windows, ShortTextIsOneWindow) {
  const auto windows = PlanWindows(5, HuggingFace(8, 3));
  ASSERT_TRUE(windows.ok()) << windows.status();
  ASSERT_EQ(windows->size(), 1);
  ExpectWindow((*windows)[0], 0, 5, 1);
  EXPECT_FALSE(PlanWindows(1, HuggingFace(8, 3)).ok());
  EXPECT_FALSE(PlanWindows(0, HuggingFace(8, 3)).ok());
}

TEST(Windows, RefusesSettingsOutOfRange) {
  EXPECT_FALSE(PlanWindows(100, LlamaCpp(2)).ok());
  EXPECT_FALSE(PlanWindows(100, LlamaCpp(-5)).ok());
  EXPECT_FALSE(PlanWindows(100, LlamaCpp(int64_t{1} << 40)).ok());
  EXPECT_FALSE(PlanWindows(100, HuggingFace(8, 0)).ok());
  EXPECT_FALSE(PlanWindows(100, HuggingFace(8, 9)).ok());
}

// Below full overlap, every token but the first is scored once, in order,
// with the most context that windows on the stride's grid can give.
TEST(Windows, StrideScoresEveryTokenOnce) {
  std::mt19937 random(7);
  for (int i = 0; i < 500; ++i) {
    const int64_t context = 2 + random() % 30;
    const int64_t stride = 1 + random() % (context - 1);
    const int64_t n_tokens = 2 + random() % 200;
    const auto windows = PlanWindows(n_tokens, HuggingFace(context, stride));
    ASSERT_TRUE(windows.ok()) << windows.status();
    int64_t next = 1;
    for (const ScoredWindow& w : *windows) {
      ASSERT_EQ(w.begin + w.first_scored, next)
          << "context " << context << " stride " << stride;
      ASSERT_LE(w.n_tokens, context);
      ASSERT_GT(w.n_scored(), 0);
      next = w.begin + w.n_tokens;
    }
    EXPECT_EQ(next, n_tokens);
  }
}

}  // namespace
}  // namespace narrow
