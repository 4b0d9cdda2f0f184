// How far a written file is from the model, on windows that nothing was
// fitted to.
//
//   ASSIGN_OR_RETURN(double kl, MeasureDivergence(original, written, samples,
//                                                 n_threads));

#ifndef NARROW_CONVERTER_ALLOCATION_MEASURE_DIVERGENCE_H_
#define NARROW_CONVERTER_ALLOCATION_MEASURE_DIVERGENCE_H_

#include "absl/status/statusor.h"
#include "calibration/blockwise/samples.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

// The mean KL divergence of `written` from `original`, nats a token, over the
// tokens of the second half of each window that count. The same for any number
// of threads and instruction set. InvalidArgument: no such token.
absl::StatusOr<double> MeasureDivergence(const Checkpoint& original,
                                         const Checkpoint& written,
                                         const CalibrationSamples& samples,
                                         int n_threads);

}  // namespace narrow

#endif  // NARROW_CONVERTER_ALLOCATION_MEASURE_DIVERGENCE_H_
