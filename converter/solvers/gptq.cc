// GPTQ: columns are rounded one after the other, and each later column makes
// up for the errors of those before it.
//
// The idea. With inputs x of mean square H = X^T X (the Gram matrix), a row
// of weights w rounded to q changes the output by (w - q) H (w - q)^T. Let
// H = M D M^T with M unit upper triangular. Then
//
//   (w - q) H (w - q)^T = sum_j D_j (t_j - q_j)^2,
//   t_j = w_j + sum_{k < j} (w_k - q_k) M[k, j],
//
// so rounding t_j to its nearest code, j rising, minimises each term given
// those before it. Example, two inputs that are always equal, w = (0.4, 0.4)
// on whole numbers: q_1 = 0, t_2 = 0.8, q_2 = 1; the output is off by 0.2 x,
// where rounding alone is off by 0.8 x. With inputs that have nothing to do
// with each other M is the identity and this is rounding alone: the
// counterexample, and a test.
//
// Sources. Frantar, Ashkboos, Hoefler, Alistarh: "GPTQ" (2023), section 3,
// for the method; Chee, Cai, Kuleshov, De Sa: "QuIP" (2023), section 3.1,
// where it is called LDLQ and shown to be the best of all methods that feed
// errors back linearly. The form above is theirs: it needs no inverse of H,
// as GPTQ's has, and gives the same numbers. Corrected targets: Li et al.,
// "GPTAQ" (arXiv 2504.02692), and Zhang et al., "Qronos" (arXiv 2505.11695).
//
// What is done besides, each behind an option of its own:
//   - Scales are searched by squared error, on legal stored values, so that
//     feedback sees what a file holds; with weighted_fit a column counts D_j,
//     what its error costs once later columns have made up for it. Peers take
//     the largest weight, and round scales afterwards.
//   - Afterwards scales are refitted and codes are swept under all of H,
//     `rounds` times (kernels/feedback, Descend). Nothing gets worse.
//   - Columns of large mean square first (order), under scales fixed before
//     (static_groups): any order then, and columns keep their places on disk.
//   - drift: where the inputs z come from a model quantized so far, and x
//     from the original one, the output to aim at is W x, not W z. The best
//     weights for it are W + W K (H + lambda)^-1, K = sum (x - z) z^T. It is
//     a regression on the calibration text, so it can fit its noise: lambda
//     is drift_damping times the mean of H's diagonal, `drift` shrinks it, and
//     drift.h says what else keeps it sound.
//   - Where second moments of the outputs' gradients are known, rows are then
//     solved anew to make up for each other's errors (couple_outputs.h).
//
// When things go wrong: gram_metric.h. Columns without input are rounded to
// the nearest; so are all if no input was ever seen, and the report says that.
// A Gram matrix that holds no numbers is DataLoss.
//
// Measured: Gemma 3 270M, blocks 2, 9 and 16, Gram matrices of 65536 tokens of
// one text; relative output error on another text, geometric mean, x 1000:
//
//                                        4 bits   3 bits   2 bits
//                                        g128     g64      g32
//   round to nearest, largest weight       8.99    34.6    134.6
//   the same, searched, weighted           5.09    16.1     55.7
//   GPTQModel's defaults (groups)          2.39     9.3     43.4
//   llm-compressor's (descending, static)  2.21     8.5     38.4
//   searched, weighted by the diagonal     2.05     7.0     26.3
//   weighted by the pivots                 1.86     6.5     26.2
//   + refits                               1.85     6.4     24.8
//   + sweeps alone                         1.81     6.2     23.8
//   + both, 3 rounds (8: 1.78, 6.1, 22.4)  1.79     6.1     22.8
//   + signed scales                        1.64     5.3     17.9
//   + damping 0.03 for 0.01: the defaults  1.63     5.2     17.6
//   groups fitted on entering instead      1.64     5.2     17.2
//
// Tried and left out: feedback in four column orders (descending, ascending,
// natural, shuffled) from the scales found, three rounds after each, best row
// kept: 0.4 % less at 4 and 3 bits, 1.2 % at 2, for 2.9 times the time.
//
// Memory beyond weights and statistics, n columns: 8 n^2 bytes (the factor in
// double), then 4 n^2 (in float32, in half of that memory; after it the Gram
// matrix in float32); and a few panels of 64 rows for each thread.
//
// Tested by solver_test.cc (properties over schemes), solver_digests_test.sh
// (instruction sets), kernels/grid/feedback_test.cc.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "converter/solvers/couple_outputs.h"
#include "converter/solvers/device/device_gptq.h"
#include "converter/solvers/grid_problem.h"
#include "converter/solvers/metric/gram_metric.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"
#include "kernels/grid/feedback.h"
#include "kernels/grid/grid.h"

