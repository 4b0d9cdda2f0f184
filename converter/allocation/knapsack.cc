// The multiple-choice knapsack (Kellerer, Pferschy and Pisinger, "Knapsack
// Problems", 2004, chapter 11), by dynamic programming over the cost above the
// cheapest solution. Costs of tensors have a large common divisor, that of
// their rows' bytes: the steps of the table are that divisor, and the table is
// exact, wherever it has few enough of them. Otherwise steps are larger, costs
// are rounded up to them, and what rounding left of the budget is given to
// single changes and exchanges of two; how far the optimum can be is then told
// by a Lagrangian bound: for every price p of a unit of cost,
//   sum_i min_c (loss_ic + p cost_ic) - p budget
// is below every solution's loss. Tested by: knapsack_test (against trying
// everything).

#include "converter/allocation/knapsack.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

namespace narrow {
namespace {

constexpr int64_t kMaxSteps = int64_t{1} << 18;
constexpr int64_t kMaxCells = int64_t{1} << 26;

// An item's choices that are worth taking: rising costs, falling losses.
struct Useful {
  std::vector<int> index;  // of the item's choices
  std::vector<KnapsackChoice> choices;
};

std::vector<Useful> UsefulChoices(const std::vector<KnapsackItem>& items) {
  std::vector<Useful> all;
  for (const KnapsackItem& item : items) {
    assert(!item.choices.empty());
    std::vector<int> order(item.choices.size());
    std::iota(order.begin(), order.end(), 0);
    const auto at = [&item](int i) -> const KnapsackChoice& {
      return item.choices[static_cast<size_t>(i)];
    };
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return at(a).cost != at(b).cost ? at(a).cost < at(b).cost
                                      : at(a).loss < at(b).loss;
    });
    Useful useful;
    for (const int i : order) {
      if (useful.choices.empty() || at(i).loss < useful.choices.back().loss) {
        useful.index.push_back(i);
        useful.choices.push_back(at(i));
      }
    }
    all.push_back(std::move(useful));
  }
  return all;
}

// A place among each item's useful choices.
using Places = std::vector<int>;

class Problem {
 public:
  explicit Problem(const std::vector<KnapsackItem>& items)
      : items_(UsefulChoices(items)) {
    for (const Useful& item : items_) {
      least_cost_ += item.choices.front().cost;
      most_cost_ += item.choices.back().cost;
    }
  }

  int64_t least_cost() const { return least_cost_; }
  int64_t most_cost() const { return most_cost_; }
  const KnapsackChoice& At(size_t item, int place) const {
    return items_[item].choices[static_cast<size_t>(place)];
  }
  size_t n() const { return items_.size(); }
  int n_places(size_t item) const {
    return static_cast<int>(items_[item].choices.size());
  }

  // Fills the table for budgets up to `budget`.
  void Fill(int64_t budget);
  bool exact() const { return exact_; }
  // Of the fullest table, or of the first step whose loss is not above
  // `max_loss` (the last step if there is none).
  Places Best() const { return PlacesAt(n_steps_ - 1); }
  Places FirstWithin(double max_loss) const;

  int64_t CostOf(const Places& places) const;
  double LossOf(const Places& places) const;
  KnapsackSolution Solution(const Places& places) const;
  double LossBound(int64_t budget) const;
  double CostBound(double max_loss) const;

 private:
  Places PlacesAt(int64_t step) const;
  int64_t Steps(size_t item, int place) const {
    return (At(item, place).cost - At(item, 0).cost + unit_ - 1) / unit_;
  }
  double LeastSum(double loss_price, double cost_price) const;

  std::vector<Useful> items_;
  int64_t least_cost_ = 0, most_cost_ = 0;
  int64_t unit_ = 1, n_steps_ = 1;
  bool exact_ = true;
  std::vector<double> losses_;  // by step, of all items
  std::vector<uint8_t> taken_;  // [item, step]
};

