// The baseline that a solver is held against: the codec's own encoder, block
// by block, with the mean squares of the input as importance.

#ifndef NARROW_CONVERTER_COMPENSATED_MATRIX_PLAIN_BLOCKS_H_
#define NARROW_CONVERTER_COMPENSATED_MATRIX_PLAIN_BLOCKS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/compensated/matrix/metric.h"
#include "converter/compensated/matrix/solve_tensor.h"

namespace narrow {

// Of problem.importance where it is given. Rows are shared out to threads, or
// go to the problem's encoders, whose errors are returned.
absl::StatusOr<std::vector<uint8_t>> EncodePlainly(
    const CompensatedProblem& problem, const Metric& metric);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_MATRIX_PLAIN_BLOCKS_H_
