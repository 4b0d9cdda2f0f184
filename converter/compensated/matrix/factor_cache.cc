// Tested by solve_tensor_test.cc.

#include "converter/compensated/matrix/factor_cache.h"

#include <utility>

#include "formats/base/status.h"

namespace narrow {

absl::StatusOr<std::shared_ptr<const FactoredMetric>> FactorProblem(
    const CompensatedProblem& problem) {
  auto made = std::make_shared<FactoredMetric>();
  Metric metric = MakeMetric(problem);
  ASSIGN_OR_RETURN(made->factor, FactorMetric(problem, &metric, &made->notes));
  made->damping = metric.damping;
  return std::shared_ptr<const FactoredMetric>(std::move(made));
}

absl::StatusOr<std::shared_ptr<const FactoredMetric>> FactorCache::Get(
    const CompensatedProblem& problem) {
  const std::tuple<int, int> key = {problem.codec->block, problem.codec->unit};
  const auto known = known_.find(key);
  if (known != known_.end()) {
    return known->second;
  }
  ASSIGN_OR_RETURN(const auto made, FactorProblem(problem));
  known_[key] = made;
  return made;
}

}  // namespace narrow