void Problem::Fill(int64_t budget) {
  const int64_t room = std::min(budget, most_cost_) - least_cost_;
  assert(room >= 0);
  int64_t divisor = 0;
  for (size_t i = 0; i < n(); ++i) {
    for (int p = 1; p < n_places(i); ++p) {
      divisor = std::gcd(divisor, At(i, p).cost - At(i, 0).cost);
    }
  }
  divisor = std::max<int64_t>(1, divisor);
  const int64_t most_steps = std::max<int64_t>(
      1, std::min(kMaxSteps,
                  kMaxCells / std::max<int64_t>(1, static_cast<int64_t>(n()))));
  unit_ = std::max(divisor, (room + most_steps - 1) / most_steps);
  exact_ = unit_ == divisor;
  n_steps_ = room / unit_ + 1;
  losses_.assign(static_cast<size_t>(n_steps_), 0);
  taken_.assign(n() * static_cast<size_t>(n_steps_), 0);
  std::vector<double> next(losses_.size());
  for (size_t i = 0; i < n(); ++i) {
    uint8_t* taken = taken_.data() + i * static_cast<size_t>(n_steps_);
    for (size_t s = 0; s < next.size(); ++s) {
      next[s] = losses_[s] + At(i, 0).loss;
    }
    for (int p = 1; p < n_places(i); ++p) {
      const double loss = At(i, p).loss;
      const size_t steps = static_cast<size_t>(Steps(i, p));
      for (size_t s = steps; s < next.size(); ++s) {
        const double sum = losses_[s - steps] + loss;
        if (sum < next[s]) {
          next[s] = sum;
          taken[s] = static_cast<uint8_t>(p);
        }
      }
    }
    losses_.swap(next);
  }
}

Places Problem::PlacesAt(int64_t step) const {
  Places places(n());
  for (size_t i = n(); i-- > 0;) {
    places[i] =
        taken_[i * static_cast<size_t>(n_steps_) + static_cast<size_t>(step)];
    step -= Steps(i, places[i]);
  }
  return places;
}

Places Problem::FirstWithin(double max_loss) const {
  int64_t step = 0;
  while (step + 1 < n_steps_ && losses_[static_cast<size_t>(step)] > max_loss) {
    ++step;
  }
  // The same sum in another order may be a last digit above.
  Places places = PlacesAt(step);
  while (step + 1 < n_steps_ && LossOf(places) > max_loss) {
    places = PlacesAt(++step);
  }
  return places;
}

int64_t Problem::CostOf(const Places& places) const {
  int64_t cost = 0;
  for (size_t i = 0; i < n(); ++i) {
    cost += At(i, places[i]).cost;
  }
  return cost;
}

double Problem::LossOf(const Places& places) const {
  double loss = 0;
  for (size_t i = 0; i < n(); ++i) {
    loss += At(i, places[i]).loss;
  }
  return loss;
}

KnapsackSolution Problem::Solution(const Places& places) const {
  KnapsackSolution solution;
  for (size_t i = 0; i < n(); ++i) {
    solution.chosen.push_back(items_[i].index[static_cast<size_t>(places[i])]);
  }
  solution.cost = CostOf(places);
  solution.loss = LossOf(places);
  return solution;
}

