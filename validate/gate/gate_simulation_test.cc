// The gate's promise, kept: on 2000 pairs whose true effect lies 0.2 % beside
// the limit, wrong passes and wrong failures are at most the stated rate. The
// seeds are fixed; gate_simulation prints more.

#include "validate/gate/gate_simulation.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr Criterion kTextCriteria[] = {
    Criterion::kPerplexityRatio, Criterion::kPerplexityDifference,
    Criterion::kDivergence, Criterion::kRmsDeltaP, Criterion::kSameTop};

void ExpectKept(const SimulationResult& result,
                const SimulationSettings& settings) {
  const double most =
      settings.error_rate * static_cast<double>(settings.n_pairs);
  for (const Criterion criterion : kTextCriteria) {
    EXPECT_LE(result.of(criterion).wrong_passes, most)
        << CriterionFlag(criterion);
    EXPECT_LE(result.of(criterion).wrong_failures, most)
        << CriterionFlag(criterion);
  }
  EXPECT_LE(result.all.wrong_passes, most);
  EXPECT_LE(result.all.wrong_failures, most);
}

TEST(GateSimulation, HeavyTailsKeepTheRate) {
  const SimulationSettings settings;
  const SimulationResult result = SimulateGate(SimulatedTokens(), settings);
  ExpectKept(result, settings);
  // For contrast: overlapping intervals pass nearly everything, and the bare
  // ratio errs as often as a coin.
  EXPECT_GT(result.overlap.wrong_passes, settings.n_pairs * 9 / 10);
  EXPECT_GT(result.bare.wrong_passes, settings.n_pairs * 4 / 10);
  EXPECT_GT(result.bare.wrong_failures, settings.n_pairs * 4 / 10);
}

// Few windows and tails as heavy as any seen: half of the mean divergence
// comes of one token in seventy.
TEST(GateSimulation, FewWindowsKeepTheRate) {
  SimulationSettings settings;
  settings.n_windows = 20;
  SimulatedTokens tokens;
  tokens.log_sigma = 2.2;
  tokens.window_sigma = 0.3;
  ExpectKept(SimulateGate(tokens, settings), settings);
}

TEST(GateSimulation, LookingEarlyKeepsTheRate) {
  SimulationSettings settings;
  settings.n_windows = 54;
  settings.early_stop = true;
  settings.seed = 2;
  ExpectKept(SimulateGate(SimulatedTokens(), settings), settings);
}

// A gate that never decided would keep any rate: a clear effect is decided,
// rightly, and early.
TEST(GateSimulation, ClearEffectsAreDecided) {
  SimulationSettings settings;
  settings.n_pairs = 100;
  settings.n_windows = 100;
  settings.margin = 0.9;
  settings.early_stop = true;
  SimulatedTokens tokens;
  tokens.effect = 0.05;
  const SimulationResult result = SimulateGate(tokens, settings);
  EXPECT_EQ(result.of(Criterion::kDivergence).wrong_passes, 0);
  EXPECT_EQ(result.of(Criterion::kDivergence).wrong_failures, 0);
  EXPECT_GT(result.of(Criterion::kDivergence).n_decided, 195);
  EXPECT_GT(result.of(Criterion::kSameTop).n_decided, 195);
  EXPECT_GT(result.of(Criterion::kPerplexityRatio).n_decided, 150);
}

}  // namespace
}  // namespace narrow
