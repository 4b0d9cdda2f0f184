// One choice for each of many items, so that the sum of losses is least while
// the sum of costs stays within a budget; or the other way round.
//
//   std::vector<KnapsackItem> items = {{{{100, 0.5}, {160, 0.1}}}, …};
//   const KnapsackSolution best = LeastLoss(items, 4500000);
//   best.chosen[i];                  // index into items[i].choices
//   best.gap;                        // at most so far from the optimum
//
// Pure functions; ties go to the choice that comes first.

#ifndef NARROW_CONVERTER_ALLOCATION_KNAPSACK_H_
#define NARROW_CONVERTER_ALLOCATION_KNAPSACK_H_

#include <cstdint>
#include <vector>

namespace narrow {

struct KnapsackChoice {
  int64_t cost = 0;  // >= 0
  double loss = 0;   // finite, >= 0
};

struct KnapsackItem {
  std::vector<KnapsackChoice> choices;  // at least one
};

struct KnapsackSolution {
  std::vector<int> chosen;
  int64_t cost = 0;
  double loss = 0;
  // No solution's objective (the loss, or the cost) is lower than this share
  // of it below the one found; 0: none is lower.
  double gap = 0;
};

// Of all solutions.
int64_t LeastPossibleCost(const std::vector<KnapsackItem>& items);
double LeastPossibleLoss(const std::vector<KnapsackItem>& items);

// REQUIRES: budget >= LeastPossibleCost(items).
KnapsackSolution LeastLoss(const std::vector<KnapsackItem>& items,
                           int64_t budget);
// REQUIRES: max_loss >= LeastPossibleLoss(items).
KnapsackSolution LeastCost(const std::vector<KnapsackItem>& items,
                           double max_loss);

}  // namespace narrow

#endif  // NARROW_CONVERTER_ALLOCATION_KNAPSACK_H_
