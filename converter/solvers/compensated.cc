// Compensated: any scheme whose rows can make up for their own errors, solved
// under the Gram matrix of the inputs; never worse than the scheme's own
// solver.
//
// The idea is that of kernels/feedback (feed.cc, descend.cc), the core that
// GGUF's types (converter/compensated) and gptq run on: errors are fed from
// column to column, scales refitted, codes improved. What a scheme's own
// solver makes of a matrix (PlainSolver below) is where this begins:
//   1. The plain matrix; its error under the Gram matrix is the baseline.
//   2. Targets: the weights, moved to cancel the drift of inputs (drift.h).
//   3. Two attempts. Scales fitted to the targets, columns fed in descending
//      order of their mean squares, as gptq has it; and scales fitted to what
//      the columns have become when a group's first one comes, in natural
//      order, each group improved before its errors are fed on.
//   4. In each, rows where the plain matrix is better begin with it; then
//      `rounds` of refits and descent.
//   5. Row by row the best of the three, as measured on what the file will
//      hold: under the damped matrix, and no worse without damping.
//
// Scales that cannot follow a row stay the plain solver's, and only codes are
// found: those that rows share (tensors, 128 x 128 blocks), flat blocks that
// run across the ends of rows (cut into pieces that lie in one row each), and
// nested ones, which are rounded together for the whole matrix. Of nested
// scales those are taken, too, that the matrix would have had without nesting,
// if all rows together are better for it.
//
// Where second moments of the outputs' gradients are known, rows are then
// solved anew to make up for each other's errors (couple_outputs.h): one form
// of all rows falls, and a row's own error may rise.
//
// Measured: docs/measurements.md, packings through one core.
//
// Tested by solver_test.cc and compensated_test.cc.

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "converter/solvers/couple_outputs.h"
#include "converter/solvers/grid_problem.h"
#include "converter/solvers/matrix_rows.h"
#include "converter/solvers/metric/gram_metric.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"
#include "formats/packing/bitsandbytes/nested_scales.h"
#include "kernels/grid/feedback.h"
#include "kernels/grid/grid.h"
#include "kernels/grid/grid_format.h"

namespace narrow {
namespace {

// Rounds within a group before its errors are fed on.
constexpr int kGroupRounds = 2;

StatsNeeds Needs(const SolverOptions& options) {
  StatsNeeds needs;
  needs.columns = true;
  needs.gram = true;
  needs.cross = options.drift != 0;
  needs.residual = options.drift != 0 && options.residual != 0;
  return needs;
}

// What makes the scheme's codes without a Gram matrix.
const Solver& PlainSolver(const WeightScheme& scheme) {
  switch (scheme.code) {
    case CodeKind::kE2M1:
      return kFp4Solver;
    case CodeKind::kE4M3:
      return kFp8Solver;
    case CodeKind::kNf4:
    case CodeKind::kFp4:
      return kCodebookSolver;
    case CodeKind::kInteger:
      break;
  }
  const bool is_bytes = kInt8Solver.supports(scheme, {}).ok();
  return is_bytes                          ? kInt8Solver
         : scheme.zero == ZeroKind::kFloat ? kHqqSolver
                                           : kRtnSolver;
}

absl::Status Supports(const WeightScheme& scheme,
                      const SolverOptions& options) {
  if (scheme.column_groups) {
    return absl::UnimplementedError(
        absl::StrCat("compensated of ", SchemeName(scheme),
                     ": groups in another order than the columns'; the solver "
                     "gptq has them"));
  }
  if (scheme.flat && scheme.block_cols == 0) {
    return absl::UnimplementedError("one block of a whole tensor, flat");
  }
  if (!(options.damping >= 0) || !(options.damping_step > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("damping ", options.damping, " and its step ",
                     options.damping_step, " must be 0 or more, and above 0"));
  }
  return PlainSolver(scheme).supports(scheme, options);
}

// A matrix on its way.
class Solve {
 public:
  Solve(const SolverProblem& problem, const QuantizedMatrix& plain,
        std::vector<float> targets, GramMetric metric, SolverReport* report)
      : p_(problem),
        plain_(plain),
        targets_(std::move(targets)),
        metric_(std::move(metric)),
        report_(*report) {}

