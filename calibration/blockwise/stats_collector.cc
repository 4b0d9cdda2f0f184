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

// The same with each row's products times its weight.
void AddWeightedColumns(const float* rows, int64_t stride, int64_t n_rows,
                        const float* weights, ColumnSums* sums) {
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* const x = rows + r * stride;
    const double weight = static_cast<double>(weights[r]);
    for (int64_t j = 0; j < kTaskCols; ++j) {
      const double wide = static_cast<double>(x[j]);
      sums->squares[j] += weight * (wide * wide);
      sums->magnitudes[j] += weight * std::fabs(wide);
      sums->most[j] = x[j] > sums->most[j] ? x[j] : sums->most[j];
      sums->least[j] = x[j] < sums->least[j] ? x[j] : sums->least[j];
    }
  }
}

// The weights of the tokens that a layer or an expert sees.
class TokenLookup {
 public:
  TokenLookup(const TokenWeights* weights, const LayerInput& input) {
    if (weights != nullptr) {
      by_token_ = weights->Find(input.name);
      of_expert_ = weights->FindExpert(input.name, input.expert);
    }
  }

  float Of(int64_t token) const {
    if (of_expert_ != nullptr) {
      const std::vector<int64_t>& tokens = of_expert_->tokens;
      const auto at = std::lower_bound(tokens.begin(), tokens.end(), token);
      return at != tokens.end() && *at == token
                 ? of_expert_->weights[static_cast<size_t>(at - tokens.begin())]
                 : 1;
    }
    return by_token_ == nullptr ? 1 : (*by_token_)[static_cast<size_t>(token)];
  }

 private:
  const TokenWeights::Values* by_token_ = nullptr;
  const TokenWeights::ExpertValues* of_expert_ = nullptr;
};

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

}  // namespace

// Where rows go; nullptr: nowhere.
struct StatsCollector::RowPlaces {
  float* inputs = nullptr;
  float* originals = nullptr;
  float* drifts = nullptr;
  float* residuals = nullptr;
  float* weights = nullptr;
};

// Sums of one matrix's input, and the rows that are yet to be added.
class StatsCollector::Sums {
 public:
  // residual_cols 0: no sums of residuals.
  Sums(int64_t n_cols, int64_t residual_cols, bool of_expert, bool weighted,
       const StatsNeeds& needs)
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

