// Round to nearest: every group gets the scale (and zero) under which its
// weights are rounded best, every weight its nearest code. Nothing is said
// about how weights make up for each other; that is gptq.cc.
//
// The search is that of kernels/grid/grid.h: ranges shrunk step by step, each
// improved by least squares, judged by sum of h_j (w_j - q_j)^2, where h_j is
// the mean square of input j (from statistics or an importance matrix; 1
// without). In a probe with a few strong inputs this search alone beats GPTQ
// with scales from the largest weights. Errors are measured on what a file
// stores: scales and zeros are rounded before codes are chosen.
//
// Deviation from round to nearest elsewhere: FitOptions::Search::kMinMax and
// weighted_fit = false give the usual one.

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "converter/solvers/grid_problem.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"
#include "kernels/grid/grid.h"

namespace narrow {
namespace {

StatsNeeds Needs(const SolverOptions& /*options*/) {
  return {};  // used where they are, not asked for
}

absl::Status Supports(const WeightScheme& scheme,
                      const SolverOptions& /*options*/) {
  return CheckGridScheme(scheme);
}

// Blocks that run across the ends of rows: each is a row here, the last one
// filled up with zeros.
absl::StatusOr<QuantizedMatrix> SolveFlat(const SolverProblem& problem) {
  const int64_t n = problem.n_rows * problem.n_cols;
  SolverProblem blocks = problem;
  blocks.n_cols = problem.scheme.block_cols;
  blocks.n_rows = (n + blocks.n_cols - 1) / blocks.n_cols;
  std::vector<float> weights(problem.weights, problem.weights + n);
  weights.resize(static_cast<size_t>(blocks.n_rows * blocks.n_cols), 0.0f);
  blocks.weights = weights.data();
  GridRows rows = MakeGridRows(blocks);
  FitScales(blocks, weights.data(), nullptr, &rows);
  RoundRows(weights.data(), blocks.n_cols, &rows, problem.pool);
  rows.codes.resize(static_cast<size_t>(n));
  return ToMatrix(problem, std::move(rows));
}

absl::StatusOr<QuantizedMatrix> SolveRows(
    const SolverProblem& problem, const std::vector<float>& importance) {
  GridRows rows = MakeGridRows(problem);
  FitScales(problem, problem.weights,
            importance.empty() ? nullptr : importance.data(), &rows);
  RoundRows(problem.weights, problem.n_cols, &rows, problem.pool);
  return ToMatrix(problem, std::move(rows));
}

absl::StatusOr<SolvedMatrix> Solve(const SolverProblem& problem) {
  RETURN_IF_ERROR(CheckWeights(problem));
  ASSIGN_OR_RETURN(const std::vector<float> importance, ColumnWeights(problem));
  const WeightScheme& scheme = problem.scheme;
  const bool crosses_rows = scheme.flat && scheme.block_cols > 0 &&
                            problem.n_cols % scheme.block_cols != 0;
  SolvedMatrix solved;
  if (crosses_rows) {
    ASSIGN_OR_RETURN(solved.matrix, SolveFlat(problem));
  } else {
    ASSIGN_OR_RETURN(solved.matrix, SolveRows(problem, importance));
  }
  solved.report.relative_error =
      Ratio(SquaredError(problem, importance, solved.matrix),
            Energy(problem, importance));
  solved.report.relative_error_before = solved.report.relative_error;
  return solved;
}

}  // namespace

const Solver kRtnSolver = {"rtn", "round to nearest", &Needs, &Supports,
                           &Solve};

}  // namespace narrow
