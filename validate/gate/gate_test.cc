#include "validate/gate/gate.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "validate/gate/bounds.h"
#include "validate/gate/sequential.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr GateRates kRates = {0.05, 0.05};

// 24 windows of 100 tokens: losses around 2 and `more` above that, give or
// take `spread` from window to window.
std::vector<WindowSums> Windows(double more, double spread) {
  std::vector<WindowSums> windows;
  for (int i = 0; i < 24; ++i) {
    const double sway = spread * (i % 2 == 0 ? 1 : -1);
    WindowSums w;
    w.n = 100;
    w.reference_nll = 200 + 7 * (i % 5);
    w.candidate_nll = w.reference_nll + 100 * (more + sway);
    w.divergence = 100 * (more + sway);
    w.delta_p_squared = 100 * (more + sway) * more;
    w.same_top = 100 * (1 - more) + 100 * sway;
    windows.push_back(w);
  }
  return windows;
}

GateLimits AllLimits() {
  GateLimits limits;
  limits.max_perplexity_ratio = 0.05;
  limits.max_perplexity_difference = 0.5;
  limits.max_divergence = 0.05;
  limits.max_rms_delta_p = 0.05;
  limits.min_same_top = 0.95;
  return limits;
}

TEST(JudgeText, BoundsAreInTheUnitsOfTheLimits) {
  const std::vector<WindowSums> windows = Windows(0.02, 0.01);
  const auto verdicts = JudgeText(AllLimits(), "wiki", windows, kRates);
  ASSERT_THAT(verdicts, SizeIs(5));
  EXPECT_EQ(verdicts[0].criterion, Criterion::kPerplexityRatio);
  EXPECT_NEAR(verdicts[0].value, std::expm1(0.02), 1e-12);
  // The perplexity itself is e^2.14.
  EXPECT_NEAR(verdicts[1].value, std::exp(2.14 - 0.0042) * std::expm1(0.02),
              0.02);
  EXPECT_NEAR(verdicts[2].value, 0.02, 1e-12);
  EXPECT_NEAR(verdicts[3].value, 0.02, 1e-12);
  EXPECT_NEAR(verdicts[4].value, 0.98, 1e-12);
  for (const CriterionVerdict& v : verdicts) {
    EXPECT_EQ(v.domain, "wiki");
    EXPECT_EQ(v.n_used, 24);
    EXPECT_EQ(v.verdict, Verdict::kPass) << CriterionFlag(v.criterion);
    if (IsLowerLimit(v.criterion)) {
      EXPECT_LT(v.pass_bound, v.value);
      EXPECT_GT(v.fail_bound, v.value);
    } else {
      EXPECT_GT(v.pass_bound, v.value);
      EXPECT_LT(v.fail_bound, v.value);
    }
  }
  // Ratio and difference are one question: their bounds agree to first order.
  EXPECT_NEAR(verdicts[1].pass_bound / verdicts[0].pass_bound,
              verdicts[1].value / verdicts[0].value, 0.15);
}

TEST(JudgeText, DecidesOnTheBoundNotTheEstimate) {
  GateLimits limits;
  limits.max_divergence = 0.05;
  const auto verdict = [&](double more, double spread) {
    return JudgeText(limits, "", Windows(more, spread), kRates)[0];
  };
  EXPECT_EQ(verdict(0.04, 0.01).verdict, Verdict::kPass);
  EXPECT_EQ(verdict(0.06, 0.01).verdict, Verdict::kFail);
  EXPECT_EQ(verdict(0.06, 0.01).n_needed, std::nullopt);
  // A better estimate than the limit, and too uncertain; and a worse one.
  for (const double more : {0.045, 0.055}) {
    const CriterionVerdict v = verdict(more, 0.04);
    EXPECT_EQ(v.verdict, Verdict::kUndecided);
    ASSERT_TRUE(v.n_needed.has_value());
    // With as many windows again and again the same verdict is reached.
    std::vector<WindowSums> windows;
    const std::vector<WindowSums> once = Windows(more, 0.04);
    while (static_cast<int64_t>(windows.size()) < *v.n_needed) {
      windows.insert(windows.end(), once.begin(), once.end());
    }
    EXPECT_EQ(JudgeText(limits, "", windows, kRates)[0].verdict,
              more < 0.05 ? Verdict::kPass : Verdict::kFail);
    EXPECT_GT(*v.n_needed, 24);
    EXPECT_LT(*v.n_needed, 1000);
  }
  // On the limit itself no text is enough.
  EXPECT_EQ(verdict(0.05, 0.04).n_needed.value_or(-1), -1);
}

TEST(JudgeText, FewWindowsAreUndecidedHoweverClear) {
  std::vector<WindowSums> windows = Windows(0.0001, 0);
  windows.resize(kMinClusters - 1);
  const auto verdicts = JudgeText(AllLimits(), "", windows, kRates);
  EXPECT_EQ(WorstOf(verdicts), Verdict::kUndecided);
  for (const CriterionVerdict& v : verdicts) {
    EXPECT_EQ(v.verdict, Verdict::kUndecided);
    EXPECT_EQ(v.n_needed, kMinClusters);
  }
}

