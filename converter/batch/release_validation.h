// How a release's candidates are measured, checked and completed.

#ifndef NARROW_CONVERTER_BATCH_RELEASE_VALIDATION_H_
#define NARROW_CONVERTER_BATCH_RELEASE_VALIDATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "converter/batch/release.pb.h"

namespace narrow {

// With names of texts, and paths, which are relative to `folder`, as they are
// opened. InvalidArgument: nothing to measure on, texts of one name, numbers
// that narrow validate would refuse.
absl::StatusOr<ReleaseValidation> PlanValidation(const ReleaseValidation& asked,
                                                 const std::string& folder);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_RELEASE_VALIDATION_H_
