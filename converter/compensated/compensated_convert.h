// `narrow convert --solver compensated` as a function: planned GGUF files
// whose matrices are solved before they are written.
//
//   ASSIGN_OR_RETURN(CalibrationSamples samples, SampleTexts(...));
//   ASSIGN_OR_RETURN(auto results, WriteCompensated(model, samples, outputs,
//                                                   options, pipeline));
//
// Sequentially, one output after another is solved and its file written.
// Finished blocks lie in "<first output of a run>.solved.partial" until all
// files are written; a job that is stopped or killed goes on from there when
// the same is asked for again (files that were written already are written
// once more, with the same bytes, and are not solved again). The bytes of the
// files are the same for any number of threads, instruction set and restart.

#ifndef NARROW_CONVERTER_COMPENSATED_COMPENSATED_CONVERT_H_
#define NARROW_CONVERTER_COMPENSATED_COMPENSATED_CONVERT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/blockwise/samples.h"
#include "converter/compensated/compensated_run.h"
#include "converter/compensated/solve_targets.h"
#include "converter/compensated/solved_store.h"
#include "converter/pipeline.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// What became of one output.
struct CompensatedOutcome {
  std::vector<SolvedReport> solved;
  std::vector<UnsolvedTensor> plain;
  int64_t n_blocks_resumed = 0;
  // Of blocks that were judged by the model's divergence, in order.
  std::vector<BlockVerdict> verdicts;
  int64_t n_verify_windows = 0;
  int64_t n_blocks = 0;  // of the model
  // With token weights: the loss whose gradients they are of, nats a token.
  std::optional<double> mean_loss;
};

struct CompensatedConvertOptions {
  CompensatedRunOptions run;
  // Token weights of these samples where they are known already, per input and
  // with the moments asked for; nullptr: they are computed if needed.
  const FisherWeights* fisher = nullptr;
  // Discard what a stopped run has done.
  bool restart = false;
  // A run over outputs [first, first + n) begins; called before any block.
  std::function<void(size_t first, size_t n)> on_run;
  // Writes the outputs, whose plans now have the solved rows, instead of
  // WriteOutputs; may be empty.
  std::function<absl::Status(absl::Span<const Output>)> write;
  // Share of the reverse pass done.
  std::function<void(double)> on_weights;
};

// Outcomes in the order of `outputs`, whose plans were made with
// Recipe::calibrated and are not changed. Sequentially, one run an output.
// After an error, files that were written stay.
// FailedPrecondition: unfinished work of another job is in the way.
absl::StatusOr<std::vector<CompensatedOutcome>> WriteCompensated(
    const Checkpoint& model, const CalibrationSamples& samples,
    absl::Span<const Output> outputs, const CompensatedConvertOptions& options,
    const PipelineOptions& pipeline);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_COMPENSATED_CONVERT_H_