  absl::StatusOr<QuantizedMatrix> Run() {
    if (!OwnScales(p_) || plain_.scheme.nested_scales) {
      return RunUnderScales();
    }
    ASSIGN_OR_RETURN(GridRows rows, Improve(p_, plain_, false));
    RETURN_IF_ERROR(Couple(p_, false, &rows));
    return TakeRows(rows, plain_);
  }

  // Rows that are the plain matrix's still.
  int64_t n_plain() const { return n_plain_; }

 private:
  std::vector<RowError> ErrorsOf(GridRows* rows) const {
    return MeasureErrors(GridFormat(p_.options->fit, rows), targets_.data(),
                         p_.n_rows, gram_.data(), p_.pool);
  }
  // Without what damping adds.
  double Undamped(const RowError& error) const {
    return std::max(error.gram - metric_.damping * error.square, 0.0);
  }
  double Total(const std::vector<RowError>& errors) const {
    double sum = 0;
    for (const RowError& error : errors) {
      sum += Undamped(error);
    }
    return sum;
  }

  // The factor that the two kinds of feedback need.
  absl::StatusOr<GramFactor> DescendingFactor(SolverReport* report) {
    return FactorGram(p_, Descending(GramDiagonal(p_)), &metric_, report);
  }
  absl::StatusOr<GramFactor> NaturalFactor(SolverReport* report) {
    return FactorGram(p_, {}, &metric_, report);
  }

  // Codes by feedback in descending order, of scales that are there or found
  // first.
  void FeedInDescendingOrder(const SolverProblem& problem,
                             const GramFactor& factor, const float* targets,
                             bool keep_scales, GridRows* rows) const {
    if (!keep_scales) {
      const std::vector<float> weights = factor.PivotsByColumn();
      FitScales(problem, targets,
                p_.options->weighted_fit ? weights.data() : nullptr, rows);
    }
    FeedbackOptions options;
    options.fit_on_entry = false;
    Feedback(targets, factor.view(), options, rows, p_.pool);
  }

  void FeedGroupByGroup(const GramFactor& factor, const float* targets,
                        GridRows* rows) const {
    FeedbackOptions options;
    options.weight_by_pivots = p_.options->weighted_fit;
    options.fit = p_.options->fit;
    options.block_rounds = p_.options->rounds > 0 ? kGroupRounds : 0;
    options.block_refit = p_.options->refit;
    options.block_sweep = p_.options->sweep;
    Feedback(targets, factor.view(), options, rows, p_.pool);
  }

  // Where the outputs' moments are known: rows that make up for each other.
  absl::Status Couple(const SolverProblem& problem, bool keep_scales,
                      GridRows* rows) {
    if (p_.output_moments == nullptr) {
      return absl::OkStatus();
    }
    const bool by_groups = !keep_scales && rows->n_groups > 1;
    SolverReport noted;  // as the attempts noted it
    ASSIGN_OR_RETURN(const GramFactor factor, by_groups
                                                  ? NaturalFactor(&noted)
                                                  : DescendingFactor(&noted));
    OutputCoupling coupling;
    coupling.problem = &problem;
    coupling.targets = targets_.data();
    coupling.gram = gram_.data();
    coupling.keep_scales = keep_scales;
    coupling.feed = [&](const float* targets, GridRows* some) {
      if (by_groups) {
        FeedGroupByGroup(factor, targets, some);
      } else {
        FeedInDescendingOrder(problem, factor, targets, keep_scales, some);
      }
    };
    if (CoupleOutputs(coupling, rows, &report_.notes)) {
      n_plain_ = 0;
      report_.relative_error = Ratio(Total(ErrorsOf(rows)), Energy());
    }
    return absl::OkStatus();
  }