namespace narrow {
namespace {

using ColumnOrder = SolverOptions::ColumnOrder;

StatsNeeds Needs(const SolverOptions& options) {
  StatsNeeds needs;
  needs.columns = true;
  needs.gram = true;
  needs.cross = options.drift != 0;
  needs.residual = options.drift != 0 && options.residual != 0;
  return needs;
}

absl::Status Supports(const WeightScheme& scheme,
                      const SolverOptions& options) {
  RETURN_IF_ERROR(CheckGridScheme(scheme));
  if (scheme.flat) {
    return absl::UnimplementedError(
        absl::StrCat("gptq of ", SchemeName(scheme),
                     ": blocks that run across the ends of rows"));
  }
  const bool dynamic = options.order == ColumnOrder::kDescendingDynamic;
  if (dynamic && !scheme.column_groups) {
    return absl::InvalidArgumentError(
        absl::StrCat("gptq: groups of columns in descending order need a "
                     "packing that names each column's group; ",
                     SchemeName(scheme), " has none"));
  }
  if (!(options.damping >= 0) || !(options.damping_step > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("gptq: damping ", options.damping, " and its step ",
                     options.damping_step, " must be 0 or more, and above 0"));
  }
  return absl::OkStatus();
}

// Groups by the sum of their diagonal, columns within them by their own.
std::vector<int32_t> DescendingGroups(const std::vector<double>& diagonal,
                                      const GridRows& rows) {
  std::vector<double> sums(static_cast<size_t>(rows.n_groups), 0.0);
  for (size_t j = 0; j < diagonal.size(); ++j) {
    sums[static_cast<size_t>(rows.GroupOf(static_cast<int64_t>(j)))] +=
        diagonal[j];
  }
  std::vector<size_t> rank(sums.size());
  const std::vector<int32_t> groups = Descending(sums);
  for (size_t i = 0; i < groups.size(); ++i) {
    rank[static_cast<size_t>(groups[i])] = i;
  }
  std::vector<int32_t> order = Descending(diagonal);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return rank[static_cast<size_t>(rows.GroupOf(a))] <
           rank[static_cast<size_t>(rows.GroupOf(b))];
  });
  return order;
}

// Columns of [n_rows, n] in another order: to[:, i] = from[:, order[i]].
template <typename T>
std::vector<T> Permuted(const T* from, int64_t n_rows,
                        const std::vector<int32_t>& order) {
  const size_t n = order.size();
  std::vector<T> to(static_cast<size_t>(n_rows) * n);
  for (size_t row = 0; row < static_cast<size_t>(n_rows); ++row) {
    for (size_t i = 0; i < n; ++i) {
      to[row * n + i] = from[row * n + static_cast<size_t>(order[i])];
    }
  }
  return to;
}

// One matrix on its way: everything in the order of `metric.layout`.
struct Work {
  const SolverProblem* problem = nullptr;
  GramMetric metric;
  GramFactor factor;
  std::vector<int32_t> order;  // of feedback
  std::vector<float> targets;
};

// Codes by feedback; `rows` gets its scales before or on the way.
void RoundWithFeedback(const Work& work, const float* targets, GridRows* rows) {
  const SolverProblem& problem = *work.problem;
  const SolverOptions& options = *problem.options;
  FeedbackOptions feedback;
  feedback.fit_on_entry =
      !options.static_groups && !SharesScales(problem.scheme);
  feedback.weight_by_pivots = options.weighted_fit;
  feedback.fit = options.fit;
  Feedback(targets, work.factor.view(), feedback, rows, problem.pool);
}

void FitWeighted(const Work& work, const float* targets, GridRows* rows) {
  const std::vector<float> weights = work.factor.PivotsByColumn();
  FitScales(*work.problem, targets,
            work.problem->options->weighted_fit ? weights.data() : nullptr,
            rows);
}

double Energy(const Work& work, const std::vector<float>& gram) {
  const std::vector<float> zeros(work.targets.size(), 0.0f);
  return GramError(work.targets.data(), zeros.data(), work.problem->n_rows,
                   work.metric.n, gram.data(), work.problem->pool);
}

