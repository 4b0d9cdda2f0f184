#include "converter/solvers/solver.h"

#include <algorithm>

#include "absl/strings/str_join.h"

namespace narrow {

absl::Span<const Solver* const> AllSolvers() {
  static constexpr const Solver* kAll[] = {
#define NARROW_SOLVER(variable) &variable,
#include "converter/solvers/solvers.inc"
#undef NARROW_SOLVER
  };
  return kAll;
}

const Solver* FindSolver(absl::string_view name) {
  const auto all = AllSolvers();
  const auto it = std::find_if(
      all.begin(), all.end(),
      [name](const Solver* solver) { return solver->name == name; });
  return it == all.end() ? nullptr : *it;
}

std::string KnownSolverNames() {
  return absl::StrJoin(AllSolvers(), ", ",
                       [](std::string* out, const Solver* solver) {
                         out->append(solver->name);
                       });
}

}  // namespace narrow
