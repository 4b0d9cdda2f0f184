// Tested by: importance_collector_test, against plain sums of the same rows.

#include "calibration/importance/importance_collector.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

// Columns a task: whole cache lines and vectors, enough tasks for any number
// of threads on the widths there are.
constexpr int64_t kTaskCols = 128;
// Below so many numbers, waking threads costs more than adding.
constexpr int64_t kSerialNumbers = int64_t{1} << 15;

}  // namespace

void ImportanceCollector::Add(const float* rows, int64_t n_rows, double* sum,
                              double* sum_sq, int64_t n_cols) {
  const RowKernels& kernels = RowKernelsForCpu();
  if (n_rows * n_cols < kSerialNumbers) {
    kernels.add_columns(rows, n_cols, n_rows, n_cols, sum, sum_sq);
    return;
  }
  const int64_t n_tasks = (n_cols + kTaskCols - 1) / kTaskCols;
  pool_->ParallelFor(n_tasks, [&](int64_t task) {
    const int64_t first = task * kTaskCols;
    kernels.add_columns(rows + first, n_cols, n_rows,
                        std::min(kTaskCols, n_cols - first), sum + first,
                        sum_sq + first);
  });
}

absl::StatusOr<size_t> ImportanceCollector::IndexOf(absl::string_view name,
                                                    bool same_rows) {
  const std::string key(name);
  const auto found = index_.find(key);
  if (found != index_.end()) {
    return found->second;
  }
  if (same_rows) {
    // From its first rows on it sees what the tensor before it sees.
    const int64_t n_rows_before =
        shared_[seen_.index]
            .sums.counts[static_cast<size_t>(std::max(0, seen_.expert))] -
        seen_.n_rows;
    if (n_rows_before == 0) {
      shared_[seen_.index].names.push_back(key);
      index_[key] = seen_.index;
      return seen_.index;
    }
  }
  const CheckpointTensor* tensor = model_->Find(name);
  if (tensor == nullptr) {
    return absl::InternalError(
        absl::StrCat("rows for a tensor that is not there: ", name));
  }
  SharedSums shared;
  shared.names.push_back(key);
  ImportanceSums& sums = shared.sums;
  sums.n_matrices =
      tensor->meta.shape.size() == 3 ? tensor->meta.shape.front() : 1;
  sums.n_cols = tensor->meta.n_cols();
  sums.sum.resize(static_cast<size_t>(sums.n_matrices * sums.n_cols));
  sums.sum_sq.resize(sums.sum.size());
  sums.counts.resize(static_cast<size_t>(sums.n_matrices));
  index_[key] = shared_.size();
  shared_.push_back(std::move(shared));
  return shared_.size() - 1;
}

absl::Status ImportanceCollector::CheckShape(const SharedSums& shared,
                                             absl::string_view name,
                                             int64_t matrix,
                                             int64_t n_cols) const {
  if (matrix < shared.sums.n_matrices && n_cols == shared.sums.n_cols) {
    return absl::OkStatus();
  }
  return absl::InternalError(
      absl::StrCat("rows of ", n_cols, " numbers for matrix ", matrix, " of ",
                   name, ", which has ", shared.sums.n_matrices, " of ",
                   shared.sums.n_cols, " columns"));
}

absl::StatusOr<ImportanceSums*> ImportanceCollector::Place(
    const LayerInput& input) {
  const absl::string_view name = input.name;
  const bool same_rows =
      input.rows == seen_.rows && input.n_rows == seen_.n_rows &&
      input.n_cols == seen_.n_cols && input.expert == seen_.expert;
  ASSIGN_OR_RETURN(const size_t index, IndexOf(name, same_rows));
  SharedSums& shared = shared_[index];
  RETURN_IF_ERROR(
      CheckShape(shared, name, std::max(0, input.expert), input.n_cols));
  if (same_rows && index == seen_.index && name != shared.names[0]) {
    return nullptr;  // they are in the sums already
  }
  if (name != shared.names[0]) {
    return absl::InternalError(
        absl::StrCat(name, " no longer sees the rows of ", shared.names[0]));
  }
  seen_ = {input.rows, input.n_rows, input.n_cols, input.expert, index};
  return &shared.sums;
}