double ErrorOf(const Work& work, const std::vector<float>& gram,
               const GridRows& rows) {
  std::vector<float> values(work.targets.size());
  work.problem->pool->ParallelFor(rows.n_rows, [&](int64_t row) {
    rows.Decode(row, values.data() + row * rows.n_cols);
  });
  return GramError(work.targets.data(), values.data(), rows.n_rows, rows.n_cols,
                   gram.data(), work.problem->pool);
}

// Where the outputs' moments are known: rows that make up for each other.
void Couple(const Work& work, const std::vector<float>& gram, double energy,
            GridRows* rows, SolverReport* report) {
  OutputCoupling coupling;
  coupling.problem = work.problem;
  coupling.targets = work.targets.data();
  coupling.gram = gram.data();
  coupling.keep_scales = SharesScales(work.problem->scheme);
  coupling.feed = [&](const float* targets, GridRows* some) {
    if (!coupling.keep_scales) {
      FitWeighted(work, targets, some);
    }
    RoundWithFeedback(work, targets, some);
  };
  if (CoupleOutputs(coupling, rows, &report->notes)) {
    report->relative_error = Ratio(ErrorOf(work, gram, *rows), energy);
  }
}

// All after the factor: feedback, descent, what it came to.
GridRows SolveWork(Work* work, SolverReport* report) {
  const SolverProblem& problem = *work->problem;
  const SolverOptions& options = *problem.options;
  GridRows rows = MakeGridRows(problem);
  FitWeighted(*work, work->targets.data(), &rows);
  GridRows nearest = rows;
  RoundRows(work->targets.data(), rows.n_cols, &nearest, problem.pool);
  RoundWithFeedback(*work, work->targets.data(), &rows);
  if (problem.output_moments == nullptr) {
    work->factor = GramFactor();  // its memory goes to the Gram matrix
  }
  const std::vector<float> gram = ScaledGram(problem, work->metric);

  const double energy = Energy(*work, gram);
  const double before = ErrorOf(*work, gram, nearest);
  report->relative_error_before = Ratio(before, energy);
  DescendOptions descent;
  descent.rounds = options.rounds;
  descent.refit = options.refit && !SharesScales(problem.scheme);
  descent.sweep = options.sweep;
  const bool descends = descent.rounds > 0 && (descent.refit || descent.sweep);
  const auto improve = [&](GridRows* from) {
    if (!descends) {
      const double error = ErrorOf(*work, gram, *from);
      return DescentResult{error, error};
    }
    return Descend(work->targets.data(), gram.data(), descent, from,
                   problem.pool);
  };
  // What descent begins with is the error of feedback.
  DescentResult result = improve(&rows);
  // On grids that clip hard, compensation can pile up on columns that cannot
  // take it.
  if (result.error_before > before) {
    report->notes.push_back(
        FeedbackIsWorse(result.error_before, before, energy));
    rows = std::move(nearest);
    result = improve(&rows);
  }
  report->relative_error = Ratio(result.error_after, energy);
  Couple(*work, gram, energy, &rows, report);
  return rows;
}

// Back to the columns' own places.
QuantizedMatrix RestoreLayout(const std::vector<int32_t>& layout,
                              QuantizedMatrix matrix) {
  std::vector<int32_t> place(layout.size());
  for (size_t i = 0; i < layout.size(); ++i) {
    place[static_cast<size_t>(layout[i])] = static_cast<int32_t>(i);
  }
  matrix.codes = Permuted(matrix.codes.data(), matrix.n_rows, place);
  matrix.group_of_column = Permuted(matrix.group_of_column.data(), 1, place);
  return matrix;
}

// What is known before anything is solved; `solved` gets notes.
absl::StatusOr<Work> Prepare(const SolverProblem& problem,
                             SolvedMatrix* solved) {
  RETURN_IF_ERROR(CheckWeights(problem));
  RETURN_IF_ERROR(CheckGram(problem.name, problem.n_cols, problem.stats));
  const SolverOptions& options = *problem.options;
  const int64_t n = problem.n_cols;
  Work work;
  work.problem = &problem;
  const std::vector<double> diagonal = GramDiagonal(problem);
  // Only groups of neighbours in descending order need another layout.
  const bool dynamic = options.order == ColumnOrder::kDescendingDynamic;
  work.metric =
      MakeGramMetric(problem, dynamic ? Descending(diagonal) : Numbers(n));
  NoteOddStatistics(problem, work.metric, &solved->report.notes);
  work.targets.assign(problem.weights, problem.weights + problem.n_rows * n);
  if (options.drift != 0) {
    RETURN_IF_ERROR(CorrectTargets(problem, &work.targets, &solved->report));
  }
  if (dynamic) {
    work.targets =
        Permuted(work.targets.data(), problem.n_rows, work.metric.layout);
  }
  work.order = Numbers(n);
  if (options.order == ColumnOrder::kDescending) {
    work.order = Descending(diagonal);
  } else if (options.order == ColumnOrder::kGroups) {
    work.order = DescendingGroups(diagonal, MakeGridRows(problem));
  }
  return work;
}

