// A solver's problem on the grids of kernels/grid: what its scheme is there,
// scales before any code, and the matrix made of rows.
//
//   RETURN_IF_ERROR(CheckGridScheme(scheme));
//   GridRows rows = MakeGridRows(problem);
//   FitScales(problem, weights, column_weights, &rows);
//   RoundRows(weights, problem.n_cols, &rows, problem.pool);
//   ASSIGN_OR_RETURN(QuantizedMatrix m, ToMatrix(problem, std::move(rows)));

#ifndef NARROW_CONVERTER_SOLVERS_GRID_PROBLEM_H_
#define NARROW_CONVERTER_SOLVERS_GRID_PROBLEM_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "converter/solvers/solver.h"
#include "kernels/grid/grid.h"

namespace narrow {

// Unimplemented: schemes that are no grid of kernels/grid.
absl::Status CheckGridScheme(const WeightScheme& scheme);

// Whether several rows share a scale: a tensor, 128 x 128 blocks.
bool SharesScales(const WeightScheme& scheme);

// The grid of the problem's scheme. NVFP4's global scale is the problem's, or
// that under which the largest group's scale is the largest E4M3 number.
GridSpec MakeGridSpec(const SolverProblem& problem);

// The same for rows of the problem's shape.
GridRows MakeGridRows(const SolverProblem& problem);

// Scales and zeros of `weights` [n_rows, n_cols] by options->fit, under
// column weights [n_cols] or nullptr. Scales of several rows are those of the
// least and largest weight (FitOptions::Search::kMinMax), without a search.
void FitScales(const SolverProblem& problem, const float* weights,
               const float* column_weights, GridRows* rows);

// Takes codes, scales and zeros; adds the scale of static activations.
absl::StatusOr<QuantizedMatrix> ToMatrix(const SolverProblem& problem,
                                         GridRows rows);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_GRID_PROBLEM_H_
