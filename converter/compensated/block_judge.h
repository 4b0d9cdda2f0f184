// Judges a block of matrices by the whole model: the KL divergence of the
// model's next-token probabilities from the original's, on windows that
// nothing was fitted to, with one set of weights in the block and with
// another.
//
//   ASSIGN_OR_RETURN(auto judge, BlockJudge::Create(&shown, overlay, samples,
//                                                   verify, n_threads));
//   ASSIGN_OR_RETURN(std::vector<double> kl,
//                    judge->Divergences(block, states, 2, show));
//
// Blocks after the one that is judged compute with the original's weights:
// they are not solved yet, and when they are, they will see what was decided
// here. `states` come to the block from those before it, as they were decided
// (sequentially) or the original ones (one-shot, where blocks are judged each
// for itself, so that machines may share them).
//
// A verdict costs a pass of the windows through the block for each variant,
// one of all variants through the blocks after it, and logits of the original
// and of each variant at no more than kMostPositions places: over a model,
// blocks squared. Products are reproducible, so verdicts are the same for any
// number of threads and instruction set. Belongs to one thread.

#ifndef NARROW_CONVERTER_COMPENSATED_BLOCK_JUDGE_H_
#define NARROW_CONVERTER_COMPENSATED_BLOCK_JUDGE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/blockwise/samples.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "formats/overlay_source.h"
#include "kernels/device.h"

namespace narrow {

// Windows that are set apart: the last ones of the samples, whose tokens do
// not count there.
struct VerifyWindows {
  int64_t n_windows = 0;        // 0: nothing is judged
  std::vector<uint8_t> counts;  // [n_windows, sample_tokens]: what is judged
};

struct JudgeOptions {
  int n_threads = 0;
  // Looked at between blocks; Cancelled once it is true. May be null.
  const std::atomic<bool>* cancelled = nullptr;
  // Where the model runs, with the processor's bits; where its memory is short
  // the processor goes on, which on_device_note is told.
  std::optional<Device> device;
  std::function<void(absl::string_view)> on_device_note;
};

class BlockJudge {
 public:
  // Enough to tell two variants of a block apart, which see the same tokens;
  // logits of large vocabularies cost more than blocks do.
  static constexpr int64_t kMostPositions = 1024;

  // Runs the original over the windows. `model` was opened over `overlay`;
  // both, and `samples`, must outlive the judge. InvalidArgument: none of the
  // windows' tokens counts; errors of a ModelRunner.
  static absl::StatusOr<std::unique_ptr<BlockJudge>> Create(
      const Checkpoint* model, OverlaySource* overlay,
      const CalibrationSamples& samples, const VerifyWindows& verify,
      const JudgeOptions& options);

  // The mean divergence, nats a token, of each variant of a block (the number
  // of blocks: of the output matrix). `states` [n_windows] are the windows'
  // before it. show(i) makes the overlay show variant i; the last one is shown
  // afterwards.
  absl::StatusOr<std::vector<double>> Divergences(
      int64_t block, const HiddenStates& states, int n_variants,
      const std::function<absl::Status(int)>& show);

  int64_t first_window() const { return first_window_; }
  int64_t n_windows() const { return n_windows_; }
  int64_t n_positions() const {
    return static_cast<int64_t>(positions_.size());
  }

 private:
  BlockJudge(const Checkpoint* model, OverlaySource* overlay,
             const JudgeOptions& options)
      : model_(*model),
        overlay_(overlay),
        options_(options),
        device_(options.device),
        pool_(options.n_threads) {}
  absl::Status OpenRunners();
  // Whether the processor should try again what a device had no memory for.
  absl::StatusOr<bool> LeftDevice(const absl::Status& status);
  absl::Status RunReference(const CalibrationSamples& samples);
  absl::StatusOr<std::vector<double>> DivergencesOfBlocks(
      int64_t block, const HiddenStates& states, int n_variants,
      const std::function<absl::Status(int)>& show);
  absl::Status RunOriginals(int64_t first_block, HiddenStates* hidden);
  std::vector<float> ScoredRows(const HiddenStates& hidden,
                                int64_t first_window) const;
  absl::StatusOr<std::vector<double>> DivergencesOfOutputs(
      const HiddenStates& states, int n_variants,
      const std::function<absl::Status(int)>& show);
  absl::StatusOr<std::vector<double>> DivergencesOfRows(
      const std::vector<std::vector<float>>& rows, ModelRunner* candidate);

  const Checkpoint& model_;
  OverlaySource* const overlay_;
  const JudgeOptions options_;
  std::optional<Device> device_;
  ThreadPool pool_;
  // Of the original weights, and of those that the overlay shows.
  std::unique_ptr<ModelRunner> original_, shown_;
  int64_t first_window_ = 0, n_windows_ = 0;
  std::vector<int64_t> positions_;  // tokens of the windows that are judged
  std::vector<float> reference_;    // the original's final rows there
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_BLOCK_JUDGE_H_