absl::Status Finish(const Work& work, GridRows rows, SolvedMatrix* solved) {
  ASSIGN_OR_RETURN(solved->matrix, ToMatrix(*work.problem, std::move(rows)));
  if (work.problem->options->order == ColumnOrder::kDescendingDynamic) {
    solved->matrix =
        RestoreLayout(work.metric.layout, std::move(solved->matrix));
  }
  return absl::OkStatus();
}

absl::StatusOr<SolvedMatrix> SolveOnProcessor(const SolverProblem& problem) {
  SolvedMatrix solved;
  ASSIGN_OR_RETURN(Work work, Prepare(problem, &solved));
  ASSIGN_OR_RETURN(work.factor, FactorGram(problem, std::move(work.order),
                                           &work.metric, &solved.report));
  solved.report.damping = work.metric.damping;
  GridRows rows = SolveWork(&work, &solved.report);
  RETURN_IF_ERROR(Finish(work, std::move(rows), &solved));
  return solved;
}

// Of rows that a device solved, with its factor made once more.
absl::Status CoupleFromDevice(Work* work, GridRows* rows,
                              SolverReport* report) {
  const SolverProblem& problem = *work->problem;
  if (problem.output_moments == nullptr) {
    return absl::OkStatus();
  }
  SolverReport noted;  // as the device noted it
  ASSIGN_OR_RETURN(work->factor, FactorGram(problem, std::move(work->order),
                                            &work->metric, &noted));
  const std::vector<float> gram = ScaledGram(problem, work->metric);
  Couple(*work, gram, Energy(*work, gram), rows, report);
  return absl::OkStatus();
}

// What the device has no room for is the processor's, as is the coupling of
// outputs.
absl::StatusOr<std::vector<SolvedMatrix>> SolveMany(
    absl::Span<const SolverProblem> problems) {
  std::vector<SolvedMatrix> solved(problems.size());
  std::vector<Work> works;
  std::vector<DeviceGptqWork> on_device;
  for (size_t i = 0; i < problems.size(); ++i) {
    ASSIGN_OR_RETURN(Work work, Prepare(problems[i], &solved[i]));
    works.push_back(std::move(work));
  }
  for (size_t i = 0; i < works.size(); ++i) {
    on_device.push_back({&problems[i], works[i].metric, works[i].order,
                         works[i].targets.data(), MakeGridRows(problems[i]),
                         &solved[i].report});
  }
  const absl::Status status =
      SolveGptqOnDevice(*problems[0].device, absl::MakeSpan(on_device));
  if (!status.ok() && !absl::IsResourceExhausted(status)) {
    return status;
  }
  for (size_t i = 0; i < problems.size(); ++i) {
    if (status.ok()) {
      RETURN_IF_ERROR(
          CoupleFromDevice(&works[i], &on_device[i].rows, &solved[i].report));
      RETURN_IF_ERROR(
          Finish(works[i], std::move(on_device[i].rows), &solved[i]));
      continue;
    }
    ASSIGN_OR_RETURN(solved[i], SolveOnProcessor(problems[i]));
    solved[i].report.notes.push_back(SolvedOnProcessor(status));
  }
  return solved;
}

absl::StatusOr<SolvedMatrix> Solve(const SolverProblem& problem) {
  if (problem.device == nullptr) {
    return SolveOnProcessor(problem);
  }
  ASSIGN_OR_RETURN(std::vector<SolvedMatrix> solved, SolveMany({problem}));
  return std::move(solved[0]);
}

}  // namespace

const Solver kGptqSolver = {"gptq",
                            "GPTQ (Frantar et al., 2023)",
                            &Needs,
                            &Supports,
                            &Solve,
                            &SolveMany,
                            /*couples_outputs=*/true};

}  // namespace narrow
