#include "validate/tasks/score_task.h"

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "validate/fake_runner.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

FakeRunner RunnerWithLogits(int64_t n_vocab) {
  FakeRunner runner(n_vocab);
  for (int64_t i = 0; i < n_vocab; ++i) {
    for (int64_t j = 0; j < n_vocab; ++j) {
      runner.set_logit(i, j, static_cast<float>((i * 7 + j * 3) % 11));
    }
  }
  return runner;
}

// Windows 1 2 3 4 and 5 6; three choices in the first.
TokenizedTask SmallTask() {
  TokenizedTask task;
  task.windows = {{5, 6}, {1, 2, 3, 4}};
  task.n_tokens = 6;
  TokenizedChoice a;
  a.window = 1;
  a.begin = 2;
  a.targets = {3, 4, 5};
  a.first_own = 1;
  TokenizedChoice b = a;
  b.targets = {3, 7};
  b.first_own = 0;
  b.first_different = 1;
  TokenizedChoice c;
  c.window = 0;
  c.begin = 2;
  c.targets = {9};
  task.questions = {{a, b}, {c, c}};
  return task;
}

TEST(ScoreTask, SumsOverTheTokensOfAChoice) {
  FakeRunner runner = RunnerWithLogits(10);
  const auto scores = ScoreTask(SmallTask(), {}, &runner, nullptr);
  ASSERT_TRUE(scores.ok()) << scores.status();
  const auto& first = scores->questions[0];
  EXPECT_DOUBLE_EQ(first[0].log_prob,
                   runner.LogProb(3, 4) + runner.LogProb(4, 5));
  EXPECT_DOUBLE_EQ(
      first[0].token_mean,
      (runner.LogProb(2, 3) + runner.LogProb(3, 4) + runner.LogProb(4, 5)) / 3);
  EXPECT_DOUBLE_EQ(first[1].log_prob,
                   runner.LogProb(2, 3) + runner.LogProb(3, 7));
  EXPECT_DOUBLE_EQ(first[1].token_mean, runner.LogProb(3, 7));
  EXPECT_DOUBLE_EQ(scores->questions[1][0].log_prob, runner.LogProb(6, 9));
  EXPECT_EQ(scores->n_run, 6);
  // One group, filled up to the longest.
  EXPECT_THAT(runner.group_windows, ElementsAre(2));
}

TEST(ScoreTask, LittleMemoryMakesMoreGroupsAndTheSameScores) {
  FakeRunner one = RunnerWithLogits(10);
  FakeRunner many = RunnerWithLogits(10);
  TaskScoreOptions little;
  little.hidden_bytes = 1;
  const auto a = ScoreTask(SmallTask(), {}, &one, nullptr);
  const auto b = ScoreTask(SmallTask(), little, &many, nullptr);
  EXPECT_THAT(many.group_windows, ElementsAre(1, 1));
  for (size_t q = 0; q < 2; ++q) {
    for (size_t c = 0; c < 2; ++c) {
      EXPECT_EQ(a->questions[q][c].log_prob, b->questions[q][c].log_prob);
      EXPECT_EQ(a->questions[q][c].token_mean, b->questions[q][c].token_mean);
    }
  }
}

TEST(ScoreTask, ProgressEndsWithEverythingDone) {
  FakeRunner runner = RunnerWithLogits(10);
  ScoreProgress last;
  int64_t before = 0;
  ASSERT_TRUE(
      ScoreTask(SmallTask(), {}, &runner, [&](const ScoreProgress& now) {
        EXPECT_GE(now.tokens_done, before);
        before = now.tokens_done;
        last = now;
      }).ok());
  EXPECT_EQ(last.tokens_done, 6);
  EXPECT_EQ(last.tokens_total, 6);
  EXPECT_EQ(last.windows_done, 2);
  EXPECT_EQ(last.windows_total, 2);
}

TEST(ScoreTask, BadIdsAndScoresAreErrors) {
  FakeRunner small = RunnerWithLogits(8);  // 9 is asked for
  const auto ids = ScoreTask(SmallTask(), {}, &small, nullptr);
  ASSERT_FALSE(ids.ok());
  EXPECT_THAT(std::string(ids.status().message()), HasSubstr("number 9"));
  FakeRunner broken = RunnerWithLogits(10);
  broken.set_logit(6, 2, std::numeric_limits<float>::quiet_NaN());
  const auto scores = ScoreTask(SmallTask(), {}, &broken, nullptr);
  ASSERT_FALSE(scores.ok());
  EXPECT_EQ(scores.status().code(), absl::StatusCode::kDataLoss);
}

// On a real model, filling up windows and the number of threads change
// nothing.
TEST(ScoreTask, TheSameBitsForAnyThreadsAndGroups) {
  CheckpointOptions checkpoint;
  checkpoint.intermediate = "exact";
  const auto model = Checkpoint::Open("testdata/tiny-llama", checkpoint);
  ASSERT_TRUE(model.ok()) << model.status();
  TokenizedTask task;
  for (int32_t w = 0; w < 12; ++w) {
    std::vector<int32_t> window;
    for (int32_t i = 0; i < 5 + 7 * w; ++i) {
      window.push_back((w * 31 + i * 17) % 500);
    }
    TokenizedChoice choice;
    choice.window = static_cast<size_t>(w);
    choice.begin = 3;
    choice.targets = {7, 8, 9};
    task.n_tokens += static_cast<int64_t>(window.size());
    task.windows.push_back(std::move(window));
    task.questions.push_back({choice});
  }
  std::vector<double> expected;
  for (const int n_threads : {1, 3}) {
    for (const int64_t hidden_bytes : {int64_t{1}, int64_t{1} << 28}) {
      RunnerOptions options;
      options.n_threads = n_threads;
      const auto runner = ModelRunner::Create(model->get(), options);
      ASSERT_TRUE(runner.ok()) << runner.status();
      TaskScoreOptions score;
      score.hidden_bytes = hidden_bytes;
      const auto scores = ScoreTask(task, score, runner->get(), nullptr);
      ASSERT_TRUE(scores.ok()) << scores.status();
      std::vector<double> values;
      for (const auto& question : scores->questions) {
        values.push_back(question[0].log_prob);
      }
      if (expected.empty()) {
        expected = values;
      }
      EXPECT_EQ(values, expected);
    }
  }
}

}  // namespace
}  // namespace narrow