  void DescendFrom(GridRows* rows, bool keep_scales) const {
    DescendOptions options;
    options.rounds = p_.options->rounds;
    options.refit = p_.options->refit && !keep_scales;
    options.sweep = p_.options->sweep;
    if (options.rounds > 0 && (options.refit || options.sweep)) {
      Descend(targets_.data(), gram_.data(), options, rows, p_.pool);
    }
  }

  // The best of the attempts, row by row; `fixed`: under the scales of
  // `start`.
  absl::StatusOr<GridRows> Improve(const SolverProblem& problem,
                                   const QuantizedMatrix& start, bool fixed) {
    ASSIGN_OR_RETURN(const GridRows plain, MakeRows(problem, start));
    const bool keep_scales = fixed || !OwnScales(problem);
    std::vector<GridRows> attempts;
    if (!keep_scales && plain.n_groups > 1) {
      ASSIGN_OR_RETURN(const GramFactor factor, NaturalFactor(&report_));
      attempts.push_back(plain);
      FeedGroupByGroup(factor, targets_.data(), &attempts.back());
    }
    {
      ASSIGN_OR_RETURN(const GramFactor factor, DescendingFactor(&report_));
      attempts.push_back(plain);
      FeedInDescendingOrder(problem, factor, targets_.data(), keep_scales,
                            &attempts.back());
    }
    gram_ = ScaledGram(p_, metric_);
    GridRows best = plain;
    std::vector<RowError> least = ErrorsOf(&best);
    const std::vector<RowError> baseline = least;
    for (GridRows& attempt : attempts) {
      TakeBetterRows(plain, baseline, ErrorsOf(&attempt), &attempt);
      DescendFrom(&attempt, keep_scales);
      const std::vector<RowError> errors = ErrorsOf(&attempt);
      for (size_t row = 0; row < errors.size(); ++row) {
        if (errors[row].gram < least[row].gram &&
            Undamped(errors[row]) <= Undamped(baseline[row])) {
          const int64_t at = static_cast<int64_t>(row);
          CopyRow(attempt, at, at, &best);
          least[row] = errors[row];
        }
      }
    }
    Report(baseline, least);
    return best;
  }

  // Rows of `other` in the place of worse ones.
  static void TakeBetterRows(const GridRows& other,
                             const std::vector<RowError>& others,
                             const std::vector<RowError>& errors,
                             GridRows* rows) {
    for (size_t row = 0; row < errors.size(); ++row) {
      if (others[row].gram < errors[row].gram) {
        const int64_t at = static_cast<int64_t>(row);
        CopyRow(other, at, at, rows);
      }
    }
  }

  // Codes under scales of the whole matrix: the plain ones, or others if all
  // rows together are better for them.
  absl::StatusOr<QuantizedMatrix> RunUnderScales() {
    SolverProblem problem = p_;
    problem.scheme.nested_scales = false;
    ASSIGN_OR_RETURN(const std::optional<QuantizedMatrix> other,
                     OtherStart(problem));
    ASSIGN_OR_RETURN(const GridRows rows,
                     Improve(problem, AsStored(plain_), true));
    QuantizedMatrix solved = plain_;
    solved.codes = rows.codes;
    if (!other.has_value()) {
      return CoupledUnderScales(problem, std::move(solved));
    }
    const SolverReport kept = report_;
    const double least = total_;
    const int64_t n_plain = n_plain_;
    ASSIGN_OR_RETURN(const GridRows others,
                     Improve(problem, AsStored(*other), true));
    if (total_ < least) {
      solved.codes = others.codes;
      solved.scales = other->scales;
      solved.zeros = other->zeros;
      report_.relative_error_before = kept.relative_error_before;
      n_plain_ = 0;
    } else {
      report_ = kept;
      n_plain_ = n_plain;
    }
    return CoupledUnderScales(problem, std::move(solved));
  }

  absl::StatusOr<QuantizedMatrix> CoupledUnderScales(
      const SolverProblem& problem, QuantizedMatrix solved) {
    ASSIGN_OR_RETURN(GridRows rows, MakeRows(problem, AsStored(solved)));
    RETURN_IF_ERROR(Couple(problem, true, &rows));
    solved.codes = std::move(rows.codes);
    return solved;
  }

