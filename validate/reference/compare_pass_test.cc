#include "validate/reference/compare_pass.h"

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "validate/fake_runner.h"
#include "validate/measures/compare_logits.h"
#include "validate/windows.h"

namespace narrow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kVocab = 40;

// Counts what a pass asks of a model.
class CountingRunner : public FakeRunner {
 public:
  explicit CountingRunner(uint32_t seed) : FakeRunner(kVocab) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 2);
    for (int64_t i = 0; i < kVocab; ++i) {
      for (int64_t j = 0; j < kVocab; ++j) {
        set_logit(i, j, normal(random));
      }
    }
  }

  absl::Status Logits(const float* states, int64_t n_rows,
                      float* logits) override {
    n_logit_rows += n_rows;
    most_rows = std::max(most_rows, n_rows);
    return FakeRunner::Logits(states, n_rows, logits);
  }
  void ForgetWeights() override { ++n_forgets; }

  int64_t n_logit_rows = 0;
  int64_t most_rows = 0;
  int64_t n_forgets = 0;
};

// A model that knows every token's row of logits; as HiddenReference, without
// states.
class FakeReference : public Reference {
 public:
  FakeReference(FakeRunner* runner, const std::vector<int32_t>& before)
      : runner_(runner), before_(before) {}

  absl::Status Prepare(int64_t, const ScoreProgressFn&) override {
    return absl::OkStatus();
  }
  absl::Status Load(int64_t first_row,
                    absl::Span<const int32_t> targets) override {
    n_loaded += static_cast<int64_t>(targets.size());
    logits_.assign(targets.size(), {});
    rows_.resize(targets.size());
    for (size_t r = 0; r < targets.size(); ++r) {
      for (int64_t i = 0; i < kVocab; ++i) {
        logits_[r].push_back(
            runner_->logit(before_[static_cast<size_t>(first_row) + r], i));
      }
      rows_[r].Load(logits_[r].data(), kVocab, targets[r]);
    }
    return absl::OkStatus();
  }
  absl::Status Compare(float* logits, int64_t n_vocab,
                       TokenComparison* results) override {
    for (size_t r = 0; r < rows_.size(); ++r) {
      results[r] =
          rows_[r].Compare(logits + static_cast<int64_t>(r) * n_vocab, n_vocab);
    }
    return absl::OkStatus();
  }
  int64_t row_bytes() const override { return 2 * kVocab * 4; }

  int64_t n_loaded = 0;

 private:
  FakeRunner* const runner_;
  const std::vector<int32_t> before_;  // the token before each scored one
  std::vector<std::vector<float>> logits_;
  std::vector<ReferenceRow> rows_;
};

struct Pass {
  TextTokens text;
  std::vector<ScoredWindow> windows;
  std::vector<int32_t> before;
};

Pass RandomPass() {
  Pass pass;
  std::mt19937 random(5);
  for (int i = 0; i < 70; ++i) {
    pass.text.ids.push_back(static_cast<int32_t>(random() % kVocab));
  }
  WindowSettings settings;
  settings.context = 10;
  pass.windows = *PlanWindows(70, settings);
  for (const ScoredWindow& window : pass.windows) {
    for (int64_t k = window.first_scored; k < window.n_tokens; ++k) {
      pass.before.push_back(
          pass.text.ids[static_cast<size_t>(window.begin + k - 1)]);
    }
  }
  return pass;
}

std::string Describe(const PairedScores& scores) {
  std::string text;
  for (const TokenComparison& token : scores.tokens) {
    absl::StrAppendFormat(&text, "%a %a %a %d\n", token.reference_nll,
                          token.candidate_nll, token.divergence,
                          token.same_top);
  }
  for (int64_t size : scores.window_sizes) {
    absl::StrAppend(&text, size, " ");
  }
  return text;
}

