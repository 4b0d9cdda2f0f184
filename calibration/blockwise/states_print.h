// A number for all that hidden states depend on, so that those of another
// model or other samples are not taken for them.

#ifndef NARROW_CALIBRATION_BLOCKWISE_STATES_PRINT_H_
#define NARROW_CALIBRATION_BLOCKWISE_STATES_PRINT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "calibration/blockwise/samples.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// `original`: the states are the original model's in any case. Of the weights,
// as `model` shows them now, three rows a tensor: all would take long, and
// another model differs in any. Errors are those of reading rows.
absl::StatusOr<uint64_t> PrintOfStates(const Checkpoint& model,
                                       const CalibrationSamples& samples,
                                       bool original, Precision precision);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_STATES_PRINT_H_
