#include "converter/commands/batch_solver.h"

#include <memory>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "calibration/backward/fisher_file.h"
#include "calibration/backward/fisher_weights.h"
#include "converter/commands/convert/convert_solved.h"
#include "converter/commands/flags/device_flags.h"
#include "converter/commands/flags/recipe/solver_flags.h"
#include "converter/packed_output/output_folder.h"
#include "converter/progress.h"
#include "converter/version.h"
#include "formats/base/file.h"
#include "formats/base/hash/fingerprint.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

absl::StatusOr<SolverRequest> RequestOf(const std::vector<std::string>& words) {
  CLI::App app;
  SolverFlags flags;
  AddSolverFlags(&app, &flags);
  try {
    // CLI11 takes them from the end, and throws.
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  return SolverFromFlags(app, flags, /*allocating=*/false);
}

// Of all that token weights depend on.
uint64_t WeightsFingerprint(const SolveTargetsRequest& request,
                            const SolverRequest& solver,
                            const CalibrationSamples& samples) {
  Fingerprint print;
  print.Add(kNarrowVersion);
  print.Add(request.model_hash);
  print.Add(static_cast<int64_t>(samples.hash));
  print.Add(solver.max_coupled_outputs);
  return print.value();
}

// From the folder that targets share, or computed and put there.
absl::StatusOr<FisherWeights> TokenWeightsOf(const SolveTargetsRequest& request,
                                             const SolverRequest& solver,
                                             const CalibrationSamples& samples,
                                             const SolvedJob& job) {
  const uint64_t print = WeightsFingerprint(request, solver, samples);
  const std::string path =
      JoinPath(request.cache, absl::StrFormat("%016x.fisher", print));
  auto kept = ReadFisherWeights(path, print);
  if (kept.ok()) {
    return kept;
  }
  FisherOptions options;
  options.per_input = true;
  options.embedding = true;
  options.max_moment_outputs = solver.max_coupled_outputs;
  options.hidden_bytes = solver.hidden_bytes;
  options.n_threads = job.n_threads;
  options.cancelled = job.cancelled;
  options.device = job.device;
  options.on_device_note = PrintDeviceNote;
  constexpr int64_t kWhole = 1000;
  Progress bar("weighing tokens", "/1000", kWhole, job.quiet);
  ASSIGN_OR_RETURN(FisherWeights fisher,
                   ComputeFisherWeights(
                       request.model, samples, options, [&bar](double share) {
                         bar.Set(static_cast<int64_t>(share * kWhole));
                       }));
  RETURN_IF_ERROR(WriteFisherWeights(fisher, print, path));
  return fisher;
}

}  // namespace

absl::Status CheckSolverWords(const std::vector<std::string>& words) {
  return RequestOf(words).status();
}

absl::Status SolveBatchTargets(const SolveTargetsRequest& request,
                               SolvedJob job) {
  ASSIGN_OR_RETURN(job.request, RequestOf(request.words));
  ASSIGN_OR_RETURN(const SolverText text,
                   SampleSolverText(*request.model, job.request));
  WarnOfShortText(*request.model, request.outputs, text);
  FisherWeights fisher;
  if (job.request.fisher) {
    ASSIGN_OR_RETURN(fisher,
                     TokenWeightsOf(request, job.request, text.samples, job));
    job.fisher = &fisher;
  }
  auto solved = WriteSolved(*request.model, text, request.outputs, job, {});
  if (GoesAwayWithRestart(solved.status())) {
    // What is in the way is of targets as they were asked for before, or is
    // damaged.
    job.request.restart = true;
    solved = WriteSolved(*request.model, text, request.outputs, job, {});
  }
  return solved.status();
}

}  // namespace narrow
