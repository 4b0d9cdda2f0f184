// Weights that aim at the outputs of the original model, where inputs come
// from one quantized so far; the idea and its sources are at the head of
// gptq.cc.
//
//   std::vector<float> targets(weights);
//   ASSIGN_OR_RETURN(std::string note, CorrectDrift(problem, &targets));

#ifndef NARROW_CONVERTER_SOLVERS_DRIFT_H_
#define NARROW_CONVERTER_SOLVERS_DRIFT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/solvers/solver.h"

namespace narrow {

// targets += drift * W K (H + lambda)^-1 for the problem's weights W, with
// lambda = drift_damping * mean diagonal (doubled until H has a factor).
// Rows that would move by more than half of their own output, that is where
// the correction d has d H d^T > w H w^T / 4, stay as they are. Returns what
// was done, for people. FailedPrecondition without cross moments; DataLoss
// for ones that are not finite.
absl::StatusOr<std::string> CorrectDrift(const SolverProblem& problem,
                                         std::vector<float>* targets);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_DRIFT_H_
