#include "converter/solvers/couple_outputs.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "converter/solvers/matrix_rows.h"
#include "kernels/feedback/couple_rows.h"
#include "kernels/feedback/feedback.h"
#include "kernels/grid/feedback.h"
#include "kernels/grid/grid_format.h"

namespace narrow {
namespace {

// Some rows of a grid, solved as the coupling's solver does it.
class CoupledGrid final : public StoredRows {
 public:
  CoupledGrid(const OutputCoupling* coupling, GridRows rows)
      : c_(*coupling), options_(*c_.problem->options), rows_(std::move(rows)) {}

  std::unique_ptr<StoredRows> Take(
      absl::Span<const int64_t> rows) const override {
    GridRows taken(rows_.spec, static_cast<int64_t>(rows.size()), rows_.n_cols);
    for (size_t i = 0; i < rows.size(); ++i) {
      CopyRow(rows_, rows[i], static_cast<int64_t>(i), &taken);
    }
    return std::make_unique<CoupledGrid>(&c_, std::move(taken));
  }
  void Put(absl::Span<const int64_t> rows, const StoredRows& from) override {
    const GridRows& other = static_cast<const CoupledGrid&>(from).rows_;
    for (size_t i = 0; i < rows.size(); ++i) {
      CopyRow(other, static_cast<int64_t>(i), rows[i], &rows_);
    }
  }
  void Decode(float* values) const override {
    for (int64_t row = 0; row < rows_.n_rows; ++row) {
      rows_.Decode(row, values + row * rows_.n_cols);
    }
  }
  void Solve(const float* targets) override {
    GridRows fed = rows_;
    c_.feed(targets, &fed);
    const std::vector<RowError> was = Measure(targets, &rows_);
    const std::vector<RowError> is = Measure(targets, &fed);
    for (size_t row = 0; row < is.size(); ++row) {
      if (is[row].gram < was[row].gram) {
        const int64_t at = static_cast<int64_t>(row);
        CopyRow(fed, at, at, &rows_);
      }
    }
    DescendOptions descend;
    descend.rounds = options_.rounds;
    descend.refit = options_.refit;
    descend.sweep = options_.sweep;
    Descend(targets, descend);
  }
  void Descend(const float* targets, const DescendOptions& options) override {
    DescendOptions own = options;
    own.refit = own.refit && !c_.keep_scales;
    if (own.rounds > 0 && (own.refit || own.sweep)) {
      narrow::Descend(targets, c_.gram, own, &rows_, c_.problem->pool);
    }
  }

  GridRows TakeRows() { return std::move(rows_); }

 private:
  std::vector<RowError> Measure(const float* targets, GridRows* rows) const {
    return MeasureErrors(GridFormat(options_.fit, rows), targets, rows->n_rows,
                         c_.gram, c_.problem->pool);
  }

  const OutputCoupling& c_;
  const SolverOptions& options_;
  GridRows rows_;
};

}  // namespace

bool CoupleOutputs(const OutputCoupling& coupling, GridRows* rows,
                   std::vector<std::string>* notes) {
  const SolverProblem& problem = *coupling.problem;
  if (problem.output_moments == nullptr) {
    return false;
  }
  if (!CanCouple(problem.output_moments, problem.n_rows)) {
    notes->push_back("the outputs' moments hold no numbers");
    return false;
  }
  CoupleProblem couple;
  couple.targets = coupling.targets;
  couple.n_rows = problem.n_rows;
  couple.n_cols = rows->n_cols;
  couple.gram = coupling.gram;
  couple.moments = problem.output_moments;
  couple.refit = problem.options->refit;
  couple.sweep = problem.options->sweep;
  couple.pool = problem.pool;
  couple.device = problem.device;
  CoupledGrid coupled(&coupling, std::move(*rows));
  const CoupleResult result = CoupleRows(couple, &coupled);
  *rows = coupled.TakeRows();
  notes->push_back(
      absl::StrCat("coupled outputs: ", result.fed ? "" : "feedback rejected, ",
                   result.n_kept, " of ", result.n_batches,
                   " batches kept, the form fell to ",
                   result.before > 0 ? result.after / result.before : 1.0,
                   " of what rows by themselves have"));
  if (!result.note.empty()) {
    notes->push_back(result.note);
  }
  return result.fed || result.n_kept > 0;
}

}  // namespace narrow
