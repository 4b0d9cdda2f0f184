// Validation of a release's output by `narrow validate`'s own function.

#ifndef NARROW_CONVERTER_BATCH_TARGET_VALIDATE_TARGET_H_
#define NARROW_CONVERTER_BATCH_TARGET_VALIDATE_TARGET_H_

#include <string>

#include "absl/status/statusor.h"
#include "calibration/model_runner.h"
#include "converter/batch/release.pb.h"
#include "converter/batch/release_file.h"
#include "validate/validation.h"

namespace narrow {

// Errors of Validate. `runner`: threads, and the device if there is one; what
// is measured is in float32. `expected` as in ValidationOptions.
absl::StatusOr<RecordedValidation> ValidateTarget(
    const std::string& original, const PlannedTarget& target,
    const ReleaseValidation& settings, const std::string& cache,
    const RunnerOptions& runner, const ExpectedTypesFn& expected,
    const ValidationProgressFn& progress);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_TARGET_VALIDATE_TARGET_H_
