// Tested by: stats_collector_test, block_calibrator_test.

#include "calibration/blockwise/stats_collector.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/linalg/gram.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

// Rows gathered before they are added: a large matrix of sums is then read
// and written less often. Of an expert fewer, as there may be hundreds.
constexpr int64_t kGatheredRows = 4 * kGramBlockRows;
constexpr int64_t kGatheredExpertRows = kGramBlockRows;
// Columns a task.
constexpr int64_t kTaskCols = 64;
// Elements a task, where those of a matrix are worked on one by one.
constexpr int64_t kTaskElements = int64_t{1} << 16;
// Numbers of rows a task copies.
constexpr int64_t kTaskNumbers = int64_t{1} << 14;

// Sums and extremes of some columns.
struct ColumnSums {
  double squares[kTaskCols] = {}, magnitudes[kTaskCols] = {};
  float most[kTaskCols], least[kTaskCols];
};

// Adds rows of kTaskCols columns, row after row: a loop of fixed length that
// compilers turn into vectors, each column in a lane.
void AddColumns(const float* rows, int64_t stride, int64_t n_rows,
                ColumnSums* sums) {
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* const x = rows + r * stride;
    for (int64_t j = 0; j < kTaskCols; ++j) {
      const double wide = static_cast<double>(x[j]);
      sums->squares[j] += wide * wide;
      sums->magnitudes[j] += std::fabs(wide);
      sums->most[j] = x[j] > sums->most[j] ? x[j] : sums->most[j];
      sums->least[j] = x[j] < sums->least[j] ? x[j] : sums->least[j];
    }
  }
}

// mixed = scale * ((1 - a) * own / n_own + a * all / n_all).
class Mixture {
 public:
  Mixture(double share, int64_t n_own, int64_t n_all)
      : share_(share),
        scale_(static_cast<double>(std::max<int64_t>(1, n_own))),
        own_(n_own > 0 ? (1 - share) / static_cast<double>(n_own) : 0),
        all_(n_all > 0 ? share / static_cast<double>(n_all) : 0) {}

  double Sum(double own, double all) const {
    return scale_ * (own_ * own + all_ * all);
  }
  float Extreme(float own, float all) const {
    return static_cast<float>(own + share_ * (static_cast<double>(all) - own));
  }

 private:
  const double share_, scale_, own_, all_;
};

}  // namespace

// Sums of one matrix's input, and the rows that are yet to be added.
class StatsCollector::Sums {
 public:
  Sums(int64_t n_cols, bool of_expert, const StatsNeeds& needs)
      : needs_(needs),
        max_gathered_(of_expert ? kGatheredExpertRows : kGatheredRows) {
    const size_t n = static_cast<size_t>(n_cols);
    stats_.n_cols = n_cols;
    stats_.sum_sq.resize(n);
    stats_.sum_abs.resize(n);
    stats_.max_abs.resize(n);
  }

  // Rows that may be put at the end before Added must be called.
  int64_t room() const { return max_gathered_ - n_gathered_; }
  // Where rows [0, n) after those gathered go. REQUIRES: n <= room().
  float* MakeRoom(int64_t n) { return Grow(n, &rows_); }
  float* MakeDriftRoom(int64_t n) { return Grow(n, &drifts_); }
  void Added(int64_t n, ThreadPool* pool) {
    n_gathered_ += n;
    if (n_gathered_ == max_gathered_) {
      Flush(pool);
    }
  }

  LayerStats Finish(ThreadPool* pool) {
    Flush(pool);
    if (!stats_.gram.empty()) {
      MirrorUpper(pool, stats_.n_cols, stats_.gram.data());
    }
    for (size_t j = 0; j < most_.size(); ++j) {
      stats_.max_abs[j] = std::max(std::fabs(most_[j]), std::fabs(least_[j]));
    }
    if (!most_.empty()) {
      stats_.max_value = *std::max_element(most_.begin(), most_.end());
      stats_.min_value = *std::min_element(least_.begin(), least_.end());
    }
    return std::move(stats_);
  }

 private:
  float* Grow(int64_t n, std::vector<float>* to) const {
    const size_t n_cols = static_cast<size_t>(stats_.n_cols);
    const size_t needed = static_cast<size_t>(n_gathered_ + n) * n_cols;
    if (to->size() < needed) {
      to->resize(std::min(static_cast<size_t>(max_gathered_) * n_cols,
                          std::max(needed, 2 * to->size())));
    }
    return to->data() + static_cast<size_t>(n_gathered_) * n_cols;
  }

