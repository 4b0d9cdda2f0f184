// Which of a block's solved matrices are kept, by the model's divergence: a
// judge's verdicts, carried out.
//
//   BlockVerifier verifier(&solver, overlay, judge.get(), one_shot);
//   ASSIGN_OR_RETURN(std::vector<BlockVerdict> verdicts,
//                    verifier.Verify(block, states, jobs, &solved));

#ifndef NARROW_CONVERTER_COMPENSATED_BLOCK_VERIFIER_H_
#define NARROW_CONVERTER_COMPENSATED_BLOCK_VERIFIER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/model_runner.h"
#include "converter/compensated/block_judge.h"
#include "converter/compensated/run_fingerprint.h"
#include "converter/compensated/solved_store.h"
#include "converter/compensated/tensor_solver.h"
#include "formats/overlay_source.h"

namespace narrow {

class BlockVerifier {
 public:
  // Pointers must outlive the verifier.
  BlockVerifier(const TensorSolver* solver, OverlaySource* overlay,
                BlockJudge* judge, bool one_shot)
      : solver_(*solver),
        overlay_(*overlay),
        judge_(*judge),
        one_shot_(one_shot) {}

  // Judges the block (the number of blocks: the output matrix) for each output
  // some of whose `solved` bytes, one tensor a job, are not the plain ones;
  // where plain ones are better, they take the others' place. `states`: the
  // judge's windows before the block. Afterwards the overlay shows what was
  // decided, one-shot the original.
  absl::StatusOr<std::vector<BlockVerdict>> Verify(
      int64_t block, const HiddenStates& states,
      const std::vector<SolveJob>& jobs, std::vector<SolvedTensor>* solved);

 private:
  absl::Status Show(const std::vector<SolveJob>& jobs,
                    const std::vector<SolvedTensor>& solved, int output,
                    bool plain);
  absl::StatusOr<BlockVerdict> Judge(int64_t block, const HiddenStates& states,
                                     const std::vector<SolveJob>& jobs,
                                     const std::vector<SolvedTensor>& solved,
                                     int output);

  const TensorSolver& solver_;
  OverlaySource& overlay_;
  BlockJudge& judge_;
  const bool one_shot_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_BLOCK_VERIFIER_H_
