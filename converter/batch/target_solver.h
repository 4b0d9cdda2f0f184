// A release's file type that is solved: the options of `narrow convert` that
// ask for the same.
//
//   RETURN_IF_ERROR(PlanSolver(asked, release.calibration(), folder,
//                              &settings, &target));
//   target.solver;  // {"--solver=compensated", "--calibration=r/wiki.txt"}

#ifndef NARROW_CONVERTER_BATCH_TARGET_SOLVER_H_
#define NARROW_CONVERTER_BATCH_TARGET_SOLVER_H_

#include <string>

#include "absl/status/status.h"
#include "converter/batch/release.pb.h"
#include "converter/batch/release_file.h"

namespace narrow {

// `path`, unless it is absolute relative to `folder`.
std::string ResolvedPath(const std::string& folder, const std::string& path);

// Fills `target`, if `asked` has a solver; `text` is taken where it has none of
// its own. `settings`, what the bytes depend on, gets the text without paths.
// InvalidArgument: a solver without a text, or what is a solver's without one.
// Values are checked where options are parsed.
absl::Status PlanSolver(const ReleaseTarget& asked,
                        const ReleaseSolverText& text,
                        const std::string& folder, ReleaseTarget* settings,
                        PlannedTarget* target);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_TARGET_SOLVER_H_
