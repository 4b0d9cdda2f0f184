// A model's matrices solved block by block against statistics of what goes
// into them, with everything finished kept for a later run.
//
//   CompensatedRun run(&model, {&plan}, &samples, options);
//   ASSIGN_OR_RETURN(uint64_t print, run.Fingerprint());
//   RETURN_IF_ERROR(run.Blocks(print, &store, on_saved));
//
// One-shot: all statistics are the original model's, matrices do not depend
// on each other, and several plans share one pass. Sequential: a block sees
// what the blocks before it, and a site of it what the sites before it, will
// compute in the file, and is solved towards the outputs of the original; one
// plan a run. Belongs to one thread.

#ifndef NARROW_CONVERTER_COMPENSATED_COMPENSATED_RUN_H_
#define NARROW_CONVERTER_COMPENSATED_COMPENSATED_RUN_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/backward/output_moments.h"
#include "calibration/blockwise/block_calibrator.h"
#include "calibration/blockwise/layer_stats.h"
#include "calibration/blockwise/observe_request.h"
#include "calibration/blockwise/samples.h"
#include "calibration/blockwise/token_weights.h"
#include "calibration/model_runner.h"
#include "converter/compensated/solve_targets.h"
#include "converter/compensated/solve_tensor.h"
#include "converter/compensated/solved_store.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "formats/overlay_source.h"

namespace narrow {

// After each block; the output matrix counts as one.
struct SolveProgress {
  int64_t block = 0;
  int64_t n_blocks = 0;
  double observe_seconds = 0;
  double solve_seconds = 0;
  double advance_seconds = 0;
  double error = 0;  // mean relative error of its matrices
  double error_plain = 0;
};

using SolveFn =
    std::function<absl::StatusOr<CompensatedResult>(const CompensatedProblem&)>;

struct CompensatedRunOptions {
  bool one_shot = false;
  CompensatedOptions solver;
  // Sequentially: the last of every so many windows judges how much of the
  // drift is corrected, and is left out of all else; 0: none is.
  int64_t held_out_every = 8;
  // Tokens weigh as the reverse pass says; WriteCompensated makes `weights`.
  bool fisher = false;
  const TokenWeights* weights = nullptr;
  // Outputs of matrices with at most so many of them weigh together, by the
  // second moments of their gradients; 0: of none. Needs `fisher`.
  int64_t max_coupled_outputs = 0;
  const OutputMoments* moments = nullptr;  // likewise
  SolveFn solve;                           // SolveCompensated, but for tests
  int n_threads = 0;
  int64_t hidden_bytes = int64_t{4} << 30;
  std::function<void(const SolveProgress&)> on_block;
  const std::atomic<bool>* cancelled = nullptr;
};

class CompensatedRun {
 public:
  // Pointers must outlive the run. REQUIRES: one plan unless one-shot.
  CompensatedRun(const Checkpoint* model, std::vector<const Plan*> plans,
                 const CalibrationSamples* samples,
                 const CompensatedRunOptions& options);

  // Of everything that the bytes depend on.
  absl::StatusOr<uint64_t> Fingerprint() const;

  // Solves the blocks that `store` does not have, and leaves all of them
  // loaded there. `on_saved` is called once there is something to go on from.
  // DataLoss names a weight that is not finite.
  absl::Status Blocks(uint64_t fingerprint, SolvedStore* store,
                      const std::function<void()>& on_saved);
  int64_t n_resumed() const { return n_resumed_; }
  // Before Blocks; must outlive it.
  void set_fisher(const FisherWeights* fisher) {
    options_.weights = &fisher->tokens;
    options_.moments = fisher->moments.get();
  }

 private:
  // One tensor of one plan.
  struct Job {
    int output;
    SolveTarget target;
    const PlannedTensor* planned;
  };

  ObserveRequest Request(const std::vector<Job>& jobs) const;
  std::vector<Job> JobsOf(int block) const;
  std::vector<std::vector<Job>> SitesOf(const BlockSites& sites,
                                        std::vector<Job> jobs) const;
  absl::Status ReadMatrix(const PlannedTensor& planned, int64_t matrix,
                          std::vector<float>* weights);
  absl::Status OneBlock(BlockCalibrator* calibrator, SolvedStore* store);
  absl::Status OutputMatrix(BlockCalibrator* calibrator, SolvedStore* store);
  absl::Status Solve(const std::vector<Job>& jobs, const BlockStats& stats,
                     std::vector<SolvedTensor>* solved);
  absl::StatusOr<SolvedTensor> SolveTensor(const Job& job,
                                           const BlockStats& stats,
                                           std::vector<float>* shown);
  absl::StatusOr<CompensatedResult> SolveMatrix(const PlannedTensor& planned,
                                                int64_t matrix,
                                                const LayerStats* stats,
                                                std::vector<float>* weights,
                                                SolvedReport* report);
  void Decode(const BlockCodec& codec, const std::vector<uint8_t>& bytes,
              int64_t n_rows, int64_t n_cols, float* out);
  void Report(const std::vector<SolvedTensor>& solved, SolveProgress progress);

  const Checkpoint& model_;
  const std::vector<const Plan*> plans_;
  const CalibrationSamples& samples_;
  CompensatedRunOptions options_;
  ThreadPool pool_;
  std::vector<Job> jobs_;
  // The model as the runner sees it, and what it shows of solved matrices.
  std::unique_ptr<Checkpoint> shown_;
  OverlaySource* overlay_ = nullptr;
  int64_t n_resumed_ = 0;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_COMPENSATED_RUN_H_
