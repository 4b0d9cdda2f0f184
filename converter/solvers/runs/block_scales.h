// Scales of short blocks of consecutive weights, chosen among a few candidates
// for each block by (weighted) squared error.
//
//   BlockSearch search;
//   search.block = 16;  search.grid = ...;  search.candidates = ...;
//   BlockScales blocks(problem, importance, search);
//   ASSIGN_OR_RETURN(SolverReport report, blocks.Choose(&scales));
//   RETURN_IF_ERROR(blocks.Round(scales, RunDivision::kDivide, codes));
//
// Blocks are those of the row-major matrix, whatever its rows. Sixteen stand
// side by side (kernels/runs), so that a candidate costs a few instructions a
// weight. The same for any number of threads and instruction set, and on the
// problem's device (kernels/runs/device), of whose memory only batches are
// taken where it is short, or the processor does it; notes say so.

#ifndef NARROW_CONVERTER_SOLVERS_RUNS_BLOCK_SCALES_H_
#define NARROW_CONVERTER_SOLVERS_RUNS_BLOCK_SCALES_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "converter/solvers/solver.h"
#include "kernels/runs/device/device_blocks.h"
#include "kernels/runs/run_candidates.h"
#include "kernels/runs/runs.h"

namespace narrow {

struct BlockSearch {
  RunGrid grid;
  int64_t block = 64;
  // Positive scales to try, the peers' choice first.
  RunCandidates candidates;
  // Least-squares scales of the chosen one's codes, where any float may be
  // stored.
  int n_refits = 0;
};

class BlockScales {
 public:
  // All borrowed. `importance` [n_cols] or empty.
  BlockScales(const SolverProblem& problem,
              const std::vector<float>& importance, const BlockSearch& search);

  // One scale a block, by which codes are multiplied. A last block that is
  // short gets the first candidate. The report has the errors under the first
  // candidates and under those that were chosen. Errors: the device's, but for
  // memory.
  absl::StatusOr<SolverReport> Choose(std::vector<float>* scales);

  // Codes [n_rows, n_cols] under the scales. A short last block is divided by
  // its scale in any case, as bitsandbytes does. Errors as of Choose, after
  // which it comes.
  absl::Status Round(const std::vector<float>& scales, RunDivision division,
                     uint8_t* codes);

 private:
  absl::Status OpenDevice(SolverReport* report);

  const SolverProblem& problem_;
  const std::vector<float>& importance_;
  const BlockSearch& search_;
  std::unique_ptr<DeviceBlocks> on_device_;  // nullptr: the processor
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_RUNS_BLOCK_SCALES_H_
