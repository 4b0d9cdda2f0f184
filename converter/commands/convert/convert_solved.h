// The part of `narrow convert` that is done with a solver (--solver).
//
//   ASSIGN_OR_RETURN(SolverText text, SampleSolverText(*model, request));
//   WarnOfShortText(*model, outputs, text);
//   ASSIGN_OR_RETURN(auto outcomes, WriteSolved(*model, text, outputs, job));

#ifndef NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_SOLVED_H_
#define NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_SOLVED_H_

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/blockwise/samples.h"
#include "converter/commands/flags/recipe/solver_flags.h"
#include "converter/compensated/block_judge.h"
#include "converter/compensated/compensated_convert.h"
#include "converter/pipeline.h"
#include "formats/arch/checkpoint.h"
#include "kernels/device.h"

namespace narrow {

// What is calibrated and judged on.
struct SolverText {
  CalibrationSamples samples;
  int64_t n_cover = 0;   // of them, drawn from the vocabulary
  int64_t n_missed = 0;  // windows of the text that were asked for, and not had
  // The same without these, where there are any.
  std::optional<CalibrationSamples> undrawn;
  VerifyWindows verify;  // the last of the samples

  // What losses are measured on: they are to be those of the text.
  const CalibrationSamples& probed() const {
    return undrawn.has_value() ? *undrawn : samples;
  }
};

struct SolvedJob {
  SolverRequest request;
  // Of the text's samples, where something before has computed them.
  const FisherWeights* fisher = nullptr;
  int n_threads = 0;
  // Where statistics are gathered and unsolved tensors are encoded.
  std::optional<Device> device;
  bool quiet = false;
  const std::atomic<bool>* cancelled = nullptr;
};

// What a solver cannot do: files that are copies, or lack layers. A usage
// error.
absl::Status CheckSolvable(const std::vector<Recipe>& recipes);

// The text as windows; those that blocks are judged on follow those calibrated
// on, or where the text has no more are the last of these; those drawn from the
// vocabulary stand among the latter. InvalidArgument: a text too short for
// both; errors as SampleTexts'.
absl::StatusOr<SolverText> SampleSolverText(const Checkpoint& model,
                                            const SolverRequest& request);
// On standard error, where the text has fewer windows than were asked for, or
// all of them are few for the widest matrix.
void WarnOfShortText(const Checkpoint& model,
                     const std::vector<Output>& outputs,
                     const SolverText& text);

// "would solve N tensors"; and what would not be, with the reason. `fisher`:
// the reverse pass is made.
std::string SolvedDryRun(const Checkpoint& model, const Output& output,
                         const SolverText& text, bool fisher);

// Lines of progress go to standard error, one a block. `write` may be empty:
// CompensatedConvertOptions::write.
absl::StatusOr<std::vector<CompensatedOutcome>> WriteSolved(
    const Checkpoint& model, const SolverText& text,
    const std::vector<Output>& outputs, const SolvedJob& job,
    const std::function<absl::Status(absl::Span<const Output>)>& write);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_SOLVED_H_