absl::Status ImportanceCollector::OnInput(const LayerInput& input) {
  ASSIGN_OR_RETURN(ImportanceSums* const sums, Place(input));
  if (sums == nullptr) {
    return absl::OkStatus();
  }
  const int64_t first = std::max(0, input.expert) * input.n_cols;
  Add(input.rows, input.n_rows, sums->sum.data() + first,
      sums->sum_sq.data() + first, input.n_cols);
  return Count(input, input.rows);
}

absl::StatusOr<ColumnSums> ImportanceCollector::SumsOf(
    const LayerInput& input) {
  ASSIGN_OR_RETURN(ImportanceSums* const sums, Place(input));
  ColumnSums columns;
  if (sums == nullptr) {
    columns.have_them = true;
    return columns;
  }
  const int64_t first = std::max(0, input.expert) * input.n_cols;
  columns.sums = sums->sum.data() + first;
  columns.squares = sums->sum_sq.data() + first;
  return columns;
}

absl::Status ImportanceCollector::OnSums(const LayerInput& input) {
  return Count(input, nullptr);
}

absl::Status ImportanceCollector::Count(const LayerInput& input,
                                        const float* host_rows) {
  ImportanceSums& sums = shared_[seen_.index].sums;
  const int64_t matrix = std::max(0, input.expert);
  int64_t& count = sums.counts[static_cast<size_t>(matrix)];
  const int64_t n_before = count;
  count += input.n_rows;
  // Squares of floats do not overflow a double: the sums are finite if and
  // only if all rows were.
  const double* const sum_sq = sums.sum_sq.data() + matrix * input.n_cols;
  if (std::all_of(sum_sq, sum_sq + input.n_cols,
                  [](double v) { return std::isfinite(v); })) {
    return absl::OkStatus();
  }
  if (input.expert >= 0) {
    if (bad_expert_input_.empty()) {
      bad_expert_input_ =
          absl::StrCat("the input of ", input.name, ", expert ", input.expert);
    }
    return absl::OkStatus();
  }
  if (host_rows != nullptr) {
    return NotFiniteAt(input.name, host_rows, input.n_rows, input.n_cols,
                       n_before);
  }
  return absl::DataLossError(
      absl::StrCat("the input of ", input.name, " is not finite, in windows ",
                   first_window_ + n_before / window_tokens_, " to ",
                   first_window_ + (count - 1) / window_tokens_, "; reading ",
                   model_->path()));
}

absl::Status ImportanceCollector::NotFiniteAt(absl::string_view name,
                                              const float* rows, int64_t n_rows,
                                              int64_t n_cols,
                                              int64_t n_before) const {
  const float* const end = rows + n_rows * n_cols;
  const float* const bad =
      std::find_if(rows, end, [](float v) { return !std::isfinite(v); });
  const int64_t row = n_before + (bad - rows) / n_cols;
  return absl::DataLossError(absl::StrCat(
      "the input of ", name, " is not finite, first at window ",
      first_window_ + row / window_tokens_, ", token ", row % window_tokens_,
      ", column ", (bad - rows) % n_cols, "; reading ", model_->path()));
}

void ImportanceCollector::Restore(std::vector<SharedSums> shared) {
  shared_ = std::move(shared);
  index_.clear();
  seen_ = {};
  for (size_t i = 0; i < shared_.size(); ++i) {
    for (const std::string& name : shared_[i].names) {
      index_[name] = i;
    }
  }
}

ImportanceCollection ImportanceCollector::Collection() const {
  ImportanceCollection collection;
  collection.chunk_size = window_tokens_;
  for (const SharedSums& shared : shared_) {
    for (const std::string& name : shared.names) {
      collection.entries[name] = shared.sums;
    }
  }
  return collection;
}

}  // namespace narrow