  // After it only whole blocks may follow; so at the end, or when the rows
  // gathered are whole blocks.
  void Flush(ThreadPool* pool) {
    if (n_gathered_ == 0) {
      return;
    }
    const int64_t n_cols = stats_.n_cols;
    if (stats_.n_rows == 0) {
      const size_t n_squared = static_cast<size_t>(n_cols * n_cols);
      stats_.gram.resize(needs_.gram ? n_squared : 0);
      stats_.cross.resize(needs_.cross ? n_squared : 0);
      most_.assign(rows_.begin(), rows_.begin() + n_cols);
      least_ = most_;
    }
    pool->ParallelFor((n_cols + kTaskCols - 1) / kTaskCols,
                      [&](int64_t task) { FlushColumns(task * kTaskCols); });
    if (needs_.gram) {
      AddGram(pool, rows_.data(), n_gathered_, n_cols, nullptr,
              stats_.gram.data());
    }
    if (needs_.cross) {
      AddCross(pool, drifts_.data(), rows_.data(), n_gathered_, n_cols, nullptr,
               stats_.cross.data());
    }
    stats_.n_rows += n_gathered_;
    n_gathered_ = 0;
  }

  // Columns [first, first + kTaskCols), as far as there are any.
  void FlushColumns(int64_t first) {
    const int64_t n_cols = stats_.n_cols;
    const int64_t n = std::min(kTaskCols, n_cols - first);
    ColumnSums sums;
    std::fill_n(sums.most, kTaskCols, 0.0f);
    std::fill_n(sums.least, kTaskCols, 0.0f);
    std::copy_n(stats_.sum_sq.data() + first, n, sums.squares);
    std::copy_n(stats_.sum_abs.data() + first, n, sums.magnitudes);
    std::copy_n(most_.data() + first, n, sums.most);
    std::copy_n(least_.data() + first, n, sums.least);
    if (n == kTaskCols) {
      AddColumns(rows_.data() + first, n_cols, n_gathered_, &sums);
    } else {
      float row[kTaskCols] = {};
      for (int64_t r = 0; r < n_gathered_; ++r) {
        std::copy_n(rows_.data() + r * n_cols + first, n, row);
        AddColumns(row, kTaskCols, 1, &sums);
      }
    }
    std::copy_n(sums.squares, n, stats_.sum_sq.data() + first);
    std::copy_n(sums.magnitudes, n, stats_.sum_abs.data() + first);
    std::copy_n(sums.most, n, most_.data() + first);
    std::copy_n(sums.least, n, least_.data() + first);
  }

  const StatsNeeds needs_;
  const int64_t max_gathered_;
  LayerStats stats_;
  std::vector<float> most_, least_;   // of each column
  std::vector<float> rows_, drifts_;  // n_gathered_ rows, and room for more
  int64_t n_gathered_ = 0;
};

StatsCollector::StatsCollector(const Checkpoint* model, ThreadPool* pool,
                               StatsNeeds needs, double expert_rows_per_column)
    : model_(model),
      pool_(pool),
      needs_(needs),
      expert_rows_per_column_(expert_rows_per_column) {}

StatsCollector::~StatsCollector() = default;

void StatsCollector::BeginGroup(int64_t first_sample, int64_t sample_tokens,
                                const uint8_t* counts,
                                const InputRecorder* original) {
  first_sample_ = first_sample;
  sample_tokens_ = sample_tokens;
  counts_ = counts;
  original_ = original;
  same_.Forget();
}

// The input that the rows belong to; nullptr if they are in its sums already.
absl::StatusOr<StatsCollector::Input*> StatsCollector::Enter(
    const LayerInput& input) {
  const std::string name(input.name);
  const bool same = same_.AsBefore(input);
  auto found = index_.find(name);
  if (found == index_.end() && same) {
    inputs_[last_].names.push_back(name);
    index_[name] = last_;
    return nullptr;
  }
  if (found != index_.end() && same && found->second == last_) {
    return nullptr;
  }
  if (found == index_.end()) {
    const CheckpointTensor* tensor = model_->Find(name);
    Input made;
    made.names.push_back(name);
    made.n_cols = input.n_cols;
    made.stacked = input.expert >= 0;
    int64_t n_matrices = 1;
    if (made.stacked) {
      if (tensor == nullptr || tensor->meta.shape.size() != 3 ||
          input.expert >= tensor->meta.shape[0]) {
        return absl::InternalError(absl::StrCat(
            "rows for expert ", input.expert, " of ", name, ", which has ",
            tensor == nullptr ? 0 : tensor->meta.shape[0]));
      }
      n_matrices = tensor->meta.shape[0];
    }
    made.sums.resize(static_cast<size_t>(n_matrices));
    found = index_.emplace(name, inputs_.size()).first;
    inputs_.push_back(std::move(made));
  }
  last_ = found->second;
  Input* const entered = &inputs_[last_];
  if (name != entered->names[0] || input.n_cols != entered->n_cols ||
      (input.expert >= 0) != entered->stacked ||
      std::max(0, input.expert) >= static_cast<int>(entered->sums.size())) {
    return absl::InternalError(absl::StrCat(name, ", expert ", input.expert,
                                            ", no longer sees the rows of ",
                                            entered->names[0]));
  }
  return entered;
}

