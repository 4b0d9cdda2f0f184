// A model quantized block by block, each under the statistics of what goes
// into it, with everything finished kept for a later run.
//
//   CalibratedRun run(&input, &plan, options);
//   RETURN_IF_ERROR(run.Open());                 // reads and tokenizes texts
//   run.fingerprint();                           // of texts and options
//   RETURN_IF_ERROR(run.Blocks(&store));         // from where it was stopped
//
// Belongs to one thread.

#ifndef NARROW_CONVERTER_QUANTIZE_CALIBRATED_RUN_H_
#define NARROW_CONVERTER_QUANTIZE_CALIBRATED_RUN_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/blockwise/block_calibrator.h"
#include "calibration/blockwise/samples.h"
#include "calibration/text/sample_text.h"
#include "converter/quantize/block/block_solver.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/work_store.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "formats/overlay_source.h"
#include "kernels/device.h"

namespace narrow {

// After each block.
struct BlockProgress {
  int64_t block = 0;
  int64_t n_blocks = 0;
  double observe_seconds = 0;
  double solve_seconds = 0;
  double advance_seconds = 0;
  double error = 0;           // mean relative error of its layers
  double error_rounding = 0;  // of round to nearest
};

struct CalibratedRunOptions {
  ModelInputOptions input;
  int n_threads = 0;
  // Of solvers, and where statistics are gathered (block_calibrator.h).
  std::optional<Device> device;
  std::function<void(absl::string_view)> on_device_note;
  int64_t hidden_bytes = int64_t{4} << 30;
  std::function<void(const BlockProgress&)> on_block;
  // Share of the reverse pass that weighs tokens, 0 ... 1.
  std::function<void(double)> on_weights;
  const std::atomic<bool>* cancelled = nullptr;
};

class CalibratedRun {
 public:
  CalibratedRun(const ModelInput* input, const QuantizePlan* plan,
                const CalibratedRunOptions& options);

  // Errors of Checkpoint::Open and SampleTexts.
  absl::Status Open();
  // REQUIRES: Open.
  const CalibrationSamples& samples() const { return samples_; }
  int64_t n_drawn() const { return n_drawn_; }  // from the vocabulary
  uint64_t fingerprint() const { return samples_.hash; }

  // Solves the blocks that `store` does not have, and leaves all of them
  // loaded there. `run_fingerprint` is of everything that the bytes depend
  // on. `on_saved` is called once there is something to go on from.
  absl::Status Blocks(uint64_t run_fingerprint, WorkStore* store,
                      const std::function<void()>& on_saved);
  int64_t n_resumed() const { return n_resumed_; }

 private:
  absl::Status TakeSamples(SampleOptions of_text);
  absl::Status WeighTokens(uint64_t run_fingerprint, WorkStore* store);
  // Nullptr unless tokens were weighed.
  const TokenWeights* weights() const {
    return fisher_.labels.empty() ? nullptr : &fisher_.tokens;
  }
  absl::Status OneBlock(BlockCalibrator* calibrator, BlockSolver* solver,
                        WorkStore* store);
  absl::StatusOr<BlockOutput> AtOnce(BlockCalibrator* calibrator,
                                     BlockSolver* solver,
                                     BlockProgress* progress);
  absl::StatusOr<BlockOutput> BySites(BlockCalibrator* calibrator,
                                      BlockSolver* solver,
                                      BlockProgress* progress);

  const ModelInput& input_;
  const QuantizePlan& plan_;
  const CalibratedRunOptions options_;
  ThreadPool pool_;
  std::unique_ptr<Checkpoint> model_;  // owns the overlay
  OverlaySource* overlay_ = nullptr;
  CalibrationSamples samples_;
  int64_t n_drawn_ = 0;
  FisherWeights fisher_;
  int64_t n_resumed_ = 0;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_CALIBRATED_RUN_H_
