// What a solver of one matrix demands of its problem, and what is odd about it.

#ifndef NARROW_CONVERTER_COMPENSATED_MATRIX_CHECK_PROBLEM_H_
#define NARROW_CONVERTER_COMPENSATED_MATRIX_CHECK_PROBLEM_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "converter/compensated/matrix/metric.h"
#include "converter/compensated/matrix/solve_tensor.h"

namespace narrow {

// Unimplemented: a type without blocks; InvalidArgument: rows that are not
// whole blocks, options out of range, weights that are no numbers; DataLoss: a
// Gram matrix that is none.
absl::Status CheckProblem(const CompensatedProblem& problem);

// Notes for the report.
void NoteWhatIsOdd(const CompensatedProblem& problem, const Metric& metric,
                   std::vector<std::string>* notes);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_MATRIX_CHECK_PROBLEM_H_