  // Rows that may be put at the end before Added must be called.
  int64_t room() const { return max_gathered_ - n_gathered_; }
  // Where rows [0, n) after those gathered go. REQUIRES: n <= room().
  RowPlaces MakeRoom(int64_t n) {
    const int64_t n_cols = stats_.n_cols;
    RowPlaces places;
    places.inputs = Grow(n, n_cols, &rows_);
    places.drifts = needs_.cross ? Grow(n, n_cols, &drifts_) : nullptr;
    places.residuals =
        residual_cols_ > 0 ? Grow(n, residual_cols_, &residuals_) : nullptr;
    places.weights = weighted_ ? Grow(n, 1, &weights_) : nullptr;
    return places;
  }
  // Where n more rows go that are held out.
  RowPlaces MakeHeldOutRoom(int64_t n) {
    if (held_out_ == nullptr) {
      held_out_ = std::make_shared<HeldOutRows>();
    }
    const int64_t first = held_out_->n_rows;
    held_out_->n_rows += n;
    const auto grow = [&](int64_t n_cols, std::vector<float>* to) {
      to->resize(static_cast<size_t>(held_out_->n_rows * n_cols));
      return to->data() + first * n_cols;
    };
    const int64_t n_cols = stats_.n_cols;
    RowPlaces places;
    places.inputs = grow(n_cols, &held_out_->inputs);
    places.originals =
        needs_.cross ? grow(n_cols, &held_out_->originals) : nullptr;
    places.residuals = residual_cols_ > 0
                           ? grow(residual_cols_, &held_out_->residual)
                           : nullptr;
    places.weights = grow(1, &held_out_->weights);
    return places;
  }
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
    stats_.held_out = std::move(held_out_);
    return std::move(stats_);
  }

 private:
  float* Grow(int64_t n, int64_t n_cols, std::vector<float>* to) const {
    const size_t needed = static_cast<size_t>((n_gathered_ + n) * n_cols);
    if (to->size() < needed) {
      to->resize(std::min(static_cast<size_t>(max_gathered_ * n_cols),
                          std::max(needed, 2 * to->size())));
    }
    return to->data() + n_gathered_ * n_cols;
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
      stats_.residual.resize(static_cast<size_t>(residual_cols_ * n_cols));
      most_.assign(rows_.begin(), rows_.begin() + n_cols);
      least_ = most_;
    }
    pool->ParallelFor((n_cols + kTaskCols - 1) / kTaskCols,
                      [&](int64_t task) { FlushColumns(task * kTaskCols); });
    const float* const weights = weighted_ ? weights_.data() : nullptr;
    if (needs_.gram) {
      AddGram(pool, rows_.data(), n_gathered_, n_cols, weights,
              stats_.gram.data());
    }
    if (needs_.cross) {
      AddCross(pool, drifts_.data(), n_cols, rows_.data(), n_cols, n_gathered_,
               weights, stats_.cross.data());
    }
    if (residual_cols_ > 0) {
      AddCross(pool, residuals_.data(), residual_cols_, rows_.data(), n_cols,
               n_gathered_, weights, stats_.residual.data());
    }
    for (int64_t r = 0; r < n_gathered_; ++r) {
      stats_.weight +=
          weighted_ ? static_cast<double>(weights_[static_cast<size_t>(r)]) : 1;
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
      AddRows(rows_.data() + first, n_cols, 0, n_gathered_, &sums);
    } else {
      float row[kTaskCols] = {};
      for (int64_t r = 0; r < n_gathered_; ++r) {
        std::copy_n(rows_.data() + r * n_cols + first, n, row);
        AddRows(row, kTaskCols, r, 1, &sums);
      }
    }
    std::copy_n(sums.squares, n, stats_.sum_sq.data() + first);
    std::copy_n(sums.magnitudes, n, stats_.sum_abs.data() + first);
    std::copy_n(sums.most, n, most_.data() + first);
    std::copy_n(sums.least, n, least_.data() + first);
  }

  // `rows` are those gathered from `first` on.
  void AddRows(const float* rows, int64_t stride, int64_t first, int64_t n,
               ColumnSums* sums) const {
    if (weighted_) {
      AddWeightedColumns(rows, stride, n, weights_.data() + first, sums);
    } else {
      AddColumns(rows, stride, n, sums);
    }
  }

  const StatsNeeds needs_;
  const int64_t residual_cols_;
  const bool weighted_;
  const int64_t max_gathered_;
  LayerStats stats_;
  std::shared_ptr<HeldOutRows> held_out_;
  std::vector<float> most_, least_;  // of each column
  // n_gathered_ rows, and room for more.
  std::vector<float> rows_, drifts_, residuals_, weights_;
  int64_t n_gathered_ = 0;
};

StatsCollector::StatsCollector(const Checkpoint* model, ThreadPool* pool,
                               const ObserveRequest& request,
                               double expert_rows_per_column)
    : model_(model),
      pool_(pool),
      needs_(request.needs),
      names_(request.layers.begin(), request.layers.end()),
      weights_(request.weights),
      expert_rows_per_column_(expert_rows_per_column) {}

StatsCollector::~StatsCollector() = default;

void StatsCollector::BeginGroup(int64_t first_sample, int64_t sample_tokens,
                                const TokenUse* uses,
                                const InputRecorder* original) {
  first_sample_ = first_sample;
  sample_tokens_ = sample_tokens;
  uses_ = uses;
  original_ = original;
  same_.Forget();
}

