// A matrix's Gram matrix as its solver sees it: damped, factored, in orders of
// columns, in float32.
//
//   Metric metric = MakeMetric(problem);
//   ASSIGN_OR_RETURN(FeedFactor factor,
//                    FactorMetric(problem, &metric, &notes));
//   std::vector<float> gram = GramInFloat(problem, metric);
//
// Threads are the problem's; the same bits for any number of them.

#ifndef NARROW_CONVERTER_COMPENSATED_MATRIX_METRIC_H_
#define NARROW_CONVERTER_COMPENSATED_MATRIX_METRIC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/compensated/matrix/solve_tensor.h"
#include "kernels/compensated/compensated.h"

namespace narrow {

// A problem's Gram matrix with what is added to its diagonal. Borrows.
struct Metric {
  const double* gram = nullptr;
  int64_t n = 0;
  double mean = 0;          // of the diagonal
  double damping = 0;       // times the mean
  double feed_damping = 0;  // the same, added for error feedback

  double At(int64_t i, int64_t j) const {
    return gram[i * n + j] + (i == j ? damping * mean : 0);
  }
};

Metric MakeMetric(const CompensatedProblem& problem);

// The factor that error feedback runs on. Raises metric->damping until there
// is one, and says so in `notes`. DataLoss: there is none.
absl::StatusOr<FeedFactor> FactorMetric(const CompensatedProblem& problem,
                                        Metric* metric,
                                        std::vector<std::string>* notes);

// Column order number `number`, 1 and up, whole units together: the largest
// mean squares first, backwards, then shuffles.
std::vector<int32_t> MakeOrder(const CompensatedProblem& problem,
                               const Metric& metric, int number);
// The factor in an order; none if the metric has none as it is, or a device
// fails.
std::optional<FeedFactor> FactorInOrder(const CompensatedProblem& problem,
                                        const Metric& metric,
                                        std::vector<int32_t> order);

// H / mean diagonal in float32: sums of large activations stay in range.
std::vector<float> GramInFloat(const CompensatedProblem& problem,
                               const Metric& metric);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_MATRIX_METRIC_H_
