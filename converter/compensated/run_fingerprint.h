// What is solved how, and a number for all that the resulting bytes depend on.

#ifndef NARROW_CONVERTER_COMPENSATED_RUN_FINGERPRINT_H_
#define NARROW_CONVERTER_COMPENSATED_RUN_FINGERPRINT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "calibration/blockwise/samples.h"
#include "converter/compensated/block_judge.h"
#include "converter/compensated/matrix/solve_tensor.h"
#include "converter/compensated/solve_targets.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// One tensor of one plan.
struct SolveJob {
  int output = 0;
  SolveTarget target;
  const PlannedTensor* planned = nullptr;
};

struct SolveSettings {
  bool one_shot = false;
  CompensatedOptions solver;
  // Sequentially: the last of every so many windows judges how much of the
  // drift is corrected, and is left out of all else; 0: none is.
  int64_t held_out_every = 8;
  // Tokens weigh as the reverse pass says.
  bool fisher = false;
  // Outputs of matrices with at most so many of them weigh together, by the
  // second moments of their gradients; 0: of none. Needs `fisher`.
  int64_t max_coupled_outputs = 0;
};

// `embedding`: where blocks see it as the file will hold it; nullptr: as it
// is. The same on every machine. DataLoss and others: rows that cannot be read.
absl::StatusOr<uint64_t> FingerprintOf(const Checkpoint& model,
                                       const CalibrationSamples& samples,
                                       const VerifyWindows& verify,
                                       const SolveSettings& settings,
                                       const std::vector<SolveJob>& jobs,
                                       const PlannedTensor* embedding);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_RUN_FINGERPRINT_H_
