// The outputs of a matrix weigh together, for solvers on grids
// (kernels/feedback/couple_rows.h, where the idea is explained).
//
//   OutputCoupling coupling = {&problem, targets, gram, feed, false};
//   CoupleOutputs(coupling, &rows, &report.notes);
//
// Where the problem has second moments of the gradients of its outputs, rows
// are solved anew, some at a time, each to make up for the errors of those
// before; what may not rise is one form of all rows. Without moments, or with
// ones that are no numbers (a note says so), nothing happens.

#ifndef NARROW_CONVERTER_SOLVERS_COUPLE_OUTPUTS_H_
#define NARROW_CONVERTER_SOLVERS_COUPLE_OUTPUTS_H_

#include <functional>
#include <string>
#include <vector>

#include "converter/solvers/solver.h"
#include "kernels/grid/grid.h"

namespace narrow {

// Borrows everything. Columns stand in one order in all of it.
struct OutputCoupling {
  const SolverProblem* problem = nullptr;
  const float* targets = nullptr;  // [n_rows, n_cols]
  const float* gram = nullptr;     // [n_cols, n_cols], damped
  // Codes, and scales where these may change, of rows for targets of theirs.
  std::function<void(const float* targets, GridRows* rows)> feed;
  bool keep_scales = false;
};

// `rows` are all of the problem's, solved. Returns whether any changed.
bool CoupleOutputs(const OutputCoupling& coupling, GridRows* rows,
                   std::vector<std::string>* notes);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_COUPLE_OUTPUTS_H_
