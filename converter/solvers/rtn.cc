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
// With a device (device/device_rtn.h) bits are the same.
//
// Deviation from round to nearest elsewhere: FitOptions::Search::kMinMax and
// weighted_fit = false give the usual one.

#include <cstddef>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "converter/solvers/device/device_rtn.h"
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

// A matrix as the grid has it. Blocks that run across the ends of rows are
// rows there, the last one filled up with zeros.
struct Work {
  const SolverProblem* problem = nullptr;
  std::vector<float> importance;
  bool crosses_rows = false;
  std::vector<float> weights;  // if it does
  SolverProblem on_grid;

  absl::Span<const float> grid_importance() const {
    return crosses_rows ? absl::Span<const float>() : importance;
  }
};

absl::StatusOr<Work> Prepare(const SolverProblem& problem) {
  RETURN_IF_ERROR(CheckWeights(problem));
  const WeightScheme& scheme = problem.scheme;
  Work work;
  work.problem = &problem;
  ASSIGN_OR_RETURN(work.importance, ColumnWeights(problem));
  work.crosses_rows = scheme.flat && scheme.block_cols > 0 &&
                      problem.n_cols % scheme.block_cols != 0;
  work.on_grid = problem;
  if (work.crosses_rows) {
    const int64_t n = problem.n_rows * problem.n_cols;
    SolverProblem& blocks = work.on_grid;
    blocks.n_cols = scheme.block_cols;
    blocks.n_rows = (n + blocks.n_cols - 1) / blocks.n_cols;
    work.weights.assign(problem.weights, problem.weights + n);
    work.weights.resize(static_cast<size_t>(blocks.n_rows * blocks.n_cols),
                        0.0f);
    blocks.weights = work.weights.data();
  }
  return work;
}

// Codes to the matrix; the report gets the errors, measured here if they are
// not given.
absl::StatusOr<SolvedMatrix> Finish(const Work& work, GridRows rows,
                                    std::optional<double> error) {
  const SolverProblem& problem = *work.problem;
  SolvedMatrix solved;
  rows.codes.resize(static_cast<size_t>(problem.n_rows * problem.n_cols));
  ASSIGN_OR_RETURN(solved.matrix, ToMatrix(problem, std::move(rows)));
  if (!error.has_value()) {
    error = Ratio(SquaredError(problem, work.importance, solved.matrix),
                  Energy(problem, work.importance));
  }
  solved.report.relative_error = *error;
  solved.report.relative_error_before = *error;
  return solved;
}

absl::StatusOr<SolvedMatrix> SolveOnProcessor(const Work& work) {
  const SolverProblem& problem = work.on_grid;
  GridRows rows = MakeGridRows(problem);
  const absl::Span<const float> importance = work.grid_importance();
  FitScales(problem, problem.weights,
            importance.empty() ? nullptr : importance.data(), &rows);
  RoundRows(problem.weights, problem.n_cols, &rows, problem.pool);
  return Finish(work, std::move(rows), std::nullopt);
}

std::vector<DeviceRtnWork> ToDevice(const std::vector<Work>& works) {
  std::vector<DeviceRtnWork> on_device;
  for (const Work& work : works) {
    GridRows rows = MakeGridRows(work.on_grid);
    if (SharesScales(work.on_grid.scheme)) {
      FitScales(work.on_grid, work.on_grid.weights, nullptr, &rows);
    }
    on_device.push_back(
        {&work.on_grid, work.grid_importance(), std::move(rows), {}, {}, {}});
  }
  return on_device;
}

double Sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// What the device has no room for is the processor's.
absl::StatusOr<std::vector<SolvedMatrix>> SolveMany(
    absl::Span<const SolverProblem> problems) {
  std::vector<Work> works;
  for (const SolverProblem& problem : problems) {
    ASSIGN_OR_RETURN(Work work, Prepare(problem));
    works.push_back(std::move(work));
  }
  std::vector<DeviceRtnWork> on_device = ToDevice(works);
  const absl::Status status =
      RoundOnDevice(*problems[0].device, absl::MakeSpan(on_device));
  if (!status.ok() && !absl::IsResourceExhausted(status)) {
    return status;
  }
  std::vector<SolvedMatrix> solved;
  for (size_t i = 0; i < works.size(); ++i) {
    DeviceRtnWork& work = on_device[i];
    std::string note = std::move(work.note);
    if (status.ok()) {
      std::optional<double> error;
      if (!works[i].crosses_rows) {
        error = Ratio(Sum(work.errors), Sum(work.energies));
      }
      ASSIGN_OR_RETURN(SolvedMatrix one,
                       Finish(works[i], std::move(work.rows), error));
      solved.push_back(std::move(one));
    } else {
      ASSIGN_OR_RETURN(SolvedMatrix one, SolveOnProcessor(works[i]));
      solved.push_back(std::move(one));
      note = SolvedOnProcessor(status);
    }
    if (!note.empty()) {
      solved.back().report.notes.push_back(std::move(note));
    }
  }
  return solved;
}

absl::StatusOr<SolvedMatrix> Solve(const SolverProblem& problem) {
  if (problem.device == nullptr) {
    ASSIGN_OR_RETURN(const Work work, Prepare(problem));
    return SolveOnProcessor(work);
  }
  ASSIGN_OR_RETURN(std::vector<SolvedMatrix> solved, SolveMany({problem}));
  return std::move(solved[0]);
}

}  // namespace

const Solver kRtnSolver = {"rtn",  "round to nearest", &Needs, &Supports,
                           &Solve, &SolveMany};

}  // namespace narrow
