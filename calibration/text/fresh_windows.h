// Windows of a text that nothing was calibrated on, to judge the result by.
//
//   ASSIGN_OR_RETURN(CalibrationSamples fresh,
//                    SampleFreshTexts(model, paths, options, used, 16));

#ifndef NARROW_CALIBRATION_TEXT_FRESH_WINDOWS_H_
#define NARROW_CALIBRATION_TEXT_FRESH_WINDOWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calibration/blockwise/samples.h"
#include "calibration/text/sample_text.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// At most n_windows that are none of those of `used`, which SampleTexts gave
// for the same arguments; fewer, or none, where the texts have no more. Errors
// as SampleTexts'.
absl::StatusOr<CalibrationSamples> SampleFreshTexts(
    const Checkpoint& model, const std::vector<std::string>& paths,
    const SampleOptions& options, const CalibrationSamples& used,
    int64_t n_windows);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_TEXT_FRESH_WINDOWS_H_
