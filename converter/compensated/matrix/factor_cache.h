// What a Gram matrix costs to prepare, done once for all matrices that see the
// same input: queries, keys and values; gates and ups; one matrix as several
// types.
//
//   FactorCache cache;                 // for one LayerStats
//   problem.factors = &cache;
//   ASSIGN_OR_RETURN(auto a, SolveCompensated(problem));
//   problem.weights = ...;             // another matrix, the same statistics
//
// The factor depends on the type too, by what blocks and units it has, and is
// kept for each. Belongs to one thread.

#ifndef NARROW_CONVERTER_COMPENSATED_MATRIX_FACTOR_CACHE_H_
#define NARROW_CONVERTER_COMPENSATED_MATRIX_FACTOR_CACHE_H_

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/compensated/matrix/metric.h"
#include "converter/compensated/matrix/solve_tensor.h"
#include "kernels/compensated/compensated.h"

namespace narrow {

// A metric's factor.
struct FactoredMetric {
  double damping = 0;  // Metric's, as far as it had to be raised
  FeedFactor factor;
  std::vector<std::string> notes;  // of the damping
};

// Of a problem by itself. DataLoss: no damping gives it a factor.
absl::StatusOr<std::shared_ptr<const FactoredMetric>> FactorProblem(
    const CompensatedProblem& problem);

class FactorCache {
 public:
  // As FactorProblem's. REQUIRES: statistics, options and numbers of columns
  // that are those of every call before.
  absl::StatusOr<std::shared_ptr<const FactoredMetric>> Get(
      const CompensatedProblem& problem);

 private:
  // Block and unit of the type.
  std::map<std::tuple<int, int>, std::shared_ptr<const FactoredMetric>> known_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_MATRIX_FACTOR_CACHE_H_