  // Of nested scales what the matrix would have without nesting; of others
  // what its solver gives the targets, where those are not the weights.
  absl::StatusOr<std::optional<QuantizedMatrix>> OtherStart(
      const SolverProblem& problem) {
    if (OwnScales(problem)) {
      ASSIGN_OR_RETURN(const GridRows rows, Improve(problem, plain_, false));
      return std::optional<QuantizedMatrix>(TakeRows(rows, plain_));
    }
    if (p_.options->drift == 0) {
      return std::optional<QuantizedMatrix>();
    }
    SolverProblem of_targets = problem;
    of_targets.weights = targets_.data();
    of_targets.global_scale = plain_.global_scale;
    ASSIGN_OR_RETURN(SolvedMatrix solved,
                     PlainSolver(problem.scheme).solve(of_targets));
    return std::optional<QuantizedMatrix>(std::move(solved.matrix));
  }

  // With the scales that a client computes with.
  static QuantizedMatrix AsStored(QuantizedMatrix matrix) {
    if (matrix.scheme.nested_scales) {
      matrix.scales = UnnestScales(NestScales(matrix.scales), DynamicMap());
    }
    return matrix;
  }

  double Energy() const {
    const std::vector<float> zeros(targets_.size(), 0.0f);
    return GramError(targets_.data(), zeros.data(), p_.n_rows, p_.n_cols,
                     gram_.data(), p_.pool);
  }

  void Report(const std::vector<RowError>& baseline,
              const std::vector<RowError>& errors) {
    n_plain_ = 0;
    for (size_t row = 0; row < errors.size(); ++row) {
      n_plain_ += errors[row].gram == baseline[row].gram;
    }
    total_ = Total(errors);
    const double energy = Energy();
    report_.relative_error_before = Ratio(Total(baseline), energy);
    report_.relative_error = Ratio(total_, energy);
    report_.damping = metric_.damping;
  }

  const SolverProblem& p_;
  const QuantizedMatrix& plain_;
  const std::vector<float> targets_;
  GramMetric metric_;
  SolverReport& report_;
  std::vector<float> gram_;
  double total_ = 0;     // error of the last attempt's best rows
  int64_t n_plain_ = 0;  // of them the plain matrix's
};

absl::StatusOr<SolvedMatrix> SolveMatrix(const SolverProblem& problem) {
  RETURN_IF_ERROR(CheckWeights(problem));
  RETURN_IF_ERROR(CheckGram(problem.name, problem.n_cols, problem.stats));
  ASSIGN_OR_RETURN(SolvedMatrix plain,
                   PlainSolver(problem.scheme).solve(problem));
  GramMetric metric = MakeGramMetric(problem, Numbers(problem.n_cols));
  NoteOddStatistics(problem, metric, &plain.report.notes);
  std::vector<float> targets(problem.weights,
                             problem.weights + problem.n_rows * problem.n_cols);
  if (problem.options->drift != 0) {
    RETURN_IF_ERROR(CorrectTargets(problem, &targets, &plain.report));
  }
  if (metric.empty || problem.n_rows == 0) {
    return plain;
  }
  SolvedMatrix solved;
  solved.report = std::move(plain.report);
  Solve solve(problem, plain.matrix, std::move(targets), std::move(metric),
              &solved.report);
  ASSIGN_OR_RETURN(solved.matrix, solve.Run());
  if (solve.n_plain() > 0) {
    solved.report.notes.push_back(absl::StrCat(
        solve.n_plain(), " of ", problem.n_rows, " rows keep what ",
        PlainSolver(problem.scheme).name, " made, which is no worse"));
  }
  return solved;
}

}  // namespace

extern const Solver kCompensatedSolver;
const Solver kCompensatedSolver = {
    "compensated", "error feedback and descent, never worse than plain",
    Needs,         Supports,
    SolveMatrix,   nullptr,
    true,
};

}  // namespace narrow