// Whatever the memory, and whoever is beside it, a candidate's scores are the
// same; the reference's logits are made once for all.
TEST(CompareWindows, SideBySideAsOneByOne) {
  const Pass pass = RandomPass();
  CountingRunner original(1);
  std::vector<PairedScores> alone(3);
  for (uint32_t m = 0; m < 3; ++m) {
    CountingRunner runner(10 + m);
    FakeReference reference(&original, pass.before);
    std::vector<ComparedModel> models = {{"alone", &runner, &alone[m]}};
    ASSERT_TRUE(CompareWindows(pass.text, pass.windows, 7, {}, &reference, {},
                               absl::MakeSpan(models))
                    .ok());
    EXPECT_EQ(reference.n_loaded, 7 * 4);
    EXPECT_EQ(runner.n_forgets, 0);
  }
  for (const int64_t hidden_bytes : std::vector<int64_t>{1, 480, 1 << 20}) {
    for (const int64_t logits_bytes : std::vector<int64_t>{1, 1440, 1 << 20}) {
      std::vector<CountingRunner> runners = {
          CountingRunner(10), CountingRunner(11), CountingRunner(12)};
      FakeReference reference(&original, pass.before);
      std::vector<PairedScores> scores(3);
      std::vector<ComparedModel> models;
      for (size_t m = 0; m < 3; ++m) {
        models.push_back({"beside", &runners[m], &scores[m]});
      }
      ComparePassOptions options;
      options.hidden_bytes = hidden_bytes;
      options.logits_bytes = logits_bytes;
      // In two calls, as by two looks.
      for (const int64_t end : {3, 7}) {
        ASSERT_TRUE(CompareWindows(pass.text, pass.windows, end, options,
                                   &reference, {}, absl::MakeSpan(models))
                        .ok());
      }
      EXPECT_EQ(reference.n_loaded, 7 * 4);
      for (size_t m = 0; m < 3; ++m) {
        EXPECT_EQ(Describe(scores[m]), Describe(alone[m])) << m;
        EXPECT_EQ(runners[m].n_logit_rows, 7 * 4);
        EXPECT_LE(runners[m].most_rows, logits_bytes == 1 ? 1 : 16);
        EXPECT_GT(runners[m].n_forgets, 0);
      }
    }
  }
}

TEST(CompareWindows, ProgressEndsAtAllTokens) {
  const Pass pass = RandomPass();
  CountingRunner original(1), a(2), b(3);
  FakeReference reference(&original, pass.before);
  PairedScores of_a, of_b;
  std::vector<ComparedModel> models = {{"a", &a, &of_a}, {"b", &b, &of_b}};
  std::vector<int64_t> seen;
  ComparePassOptions options;
  options.hidden_bytes = 1;
  ASSERT_TRUE(CompareWindows(
                  pass.text, pass.windows, 7, options, &reference,
                  [&](const ScoreProgress& now) {
                    EXPECT_EQ(now.tokens_total, 70);
                    EXPECT_TRUE(seen.empty() || now.tokens_done >= seen.back());
                    seen.push_back(now.tokens_done);
                  },
                  absl::MakeSpan(models))
                  .ok());
  EXPECT_EQ(seen.front(), 0);
  EXPECT_EQ(seen.back(), 70);
  EXPECT_GT(seen.size(), 14u);
}

TEST(CompareWindows, NamesTheModelAndThePlaceOfWhatIsNoNumber) {
  const Pass pass = RandomPass();
  CountingRunner original(1), good(2), bad(3);
  const int32_t token = pass.before.back();
  bad.set_logit(token, 0, std::numeric_limits<float>::quiet_NaN());
  FakeReference reference(&original, pass.before);
  PairedScores of_good, of_bad;
  std::vector<ComparedModel> models = {{"good.gguf", &good, &of_good},
                                       {"bad.gguf", &bad, &of_bad}};
  const absl::Status status = CompareWindows(
      pass.text, pass.windows, 7, {}, &reference, {}, absl::MakeSpan(models));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("bad.gguf"), HasSubstr("of window")));
}

}  // namespace
}  // namespace narrow
