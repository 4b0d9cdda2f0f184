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
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/blockwise/block_calibrator.h"
#include "calibration/blockwise/layer_stats.h"
#include "calibration/blockwise/observe_request.h"
#include "calibration/blockwise/samples.h"
#include "calibration/model_runner.h"
#include "converter/compensated/block_judge.h"
#include "converter/compensated/run_fingerprint.h"
#include "converter/compensated/solved_store.h"
#include "converter/compensated/tensor_solver.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "formats/overlay_source.h"
#include "kernels/device.h"

namespace narrow {

// After each block; the output matrix counts as one, number n_blocks, and the
// token embedding, which comes first, is number n_blocks + 1.
struct SolveProgress {
  int64_t block = 0;
  int64_t n_blocks = 0;
  double observe_seconds = 0;
  double solve_seconds = 0;
  double verify_seconds = 0;
  double advance_seconds = 0;
  double error = 0;  // mean relative error of its matrices
  double error_plain = 0;
  std::vector<BlockVerdict> verdicts;
};

struct CompensatedRunOptions {
  SolveSettings settings;
  // The last windows of the samples, on which blocks are judged; with none,
  // all are kept as solved.
  VerifyWindows verify;
  SolveFn solve;  // SolveCompensated, but for tests
  int n_threads = 0;
  int64_t hidden_bytes = int64_t{4} << 30;
  // Where statistics are gathered, matrices solved and blocks judged, with the
  // same bits (block_calibrator.h, placed_rows.h).
  std::optional<Device> device;
  std::function<void(absl::string_view)> on_device_note;
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
  // Token weights and, where outputs are coupled, their moments. Before
  // Blocks; must outlive it.
  void set_fisher(const FisherWeights* fisher) { fisher_ = fisher; }

 private:
  // What is solved in one block, by what can be observed together.
  using Sites = std::vector<std::vector<SolveJob>>;

  ObserveRequest Request(const std::vector<SolveJob>& jobs) const;
  std::vector<SolveJob> JobsOf(int64_t block) const;
  Sites SitesOf(const BlockSites& sites, std::vector<SolveJob> jobs) const;
  absl::Status Begin(uint64_t fingerprint, SolvedStore* store,
                     const std::function<void()>& on_saved);
  // Solves it where that is asked for, and loads its rows.
  absl::Status Embedding(SolvedStore* store);
  absl::Status OneBlock(SolvedStore* store);
  absl::Status OutputMatrix(SolvedStore* store);
  absl::Status Solve(const std::vector<SolveJob>& jobs, const BlockStats& stats,
                     std::vector<SolvedTensor>* solved);
  absl::Status Verify(const std::vector<SolveJob>& jobs,
                      std::vector<SolvedTensor>* solved,
                      SolveProgress* progress);
  void Report(const std::vector<SolvedTensor>& solved,
              SolveProgress progress) const;

  const Checkpoint& model_;
  const std::vector<const Plan*> plans_;
  const CalibrationSamples& samples_;
  const CompensatedRunOptions options_;
  const FisherWeights* fisher_ = nullptr;
  ThreadPool pool_;
  std::vector<SolveJob> jobs_;
  // The model as the runner sees it, and what it shows of solved matrices.
  std::unique_ptr<Checkpoint> shown_;
  OverlaySource* overlay_ = nullptr;
  // The token embedding as the file will hold it, where that is another and
  // blocks see it; nullptr: they see the model's.
  const PlannedTensor* embedding_ = nullptr;
  // From Begin on.
  std::unique_ptr<BlockCalibrator> calibrator_;
  std::unique_ptr<TensorSolver> solver_;
  std::unique_ptr<BlockJudge> judge_;  // nullptr: blocks are not judged
  int64_t n_resumed_ = 0;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_COMPENSATED_RUN_H_
