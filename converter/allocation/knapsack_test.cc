#include "converter/allocation/knapsack.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

struct Best {
  double loss = std::numeric_limits<double>::infinity();
  int64_t cost = std::numeric_limits<int64_t>::max();
};

// Every combination.
template <typename Visit>
void ForAll(const std::vector<KnapsackItem>& items, size_t item, int64_t cost,
            double loss, const Visit& visit) {
  if (item == items.size()) {
    visit(cost, loss);
    return;
  }
  for (const KnapsackChoice& choice : items[item].choices) {
    ForAll(items, item + 1, cost + choice.cost, loss + choice.loss, visit);
  }
}

// Losses that fall with the cost, and some that do not.
std::vector<KnapsackItem> RandomItems(int n_items, int n_choices, int64_t unit,
                                      std::mt19937* random) {
  std::vector<KnapsackItem> items(static_cast<size_t>(n_items));
  for (KnapsackItem& item : items) {
    const int64_t size = static_cast<int64_t>((*random)() % 50 + 1);
    for (int c = 0; c < n_choices; ++c) {
      const int64_t cost = unit * size * (c + 2);
      const double noise = 0.2 + static_cast<double>((*random)() % 1000) / 1000;
      item.choices.push_back(
          {cost, noise * static_cast<double>(size) * std::exp(-1.2 * c)});
    }
  }
  return items;
}

void ExpectConsistent(const std::vector<KnapsackItem>& items,
                      const KnapsackSolution& solution) {
  ASSERT_EQ(solution.chosen.size(), items.size());
  int64_t cost = 0;
  double loss = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const auto& choice =
        items[i].choices.at(static_cast<size_t>(solution.chosen[i]));
    cost += choice.cost;
    loss += choice.loss;
  }
  EXPECT_EQ(cost, solution.cost);
  EXPECT_NEAR(loss, solution.loss, 1e-12 * loss);
}

TEST(Knapsack, IsTheBestOfAll) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    const auto items = RandomItems(6, 4, 37, &random);
    const int64_t least = LeastPossibleCost(items);
    const int64_t budget =
        least + static_cast<int64_t>(random() % static_cast<uint64_t>(least));
    Best best;
    ForAll(items, 0, 0, 0, [&](int64_t cost, double loss) {
      if (cost <= budget) {
        best.loss = std::min(best.loss, loss);
      }
    });
    const KnapsackSolution found = LeastLoss(items, budget);
    ExpectConsistent(items, found);
    EXPECT_LE(found.cost, budget);
    EXPECT_NEAR(found.loss, best.loss, 1e-12);
    EXPECT_EQ(found.gap, 0);

    const double allowed = best.loss * 1.1;
    ForAll(items, 0, 0, 0, [&](int64_t cost, double loss) {
      if (loss <= allowed) {
        best.cost = std::min(best.cost, cost);
      }
    });
    const KnapsackSolution cheap = LeastCost(items, allowed);
    ExpectConsistent(items, cheap);
    EXPECT_LE(cheap.loss, allowed);
    EXPECT_EQ(cheap.cost, best.cost);
  }
}

// Costs without a common divisor, far more than the table has steps.
TEST(Knapsack, StatesHowFarItMayBeFromTheBest) {
  std::mt19937 random(11);
  for (int round = 0; round < 10; ++round) {
    auto items = RandomItems(7, 4, 1000003, &random);
    items[0].choices[1].cost += 1;
    const int64_t least = LeastPossibleCost(items);
    const int64_t budget = least + least / 3;
    Best best;
    ForAll(items, 0, 0, 0, [&](int64_t cost, double loss) {
      if (cost <= budget) {
        best.loss = std::min(best.loss, loss);
      }
    });
    const KnapsackSolution found = LeastLoss(items, budget);
    ExpectConsistent(items, found);
    EXPECT_LE(found.cost, budget);
    EXPECT_LE(found.loss * (1 - found.gap), best.loss * (1 + 1e-12));
    EXPECT_LE(found.loss, best.loss * 1.02);

    const KnapsackSolution cheap = LeastCost(items, best.loss);
    ExpectConsistent(items, cheap);
    EXPECT_LE(cheap.loss, best.loss);
    EXPECT_LE(static_cast<double>(cheap.cost) * (1 - cheap.gap),
              static_cast<double>(budget));
  }
}

TEST(Knapsack, TakesExtremes) {
  std::mt19937 random(3);
  const auto items = RandomItems(40, 7, 4096, &random);
  const int64_t least = LeastPossibleCost(items);
  EXPECT_EQ(LeastLoss(items, least).cost, least);
  const KnapsackSolution all =
      LeastLoss(items, std::numeric_limits<int64_t>::max());
  EXPECT_NEAR(all.loss, LeastPossibleLoss(items), 1e-12);
  EXPECT_EQ(LeastCost(items, 1e300).cost, least);
  EXPECT_EQ(LeastLoss({}, 0).cost, 0);
  const KnapsackSolution one = LeastLoss({{{{5, 2.0}}}}, 5);
  EXPECT_EQ(one.chosen, std::vector<int>{0});
}

// As many tensors as the largest models have.
TEST(Knapsack, ManyItemsHaveASmallGap) {
  std::mt19937 random(5);
  const auto items = RandomItems(900, 8, 999983, &random);
  const int64_t least = LeastPossibleCost(items);
  const KnapsackSolution found = LeastLoss(items, least + least / 2);
  ExpectConsistent(items, found);
  EXPECT_LE(found.cost, least + least / 2);
  EXPECT_LT(found.gap, 0.01);
}

}  // namespace
}  // namespace narrow