double Problem::LeastSum(double loss_price, double cost_price) const {
  double sum = 0;
  for (size_t i = 0; i < n(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (int p = 0; p < n_places(i); ++p) {
      least =
          std::min(least, loss_price * At(i, p).loss +
                              cost_price * static_cast<double>(At(i, p).cost));
    }
    sum += least;
  }
  return sum;
}

// A bound is concave in the logarithm's argument: the best of many prices.
template <typename BoundOf>
double BestBound(BoundOf bound_of) {
  double best = 0, best_log = 0, step = 2;
  for (double log = -60; log <= 60; log += step) {
    const double bound = bound_of(std::exp(log));
    if (bound > best) {
      best = bound;
      best_log = log;
    }
  }
  for (int i = 0; i < 40; ++i) {
    step *= 0.7;
    for (const double log : {best_log - step, best_log + step}) {
      const double bound = bound_of(std::exp(log));
      if (bound > best) {
        best = bound;
        best_log = log;
      }
    }
  }
  return best;
}

double Problem::LossBound(int64_t budget) const {
  return BestBound([&](double price) {
    return LeastSum(1, price) - price * static_cast<double>(budget);
  });
}

double Problem::CostBound(double max_loss) const {
  return std::max(static_cast<double>(least_cost_),
                  BestBound([&](double price) {
                    return LeastSum(price, 1) - price * max_loss;
                  }));
}

// Exchanges a place, or two, where `objective` falls and `used` of what
// `limit` allows is not exceeded, until none is left.
template <typename T, typename U, typename ObjectiveOf, typename UsedOf>
void Improve(const Problem& problem, U limit, T objective_unit,
             ObjectiveOf objective_of, UsedOf used_of, Places* places) {
  U used = 0;
  for (size_t i = 0; i < problem.n(); ++i) {
    used += used_of(i, (*places)[i]);
  }
  struct Change {
    size_t item;
    int place;
    T objective;
    U used;
  };
  for (size_t round = 0; round < 2 * problem.n(); ++round) {
    std::vector<Change> changes;
    for (size_t i = 0; i < problem.n(); ++i) {
      for (int p = 0; p < problem.n_places(i); ++p) {
        const int now = (*places)[i];
        if (p != now) {
          changes.push_back({i, p, objective_of(i, p) - objective_of(i, now),
                             static_cast<U>(used_of(i, p) - used_of(i, now))});
        }
      }
    }
    const Change* first = nullptr;
    const Change* second = nullptr;
    T best = -objective_unit;
    for (const Change& a : changes) {
      if (a.objective < best && used + a.used <= limit) {
        best = a.objective;
        first = &a;
        second = nullptr;
      }
    }
    if (first == nullptr && problem.n() <= 1000) {
      for (const Change& a : changes) {
        if (!(a.objective < 0)) {
          continue;
        }
        for (const Change& b : changes) {
          if (a.item != b.item && a.objective + b.objective < best &&
              used + a.used + b.used <= limit) {
            best = a.objective + b.objective;
            first = &a;
            second = &b;
          }
        }
      }
    }
    if (first == nullptr) {
      return;
    }
    for (const Change* change : {first, second}) {
      if (change != nullptr) {
        (*places)[change->item] = change->place;
        used += change->used;
      }
    }
  }
}

double Gap(double found, double bound) {
  return found > 0 ? std::max(0.0, (found - bound) / found) : 0;
}

}  // namespace

int64_t LeastPossibleCost(const std::vector<KnapsackItem>& items) {
  return Problem(items).least_cost();
}

double LeastPossibleLoss(const std::vector<KnapsackItem>& items) {
  const Problem problem(items);
  Places places;
  for (size_t i = 0; i < problem.n(); ++i) {
    places.push_back(problem.n_places(i) - 1);
  }
  return problem.LossOf(places);
}

KnapsackSolution LeastLoss(const std::vector<KnapsackItem>& items,
                           int64_t budget) {
  Problem problem(items);
  problem.Fill(budget);
  Places places = problem.Best();
  if (!problem.exact()) {
    Improve(
        problem, budget, 1e-12 * problem.LossOf(places),
        [&](size_t i, int p) { return problem.At(i, p).loss; },
        [&](size_t i, int p) { return problem.At(i, p).cost; }, &places);
  }
  KnapsackSolution solution = problem.Solution(places);
  solution.gap =
      problem.exact() ? 0 : Gap(solution.loss, problem.LossBound(budget));
  return solution;
}

KnapsackSolution LeastCost(const std::vector<KnapsackItem>& items,
                           double max_loss) {
  Problem problem(items);
  problem.Fill(problem.most_cost());
  Places places = problem.FirstWithin(max_loss);
  if (problem.LossOf(places) > max_loss) {  // the last step rounds costs up
    for (size_t i = 0; i < problem.n(); ++i) {
      places[i] = problem.n_places(i) - 1;
    }
  }
  if (!problem.exact()) {
    Improve(
        problem, max_loss, int64_t{0},
        [&](size_t i, int p) { return problem.At(i, p).cost; },
        [&](size_t i, int p) { return problem.At(i, p).loss; }, &places);
  }
  KnapsackSolution solution = problem.Solution(places);
  solution.gap = problem.exact() ? 0
                                 : Gap(static_cast<double>(solution.cost),
                                       problem.CostBound(max_loss));
  return solution;
}

}  // namespace narrow
