// Tested by: stats_collector_test, observe_request_test.

#include "calibration/blockwise/stats/input_sums.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "kernels/linalg/gram.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

// Columns a task.
constexpr int64_t kTaskCols = 64;

}  // namespace

void SetExtremes(const std::vector<float>& most,
                 const std::vector<float>& least, LayerStats* stats) {
  for (size_t j = 0; j < most.size(); ++j) {
    stats->max_abs[j] = std::max(std::fabs(most[j]), std::fabs(least[j]));
  }
  if (!most.empty()) {
    stats->max_value = *std::max_element(most.begin(), most.end());
    stats->min_value = *std::min_element(least.begin(), least.end());
  }
}

InputSums::InputSums(int64_t n_cols, int64_t residual_cols, bool of_expert,
                     bool weighted, const StatsNeeds& needs)
    : needs_(needs),
      residual_cols_(residual_cols),
      weighted_(weighted),
      max_gathered_(of_expert ? kGatheredExpertRows : kGatheredRows) {
  const size_t n = static_cast<size_t>(n_cols);
  stats_.n_cols = n_cols;
  stats_.sum_sq.resize(n);
  stats_.sum_abs.resize(n);
  stats_.max_abs.resize(n);
}

RowPlaces InputSums::MakeRoom(int64_t n) {
  const int64_t n_cols = stats_.n_cols;
  RowPlaces places;
  places.inputs = Grow(n, n_cols, &rows_);
  places.drifts = needs_.cross ? Grow(n, n_cols, &drifts_) : nullptr;
  places.residuals =
      residual_cols_ > 0 ? Grow(n, residual_cols_, &residuals_) : nullptr;
  places.weights = weighted_ ? Grow(n, 1, &weights_) : nullptr;
  return places;
}

RowPlaces InputSums::MakeHeldOutRoom(int64_t n) {
  if (held_out_ == nullptr) {
    held_out_ = std::make_shared<HeldOutRows>();
  }
  const int64_t first = held_out_->n_rows;
  held_out_->n_rows += n;
  const auto grow = [&](int64_t n_cols, std::vector<float>* to) {
    to->resize(static_cast<size_t>(held_out_->n_rows * n_cols));
    return to->data() + first * n_cols;
  };
  RowPlaces places;
  places.inputs = grow(stats_.n_cols, &held_out_->inputs);
  if (needs_.cross) {
    places.originals = grow(stats_.n_cols, &held_out_->originals);
  }
  if (residual_cols_ > 0) {
    places.residuals = grow(residual_cols_, &held_out_->residual);
  }
  places.weights = grow(1, &held_out_->weights);
  return places;
}

void InputSums::Added(int64_t n, ThreadPool* pool) {
  n_gathered_ += n;
  if (n_gathered_ == max_gathered_) {
    Flush(pool);
  }
}

LayerStats InputSums::Finish(ThreadPool* pool) {
  Flush(pool);
  if (!stats_.gram.empty()) {
    MirrorUpper(pool, stats_.n_cols, stats_.gram.data());
  }
  SetExtremes(most_, least_, &stats_);
  stats_.held_out = std::move(held_out_);
  return std::move(stats_);
}

float* InputSums::Grow(int64_t n, int64_t n_cols,
                       std::vector<float>* to) const {
  const size_t needed = static_cast<size_t>((n_gathered_ + n) * n_cols);
  if (to->size() < needed) {
    to->resize(std::min(static_cast<size_t>(max_gathered_ * n_cols),
                        std::max(needed, 2 * to->size())));
  }
  return to->data() + n_gathered_ * n_cols;
}

// After it only whole blocks may follow; so at the end, or when the rows
// gathered are whole blocks.
void InputSums::Flush(ThreadPool* pool) {
  AddRows(rows_.data(), n_gathered_, pool);
  n_gathered_ = 0;
}

void InputSums::AddWhole(const float* rows, int64_t n, ThreadPool* pool) {
  assert(takes_whole() && n % kGramBlockRows == 0);
  Flush(pool);
  AddRows(rows, n, pool);
}

// Rows, and of what belongs to them the first n that are gathered.
void InputSums::AddRows(const float* rows, int64_t n, ThreadPool* pool) {
  if (n == 0) {
    return;
  }
  const int64_t n_cols = stats_.n_cols;
  if (stats_.n_rows == 0) {
    const size_t n_squared = static_cast<size_t>(n_cols * n_cols);
    stats_.gram.resize(needs_.gram ? n_squared : 0);
    stats_.cross.resize(needs_.cross ? n_squared : 0);
    stats_.residual.resize(static_cast<size_t>(residual_cols_ * n_cols));
    most_.assign(rows, rows + n_cols);
    least_ = most_;
  }
  const float* const weights = weighted_ ? weights_.data() : nullptr;
  pool->ParallelFor((n_cols + kTaskCols - 1) / kTaskCols, [&](int64_t task) {
    const int64_t first = task * kTaskCols;
    RowKernelsForCpu().add_magnitudes(
        rows + first, n_cols, n, std::min(kTaskCols, n_cols - first), weights,
        {stats_.sum_sq.data() + first, stats_.sum_abs.data() + first,
         most_.data() + first, least_.data() + first});
  });
  if (needs_.gram) {
    AddGram(pool, rows, n, n_cols, weights, stats_.gram.data());
  }
  if (needs_.cross) {
    AddCross(pool, drifts_.data(), n_cols, rows, n_cols, n, weights,
             stats_.cross.data());
  }
  if (residual_cols_ > 0) {
    AddCross(pool, residuals_.data(), residual_cols_, rows, n_cols, n, weights,
             stats_.residual.data());
  }
  for (int64_t r = 0; r < n; ++r) {
    stats_.weight += weighted_ ? static_cast<double>(weights[r]) : 1;
  }
  stats_.n_rows += n;
}

}  // namespace narrow