// 2400 tokens that all agree do not prove that all tokens agree.
TEST(JudgeText, EqualWindowsStillLeaveSharesUncertain) {
  GateLimits limits;
  limits.min_same_top = 0.9995;
  std::vector<WindowSums> windows = Windows(0, 0);
  EXPECT_EQ(JudgeText(limits, "", windows, kRates)[0].verdict,
            Verdict::kUndecided);
  limits.min_same_top = 0.998;
  EXPECT_EQ(JudgeText(limits, "", windows, kRates)[0].verdict, Verdict::kPass);
}

// A model compared with itself passes limits of zero.
TEST(JudgeText, NoChangeAtAllIsWithinZero) {
  GateLimits limits = AllLimits();
  limits.max_perplexity_ratio = limits.max_perplexity_difference =
      limits.max_divergence = limits.max_rms_delta_p = 0;
  limits.min_same_top.reset();
  EXPECT_EQ(WorstOf(JudgeText(limits, "", Windows(0, 0), kRates)),
            Verdict::kPass);
}

TEST(JudgeTask, CountsChangedAnswers) {
  const auto judge = [](int64_t n, int64_t gained, int64_t lost) {
    TaskDelta delta;
    delta.name = "hellaswag";
    delta.n_questions = n;
    delta.n_gained = gained;
    delta.n_lost = lost;
    delta.difference.value =
        static_cast<double>(gained - lost) / static_cast<double>(n);
    return JudgeTask(-0.02, delta, kRates);
  };
  EXPECT_EQ(judge(400, 10, 12).verdict, Verdict::kUndecided);
  EXPECT_NEAR(judge(400, 10, 12).value, -0.005, 1e-15);
  EXPECT_EQ(judge(10000, 250, 270).verdict, Verdict::kPass);
  EXPECT_EQ(judge(400, 10, 40).verdict, Verdict::kFail);
  // No answer changed: 100 questions are enough for two points, 30 are not.
  EXPECT_EQ(judge(100, 0, 0).verdict, Verdict::kPass);
  EXPECT_EQ(judge(30, 0, 0).verdict, Verdict::kUndecided);
}

TEST(JudgeTask, SharesAreJudgedByTheirError) {
  TaskDelta delta;
  delta.n_questions = 817;
  delta.right_or_wrong = false;
  delta.difference = {-0.012, 0.004};
  EXPECT_EQ(JudgeTask(-0.02, delta, kRates).verdict, Verdict::kPass);
  EXPECT_NEAR(JudgeTask(-0.02, delta, kRates).pass_bound,
              -0.012 - 1.6467 * 0.004, 1e-5);
  delta.difference.error = 0.01;
  EXPECT_EQ(JudgeTask(-0.02, delta, kRates).verdict, Verdict::kUndecided);
  delta.difference.value = -0.1;
  EXPECT_EQ(JudgeTask(-0.02, delta, kRates).verdict, Verdict::kFail);
}

TEST(RatesFor, PassesEachAtTheRateAndFailuresShareIt) {
  GateLimits limits = AllLimits();
  limits.min_task_delta = -0.01;
  const GateRates rates = RatesFor(limits, 3, 2, 1);
  EXPECT_DOUBLE_EQ(rates.pass, 0.05);
  EXPECT_DOUBLE_EQ(rates.fail, 0.05 / 17);
  EXPECT_DOUBLE_EQ(RatesFor(limits, 3, 2, 0.25).pass, 0.0125);
}

TEST(KeepDecided, TheFirstDecisionStands) {
  std::vector<CriterionVerdict> before(3);
  before[0].verdict = Verdict::kPass;
  before[1].verdict = Verdict::kFail;
  std::vector<CriterionVerdict> now(3);
  now[0].verdict = Verdict::kFail;
  now[2].verdict = Verdict::kPass;
  const auto kept = KeepDecided(before, now);
  EXPECT_EQ(kept[0].verdict, Verdict::kPass);
  EXPECT_EQ(kept[1].verdict, Verdict::kFail);
  EXPECT_EQ(kept[2].verdict, Verdict::kPass);
  EXPECT_EQ(WorstOf(kept), Verdict::kFail);
}

TEST(PlanLooks, SharesSumToOneAndTheLastSeesAll) {
  for (const int64_t n : {1, 15, 17, 19, 20, 40, 561, 100000}) {
    double sum = 0;
    int64_t last = 0;
    for (const Look& look : PlanLooks(n, true)) {
      EXPECT_GT(look.share, n > 1000 ? 0 : 0.02) << n;
      EXPECT_GT(look.n_windows, last);
      last = look.n_windows;
      sum += look.share;
    }
    EXPECT_EQ(last, n);
    EXPECT_NEAR(sum, 1, 1e-12);
    EXPECT_THAT(PlanLooks(n, false), SizeIs(1));
  }
  std::vector<int64_t> at;
  for (const Look& look : PlanLooks(100, true)) {
    at.push_back(look.n_windows);
  }
  EXPECT_THAT(at, ElementsAre(16, 24, 36, 54, 81, 100));
}

}  // namespace
}  // namespace narrow