absl::Status StatsCollector::NotFinite(const LayerInput& input,
                                       int64_t row) const {
  const float* const x = input.rows + row * input.n_cols;
  const float* const bad = std::find_if(
      x, x + input.n_cols, [](float v) { return !std::isfinite(v); });
  const int64_t token = input.token(row);
  return absl::DataLossError(absl::StrCat(
      "the input of ", input.name,
      input.expert < 0 ? "" : absl::StrCat(", expert ", input.expert, ","),
      " is not finite, first at sample ",
      first_sample_ + token / sample_tokens_, ", token ",
      token % sample_tokens_, ", column ", bad - x, "; reading ",
      model_->path()));
}

// Rows counted_[first, first + n) are put at the end of those of `sums`.
absl::Status StatsCollector::Gather(const LayerInput& input, size_t first,
                                    int64_t n, Sums* sums) {
  const int64_t n_cols = input.n_cols;
  float* const to = sums->MakeRoom(n);
  float* const drifts = needs_.cross ? sums->MakeDriftRoom(n) : nullptr;
  const int64_t rows_per_task = std::max<int64_t>(1, kTaskNumbers / n_cols);
  const int64_t n_tasks = (n + rows_per_task - 1) / rows_per_task;
  // Of each task the first row that is not finite, or -1.
  std::vector<int64_t> bad(static_cast<size_t>(n_tasks), -1);
  pool_->ParallelFor(n_tasks, [&](int64_t task) {
    const int64_t end = std::min(n, (task + 1) * rows_per_task);
    for (int64_t i = task * rows_per_task; i < end; ++i) {
      const int64_t row = counted_[first + static_cast<size_t>(i)];
      const float* const z = input.rows + row * n_cols;
      if (!RowKernelsForCpu().all_finite(z, n_cols)) {
        bad[static_cast<size_t>(task)] = row;
        return;
      }
      std::copy_n(z, n_cols, to + i * n_cols);
      if (drifts == nullptr) {
        continue;
      }
      const float* const x =
          original_->Find(input.name, input.expert, input.token(row));
      float* const drift = drifts + i * n_cols;
      std::fill_n(drift, n_cols, 0.0f);
      for (int64_t j = 0; x != nullptr && j < n_cols; ++j) {
        drift[j] = x[j] - z[j];
      }
    }
  });
  for (const int64_t row : bad) {
    if (row >= 0) {
      return NotFinite(input, row);
    }
  }
  sums->Added(n, pool_);
  return absl::OkStatus();
}

absl::Status StatsCollector::OnInput(const LayerInput& input) {
  if (input.n_rows == 0) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Input* const entered, Enter(input));
  if (entered == nullptr) {
    return absl::OkStatus();
  }
  counted_.clear();
  for (int64_t r = 0; r < input.n_rows; ++r) {
    if (counts_[input.token(r)] != 0) {
      counted_.push_back(r);
    }
  }
  std::unique_ptr<Sums>& sums =
      entered->sums[static_cast<size_t>(std::max(0, input.expert))];
  if (sums == nullptr) {
    sums = std::make_unique<Sums>(input.n_cols, entered->stacked, needs_);
  }
  for (size_t first = 0; first < counted_.size();) {
    const int64_t n =
        std::min(sums->room(), static_cast<int64_t>(counted_.size() - first));
    RETURN_IF_ERROR(Gather(input, first, n, sums.get()));
    first += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

std::shared_ptr<const LayerStats> StatsCollector::Shrink(
    const LayerStats& own, const LayerStats& all) const {
  const double enough =
      expert_rows_per_column_ * static_cast<double>(all.n_cols);
  auto mixed = std::make_shared<LayerStats>();
  mixed->n_cols = all.n_cols;
  mixed->n_rows = own.n_rows;
  mixed->shrinkage =
      own.n_rows == 0 ? 1 : 1 - static_cast<double>(own.n_rows) / enough;
  const Mixture mixture(mixed->shrinkage, own.n_rows, all.n_rows);
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

// Sums of `part` added to those of `all`.
static void AddStats(ThreadPool* pool, const LayerStats& part,
                     LayerStats* all) {
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
}

// By matrix; experts with few rows shrunk.
std::vector<std::shared_ptr<const LayerStats>> StatsCollector::FinishInput(
    Input* input) {
  std::vector<std::shared_ptr<const LayerStats>> result;
  const double enough =
      expert_rows_per_column_ * static_cast<double>(input->n_cols);
  bool any_few = false;
  for (std::unique_ptr<Sums>& sums : input->sums) {
    if (sums == nullptr) {
      sums = std::make_unique<Sums>(input->n_cols, input->stacked, needs_);
    }
    result.push_back(std::make_shared<const LayerStats>(sums->Finish(pool_)));
    sums.reset();
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
