// `narrow quantize` as a function: a plan carried out into a directory.
//
//   ASSIGN_OR_RETURN(QuantizeResult result, RunQuantize(*input, plan,
//   options)); result.reports; result.seconds;
//
// The directory appears when it is complete and has been read back. A run
// with calibration that is stopped goes on at the first block that it had
// not finished; others begin anew.

#ifndef NARROW_CONVERTER_QUANTIZE_QUANTIZE_RUN_H_
#define NARROW_CONVERTER_QUANTIZE_QUANTIZE_RUN_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/importance/importance.h"
#include "converter/quantize/block/layer_solver.h"
#include "converter/quantize/calibrated_run.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "kernels/device.h"

namespace narrow {

struct QuantizeResult {
  std::vector<LayerReport> reports;  // in the order of the plan's layers
  std::vector<std::string> side_files;
  int64_t n_blocks_resumed = 0;
  int64_t n_samples = 0;
  int64_t n_drawn = 0;  // of them, from the vocabulary
  int64_t sample_tokens = 0;
  bool was_complete = false;  // a run before had done it all
  double seconds = 0;
};

struct RunOptions {
  std::string out;
  PlanOptions plan;
  ModelInputOptions input;
  int n_threads = 0;
  // Of calibration, and of solvers that have one; none: the processor.
  std::optional<Device> device;
  std::function<void(absl::string_view)> on_device_note;
  int64_t hidden_bytes = int64_t{4} << 30;
  bool restart = false;
  bool verify = true;
  const ImportanceMatrix* importance = nullptr;
  // Layers (into plan.layers) that were solved elsewhere, their planes and
  // reports, instead of solving them; called in order. May be empty, and is
  // not used by a calibrated run.
  std::function<absl::StatusOr<SolvedLayer>(int layer)> solved;
  // Called with the folder when all but the model card is in it; gives the
  // card's text.
  std::function<absl::StatusOr<std::string>(const std::string& folder,
                                            const QuantizeResult& result)>
      model_card;
  // Called last, with the folder that has all files and not yet its name.
  std::function<absl::Status(const std::string& folder)> before_finish;
  std::function<void(const BlockProgress&)> on_block;
  std::function<void(double)> on_weights;  // CalibratedRunOptions'
  std::function<void(int64_t n_bytes)> on_written;
  const std::atomic<bool>* cancelled = nullptr;
};

absl::StatusOr<QuantizeResult> RunQuantize(const ModelInput& input,
                                           const QuantizePlan& plan,
                                           const RunOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_QUANTIZE_RUN_H_
