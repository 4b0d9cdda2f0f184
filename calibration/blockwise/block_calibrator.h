// Calibration block by block: what goes into the linear layers of a block is
// observed, the caller quantizes the block, and its hidden states go on to
// the next one.
//
//   ASSIGN_OR_RETURN(auto calibrator,
//                    BlockCalibrator::Create(&model, samples, options));
//   for (int64_t b = calibrator->next_block(); b < n; ++b) {
//     ASSIGN_OR_RETURN(BlockStats stats, calibrator->Observe(needs));
//     ... solve block b; show its weights (formats/overlay_source.h) ...
//     RETURN_IF_ERROR(calibrator->Advance());
//     RETURN_IF_ERROR(calibrator->Save(path));       // to go on from here
//   }
//
// Or site by site, so that the inputs of each are those that the layers
// replaced before it make:
//
//     for (const auto& names : calibrator->SitesOfBlock()) {
//       request.layers = names;
//       ASSIGN_OR_RETURN(BlockStats stats, calibrator->Observe(request, {}));
//       ... solve these layers; show their weights ...
//     }
//
// In memory are one block's weights and the hidden states of all samples; above
// options.hidden_bytes these are kept in a file, compressed with zstd. With
// Order::kQuantized the block's inputs are those of the model quantized so
// far; with kOriginal those of the original. Where cross moments or residuals
// are asked for, both streams are kept. What of a block has been computed and
// still holds, for the original as long as the block lasts, for the quantized
// model until weights before it change (a checksum of these is compared), is
// not computed again (block_stream.h): site by site a block takes one pass of
// the quantized model, where it has no experts, and one of the original where
// that is asked for. For this the hidden states after the attention part, and
// the rows that go into the last matrix of a part, are kept too, under the
// same limit.
// With options.runner.device the forward passes run there, and statistics are
// summed there from inputs that stay: what comes back are sums, and hidden
// states between blocks. With Precision::kReproducible they are the processor's
// bits, so that a run may go on elsewhere. Where the device's memory is short
// fewer samples go at once, and the processor sums what does not fit; the
// runner's on_device_note is told.
// Belongs to one thread, and uses options.runner.n_threads. The statistics are
// the same for any number of threads, grouping, memory limit, instruction set,
// order of sites and restart.

#ifndef NARROW_CALIBRATION_BLOCKWISE_BLOCK_CALIBRATOR_H_
#define NARROW_CALIBRATION_BLOCKWISE_BLOCK_CALIBRATOR_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/blockwise/layer_stats.h"
#include "calibration/blockwise/observe_request.h"
#include "calibration/blockwise/samples.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "formats/overlay_source.h"

namespace narrow {

enum class CalibrationOrder {
  kQuantized,  // inputs from the blocks as quantized so far
  kOriginal,   // inputs from the original model
};

struct CalibrationOptions {
  CalibrationOrder order = CalibrationOrder::kQuantized;
  // Hidden states kept in memory; above it they go to a file in
  // `spill_folder` (empty: the system's temporary folder), without a name
  // other programs see.
  int64_t hidden_bytes = int64_t{4} << 30;
  std::string spill_folder;
  // Samples that go through a block together; 0: as many as are worthwhile.
  int64_t group_samples = 0;
  // Cross moments or residuals will be asked for (StatsNeeds::original), which
  // need the original's hidden states too. Asking at block 0 does as well.
  bool keep_original = false;
  // With kQuantized: a model with the token embedding that the file will have,
  // where that is another; needed in Create only. The original's stream begins
  // with the original's. nullptr: `model`.
  const Checkpoint* embedding = nullptr;
  // An expert with fewer rows than this many times its columns is shrunk
  // towards the statistics of all experts' rows (stats_collector.h).
  double expert_rows_per_column = 1;
  // Looked at between groups; Cancelled once it is true. May be null.
  const std::atomic<bool>* cancelled = nullptr;
  RunnerOptions runner;

  CalibrationOptions() { runner.precision = Precision::kReproducible; }
};

// Share of a block's work done, 0 ... 1, for progress.
using CalibrationProgressFn = std::function<void(double)>;

class BlockCalibrator {
 public:
  // Embeds the samples. `model` was opened over `overlay` (may be null where
  // nothing is replaced: then both orders are one); both must outlive the
  // calibrator. InvalidArgument: ids outside the vocabulary, no sample, no
  // token that counts; NotFound and others: the folder to spill to.
  static absl::StatusOr<std::unique_ptr<BlockCalibrator>> Create(
      const Checkpoint* model, OverlaySource* overlay,
      const CalibrationSamples& samples, const CalibrationOptions& options);
  virtual ~BlockCalibrator() = default;

  virtual int64_t n_blocks() const = 0;
  // The block that Observe and Advance are about.
  virtual int64_t next_block() const = 0;

  // The linear layers of the present block by the input they see, in the order
  // of computation; empty after the last block.
  virtual BlockSites SitesOfBlock() const = 0;

  // Statistics of the present block's linear layers; its hidden states stay.
  // With kQuantized the block itself is as the overlay shows it, that is
  // original until the caller replaces its weights; it may be called again
  // after some are. DataLoss names tensor, sample and token of a number that
  // is not finite. FailedPrecondition after the last block, or for cross
  // moments where the original's states were not kept; InvalidArgument for
  // cross moments with kOriginal, whose inputs do not drift, a layer that the
  // block has not, weights that are none or not one a token, samples none of
  // which is left for the sums.
  virtual absl::StatusOr<BlockStats> Observe(
      const ObserveRequest& request, const CalibrationProgressFn& progress) = 0;
  absl::StatusOr<BlockStats> Observe(const StatsNeeds& needs,
                                     const CalibrationProgressFn& progress) {
    return Observe(RequestFor(needs), progress);
  }
  // Runs the block as the overlay shows it now (the original one with
  // kOriginal) and goes on to the next one. After an error, Cancelled
  // included, samples are partly advanced: all but Restore then gives
  // FailedPrecondition.
  virtual absl::Status Advance(const CalibrationProgressFn& progress) = 0;

  // Statistics of the output matrix's input, after the last block (the final
  // norm applied), under the name output.weight. FailedPrecondition before.
  virtual absl::StatusOr<BlockStats> ObserveOutput(
      const ObserveRequest& request) = 0;
  absl::StatusOr<BlockStats> ObserveOutput(const StatsNeeds& needs) {
    return ObserveOutput(RequestFor(needs));
  }

  // Hidden states before the present block (after the last one, what it puts
  // out) of samples [first, first + n): those that Observe's inputs come of.
  virtual absl::Status ReadStates(int64_t first, int64_t n,
                                  HiddenStates* states) const = 0;

  // What a later run needs to go on with the present block: complete under
  // its name or not at all. Restore, of a calibrator made of the same samples
  // and model: DataLoss for a damaged file or one of other samples, model or
  // options (`fingerprint` is the caller's own), and nothing is changed; the
  // weights of finished blocks are not needed.
  virtual absl::Status Save(const std::string& path,
                            uint64_t fingerprint) const = 0;
  virtual absl::Status Restore(const std::string& path,
                               uint64_t fingerprint) = 0;

 private:
  static ObserveRequest RequestFor(const StatsNeeds& needs) {
    ObserveRequest request;
    request.needs = needs;
    return request;
  }
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_BLOCK_CALIBRATOR_H_
