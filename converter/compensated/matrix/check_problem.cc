// Tested by solve_tensor_test.cc.

#include "converter/compensated/matrix/check_problem.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"
#include "formats/quant_type.h"
#include "kernels/compensated/compensated.h"

namespace narrow {

absl::Status CheckProblem(const CompensatedProblem& problem) {
  if (!SupportsCompensation(*problem.codec)) {
    return absl::UnimplementedError(absl::StrCat(
        "tensor ", QuotedName(problem.name), ": ",
        TypeName(problem.codec->type), " has no blocks to compensate in"));
  }
  if (problem.n_cols % problem.codec->block != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor ", QuotedName(problem.name), " has ", problem.n_cols,
        " columns, no multiple of ", problem.codec->block, ", a block of ",
        TypeName(problem.codec->type)));
  }
  const CompensatedOptions& options = *problem.options;
  if (!(options.damping >= 0) || options.rounds < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("damping ", options.damping, " and rounds ",
                     options.rounds, " must be 0 or more"));
  }
  SolverProblem inputs;
  inputs.name = problem.name;
  inputs.weights = problem.weights;
  inputs.n_rows = problem.n_rows;
  inputs.n_cols = problem.n_cols;
  inputs.pool = problem.pool;
  RETURN_IF_ERROR(CheckWeights(inputs));
  return CheckGram(problem.name, problem.n_cols, problem.stats);
}

void NoteWhatIsOdd(const CompensatedProblem& problem, const Metric& metric,
                   std::vector<std::string>* notes) {
  int64_t n_dead = 0;
  for (int64_t i = 0; i < metric.n; ++i) {
    n_dead += metric.gram[i * metric.n + i] == 0;
  }
  if (n_dead > 0) {
    notes->push_back(absl::StrCat(n_dead, " of ", problem.n_cols,
                                  " columns never had an input"));
  }
  if (problem.stats->n_rows < problem.n_cols && problem.stats->shrinkage == 0) {
    notes->push_back(absl::StrCat("only ", problem.stats->n_rows,
                                  " rows were seen for ", problem.n_cols,
                                  " columns"));
  }
}

}  // namespace narrow
