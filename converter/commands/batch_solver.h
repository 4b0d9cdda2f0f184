// The solver of `narrow batch`: what `narrow convert --solver` does, for a
// release's targets. Its options are parsed as those of the command.
//
//   RETURN_IF_ERROR(CheckSolverWords(target.solver));
//   options.solve = [](const SolveTargetsRequest& request) {
//     return SolveBatchTargets(request, job);
//   };

#ifndef NARROW_CONVERTER_COMMANDS_BATCH_SOLVER_H_
#define NARROW_CONVERTER_COMMANDS_BATCH_SOLVER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "converter/batch/batch_options.h"
#include "converter/commands/convert/convert_solved.h"

namespace narrow {

// InvalidArgument for options that `narrow convert` would refuse.
absl::Status CheckSolverWords(const std::vector<std::string>& words);

// Files are complete under their names, or not there. Blocks that a stopped run
// had finished are gone on with; token weights are kept in request.cache for
// targets that come later. Lines of progress go to standard error. `job` says
// where and how it is done; what is solved is filled in.
absl::Status SolveBatchTargets(const SolveTargetsRequest& request,
                               SolvedJob job);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_BATCH_SOLVER_H_
