// Validation of a release's output by `narrow validate`'s own function.

#ifndef NARROW_CONVERTER_BATCH_VALIDATE_TARGET_H_
#define NARROW_CONVERTER_BATCH_VALIDATE_TARGET_H_

#include <string>

#include "absl/status/statusor.h"
#include "converter/batch/release.pb.h"
#include "converter/batch/release_file.h"
#include "validate/validation.h"

namespace narrow {

// Errors of Validate. `expected` as in ValidationOptions.
absl::StatusOr<RecordedValidation> ValidateTarget(
    const std::string& original, const PlannedTarget& target,
    const ReleaseValidation& settings, const std::string& cache, int n_threads,
    const ExpectedTypesFn& expected, const ValidationProgressFn& progress);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_VALIDATE_TARGET_H_
