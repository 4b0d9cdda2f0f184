// What solvers have in common before and after their own work: weights that
// are numbers, importance of columns, errors relative to the weights.
//
//   RETURN_IF_ERROR(CheckWeights(problem));
//   ASSIGN_OR_RETURN(std::vector<float> importance, ColumnWeights(problem));
//   report.relative_error = Ratio(error, Energy(problem, importance));

#ifndef NARROW_CONVERTER_SOLVERS_SOLVER_INPUTS_H_
#define NARROW_CONVERTER_SOLVERS_SOLVER_INPUTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "converter/solvers/solver.h"

namespace narrow {

// DataLoss names the first weight that is no finite number.
absl::Status CheckWeights(const SolverProblem& problem);

// That there is a Gram matrix of `n_cols` columns. FailedPrecondition: there
// is none; InvalidArgument: of another size; DataLoss names a row with a value
// that is not finite, or with a negative diagonal.
absl::Status CheckGram(absl::string_view name, int64_t n_cols,
                       const LayerStats* stats);

// What the squared error of a column counts, on average 1: mean squares of
// the inputs from statistics, else from an importance matrix. Empty where
// there are neither, all are 0, or options->weighted_fit is off. No column
// counts less than a millionth of the average, so that its codes are still
// the nearest. DataLoss names a value that is negative or not finite.
absl::StatusOr<std::vector<float>> ColumnWeights(const SolverProblem& problem);

// Sum of importance times weight squared; importance empty: 1.
double Energy(const SolverProblem& problem,
              const std::vector<float>& importance);
// Sum of importance times the squared error of what `matrix` decodes to.
double SquaredError(const SolverProblem& problem,
                    const std::vector<float>& importance,
                    const QuantizedMatrix& matrix);
// error / energy, 0 for a matrix of zeros.
double Ratio(double error, double energy);

// The note where a device had no room: what it said.
std::string SolvedOnProcessor(const absl::Status& status);

// Scale of static activations by the largest input seen, for inputs in
// -limit ... limit. FailedPrecondition without statistics.
absl::StatusOr<float> StaticInputScale(const SolverProblem& problem,
                                       float limit);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_SOLVER_INPUTS_H_
