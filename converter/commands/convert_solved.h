// The part of `narrow convert` that is done with a solver (--solver).
//
//   ASSIGN_OR_RETURN(auto samples, SolverSamples(*model, request, outputs));
//   ASSIGN_OR_RETURN(auto outcomes, WriteSolved(*model, samples, outputs,
//   job));

#ifndef NARROW_CONVERTER_COMMANDS_CONVERT_SOLVED_H_
#define NARROW_CONVERTER_COMMANDS_CONVERT_SOLVED_H_

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/blockwise/samples.h"
#include "converter/commands/flags/solver_flags.h"
#include "converter/compensated/compensated_convert.h"
#include "converter/pipeline.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

struct SolvedJob {
  SolverRequest request;
  int n_threads = 0;
  bool quiet = false;
  const std::atomic<bool>* cancelled = nullptr;
};

// What a solver cannot do: files that are copies, or lack layers. A usage
// error.
absl::Status CheckSolvable(const std::vector<Recipe>& recipes);

// The text as windows; warns on standard error where it is short for the
// model, and of a text that is not in the model's reach fails.
absl::StatusOr<CalibrationSamples> SolverSamples(
    const Checkpoint& model, const SolverRequest& request,
    const std::vector<Output>& outputs);

// "would solve N tensors"; and what would not be, with the reason.
std::string SolvedDryRun(const Checkpoint& model, const Output& output,
                         const CalibrationSamples& samples);

// Lines of progress go to standard error, one a block. `write` may be empty:
// CompensatedConvertOptions::write.
absl::StatusOr<std::vector<CompensatedOutcome>> WriteSolved(
    const Checkpoint& model, const CalibrationSamples& samples,
    const std::vector<Output>& outputs, const SolvedJob& job,
    const std::function<absl::Status(absl::Span<const Output>)>& write);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_CONVERT_SOLVED_H_
