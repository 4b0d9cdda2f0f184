// The end of a block: what was summed as statistics by layer, experts with few
// rows of their own drawn towards what all of the layer's saw.
//
// Tested by: stats_collector_test, block_calibrator_test.

#include <algorithm>
#include <cmath>
#include <utility>

#include "calibration/blockwise/stats/stats_collector.h"

namespace narrow {
namespace {

// Elements a task, where those of a matrix are worked on one by one.
constexpr int64_t kTaskElements = int64_t{1} << 16;

// mixed = scale * ((1 - a) * own / w_own + a * all / w_all).
class Mixture {
 public:
  Mixture(double share, double own_weight, double all_weight)
      : share_(share),
        scale_(own_weight > 0 ? own_weight : 1),
        own_(own_weight > 0 ? (1 - share) / own_weight : 0),
        all_(all_weight > 0 ? share / all_weight : 0) {}

  double scale() const { return scale_; }
  double Sum(double own, double all) const {
    return scale_ * (own_ * own + all_ * all);
  }
  float Extreme(float own, float all) const {
    return static_cast<float>(own + share_ * (static_cast<double>(all) - own));
  }

 private:
  const double share_, scale_, own_, all_;
};

// Sums of `part` added to those of `all`.
void AddStats(ThreadPool* pool, const LayerStats& part, LayerStats* all) {
  const auto add = [&](const std::vector<double>& from,
                       std::vector<double>* to) {
    if (to->empty()) {
      *to = from;
      return;
    }
    const int64_t n = static_cast<int64_t>(from.size());
    pool->ParallelFor(
        (n + kTaskElements - 1) / kTaskElements, [&](int64_t task) {
          const size_t end =
              static_cast<size_t>(std::min(n, (task + 1) * kTaskElements));
          for (size_t i = static_cast<size_t>(task * kTaskElements); i < end;
               ++i) {
            (*to)[i] += from[i];
          }
        });
  };
  add(part.sum_sq, &all->sum_sq);
  add(part.sum_abs, &all->sum_abs);
  add(part.gram, &all->gram);
  add(part.cross, &all->cross);
  all->max_abs.resize(part.max_abs.size());
  for (size_t j = 0; j < part.max_abs.size(); ++j) {
    all->max_abs[j] = std::max(all->max_abs[j], part.max_abs[j]);
  }
  const bool first = all->n_rows == 0;
  all->max_value =
      first ? part.max_value : std::max(all->max_value, part.max_value);
  all->min_value =
      first ? part.min_value : std::min(all->min_value, part.min_value);
  all->n_rows += part.n_rows;
  all->weight += part.weight;
}

}  // namespace

std::shared_ptr<const LayerStats> StatsCollector::Shrink(
    const LayerStats& own, const LayerStats& all) const {
  const double enough =
      expert_rows_per_column_ * static_cast<double>(all.n_cols);
  auto mixed = std::make_shared<LayerStats>();
  mixed->n_cols = all.n_cols;
  mixed->n_rows = own.n_rows;
  mixed->shrinkage = own.n_rows == 0 || own.weight <= 0
                         ? 1
                         : 1 - static_cast<double>(own.n_rows) / enough;
  mixed->held_out = own.held_out;
  const Mixture mixture(mixed->shrinkage, own.weight, all.weight);
  mixed->weight = mixture.scale();
  const auto mix = [&](const std::vector<double>& mine,
                       const std::vector<double>& common,
                       std::vector<double>* to) {
    to->resize(common.size());
    const int64_t n = static_cast<int64_t>(common.size());
    pool_->ParallelFor(
        (n + kTaskElements - 1) / kTaskElements, [&](int64_t task) {
          const size_t end =
              static_cast<size_t>(std::min(n, (task + 1) * kTaskElements));
          for (size_t i = static_cast<size_t>(task * kTaskElements); i < end;
               ++i) {
            (*to)[i] = mixture.Sum(mine.empty() ? 0 : mine[i], common[i]);
          }
        });
  };
  mix(own.sum_sq, all.sum_sq, &mixed->sum_sq);
  mix(own.sum_abs, all.sum_abs, &mixed->sum_abs);
  mix(own.gram, all.gram, &mixed->gram);
  mix(own.cross, all.cross, &mixed->cross);
  for (size_t j = 0; j < all.max_abs.size(); ++j) {
    mixed->max_abs.push_back(mixture.Extreme(
        own.max_abs.empty() ? 0 : own.max_abs[j], all.max_abs[j]));
  }
  mixed->max_value = mixture.Extreme(own.max_value, all.max_value);
  mixed->min_value = mixture.Extreme(own.min_value, all.min_value);
  return mixed;
}

// By matrix; experts with few rows shrunk.
std::vector<std::shared_ptr<const LayerStats>> StatsCollector::FinishInput(
    Input* input) {
  std::vector<std::shared_ptr<const LayerStats>> result;
  const double enough =
      expert_rows_per_column_ * static_cast<double>(input->n_cols);
  bool any_few = false;
  for (Sums& sums : input->sums) {
    if (sums.here == nullptr && !sums.fetched.has_value()) {
      sums.here = NewSums(*input);
    }
    result.push_back(std::make_shared<const LayerStats>(
        sums.fetched.has_value() ? *std::move(sums.fetched)
                                 : sums.here->Finish(pool_)));
    sums = Sums();
    any_few = any_few || result.back()->n_rows == 0 ||
              static_cast<double>(result.back()->n_rows) < enough;
  }
  if (!input->stacked || !any_few) {
    return result;
  }
  LayerStats all;
  all.n_cols = input->n_cols;
  for (const auto& own : result) {
    if (own->n_rows > 0) {
      AddStats(pool_, *own, &all);
    }
  }
  for (auto& own : result) {
    if (all.n_rows > 0 &&
        (own->n_rows == 0 || static_cast<double>(own->n_rows) < enough)) {
      own = Shrink(*own, all);
    }
  }
  return result;
}

BlockStats StatsCollector::Finish() {
  BlockStats block;
  for (Input& input : inputs_) {
    const auto by_matrix = FinishInput(&input);
    for (const std::string& name : input.names) {
      for (size_t m = 0; m < by_matrix.size(); ++m) {
        const int expert = input.stacked ? static_cast<int>(m) : -1;
        block.layers[{name, expert}] = by_matrix[m];
      }
    }
  }
  inputs_.clear();
  index_.clear();
  same_.Forget();
  return block;
}

}  // namespace narrow