// The input that the rows belong to; nullptr if they are in its sums already.
absl::StatusOr<StatsCollector::Input*> StatsCollector::Enter(
    const LayerInput& input) {
  const std::string name(input.name);
  const bool same = same_.AsBefore(input);
  auto found = index_.find(name);
  if (found == index_.end() && same &&
      ShareWeights(name, inputs_[last_].names[0])) {
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
    made.weighted = weights_ != nullptr;
    made.residual_cols =
        needs_.residual && input.residual != nullptr ? input.residual_cols : 0;
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

// What the request says of these rows is put where it belongs.
absl::Status StatsCollector::Gather(const LayerInput& input,
                                    absl::Span<const int64_t> rows,
                                    const RowPlaces& places) {
  const int64_t n_cols = input.n_cols, n_residual = input.residual_cols;
  const TokenLookup weights(weights_, input);
  const bool pairs = places.originals != nullptr || places.drifts != nullptr;
  const int64_t n = static_cast<int64_t>(rows.size());
  const int64_t rows_per_task = std::max<int64_t>(1, kTaskNumbers / n_cols);
  const int64_t n_tasks = (n + rows_per_task - 1) / rows_per_task;
  // Of each task the first row that is not finite, or -1.
  std::vector<int64_t> bad(static_cast<size_t>(n_tasks), -1);
  const auto gather = [&](int64_t i) {
    const int64_t row = rows[static_cast<size_t>(i)];
    const int64_t token = input.token(row);
    const float* const z = input.rows + row * n_cols;
    if (!RowKernelsForCpu().all_finite(z, n_cols)) {
      return false;
    }
    std::copy_n(z, n_cols, places.inputs + i * n_cols);
    if (places.weights != nullptr) {
      places.weights[i] = weights.Of(first_sample_ * sample_tokens_ + token);
    }
    if (pairs) {
      const float* x = original_->Find(input.name, input.expert, token);
      x = x == nullptr ? z : x;
      if (places.originals != nullptr) {
        std::copy_n(x, n_cols, places.originals + i * n_cols);
      }
      for (int64_t j = 0; places.drifts != nullptr && j < n_cols; ++j) {
        places.drifts[i * n_cols + j] = x[j] - z[j];
      }
    }
    if (places.residuals != nullptr) {
      const float* const s = input.residual + row * n_residual;
      const float* const r =
          original_->FindResidual(input.name, input.expert, token);
      for (int64_t j = 0; j < n_residual; ++j) {
        places.residuals[i * n_residual + j] = r == nullptr ? 0 : r[j] - s[j];
      }
    }
    return true;
  };
  pool_->ParallelFor(n_tasks, [&](int64_t task) {
    const int64_t end = std::min(n, (task + 1) * rows_per_task);
    for (int64_t i = task * rows_per_task; i < end; ++i) {
      if (!gather(i)) {
        bad[static_cast<size_t>(task)] = rows[static_cast<size_t>(i)];
        return;
      }
    }
  });
  for (const int64_t row : bad) {
    if (row >= 0) {
      return NotFinite(input, row);
    }
  }
  return absl::OkStatus();
}

// Whether tokens count the same for two layers.
bool StatsCollector::ShareWeights(const std::string& a,
                                  const std::string& b) const {
  if (weights_ == nullptr) {
    return true;
  }
  if (weights_->Find(a) != weights_->Find(b)) {
    return false;
  }
  const CheckpointTensor* tensor = model_->Find(a);
  const bool stacked = tensor != nullptr && tensor->meta.shape.size() == 3;
  const int64_t n_experts = stacked ? tensor->meta.shape[0] : 0;
  for (int e = 0; e < n_experts; ++e) {
    if (weights_->FindExpert(a, e) != weights_->FindExpert(b, e)) {
      return false;
    }
  }
  return true;
}

std::unique_ptr<StatsCollector::Sums> StatsCollector::NewSums(
    const Input& input) const {
  return std::make_unique<Sums>(input.n_cols, input.residual_cols,
                                input.stacked, input.weighted, needs_);
}

absl::Status StatsCollector::OnInput(const LayerInput& input) {
  if (input.n_rows == 0 ||
      (!names_.empty() && names_.count(std::string(input.name)) == 0)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Input* const entered, Enter(input));
  if (entered == nullptr) {
    return absl::OkStatus();
  }
  summed_.clear();
  held_out_.clear();
  for (int64_t r = 0; r < input.n_rows; ++r) {
    const TokenUse use = uses_[input.token(r)];
    if (use != TokenUse::kNone) {
      (use == TokenUse::kSummed ? summed_ : held_out_).push_back(r);
    }
  }
  std::unique_ptr<Sums>& sums =
      entered->sums[static_cast<size_t>(std::max(0, input.expert))];
  if (sums == nullptr) {
    sums = NewSums(*entered);
  }
  for (absl::Span<const int64_t> rest = summed_; !rest.empty();) {
    const int64_t n = std::min(sums->room(), static_cast<int64_t>(rest.size()));
    RETURN_IF_ERROR(
        Gather(input, rest.first(static_cast<size_t>(n)), sums->MakeRoom(n)));
    sums->Added(n, pool_);
    rest.remove_prefix(static_cast<size_t>(n));
  }
  return held_out_.empty() ? absl::OkStatus()
                           : Gather(input, held_out_,
                                    sums->MakeHeldOutRoom(static_cast<int64_t>(
                                        held_out_.size())));
}

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
  all->weight += part.weight;
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
      sums = NewSums(*input);
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
