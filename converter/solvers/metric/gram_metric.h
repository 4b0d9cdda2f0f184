// A problem's Gram matrix as solvers with error feedback see it: damped,
// factored in an order of columns, in float32; and the weights to aim at.
//
//   GramMetric metric = MakeGramMetric(problem, layout);
//   ASSIGN_OR_RETURN(const GramFactor factor,
//                    FactorGram(problem, order, &metric, &report));
//   Feedback(targets, factor.view(), options, &rows, problem.pool);
//   const std::vector<float> gram = ScaledGram(problem, metric);
//
// When things go wrong. H + damping I is factored in double. A pivot that is
// not positive (a Gram matrix of fewer rows than columns, damping 0) raises
// the damping by damping_step, then twice that and so on; the report says so,
// and what it was in the end. Columns without input count by their damping
// alone. If no input was ever seen, all count the same.
//
// Memory: 8 n^2 bytes while it is factored, 4 n^2 for the factor and as many
// for the Gram matrix in float32. The same bits for any number of threads.

#ifndef NARROW_CONVERTER_SOLVERS_METRIC_GRAM_METRIC_H_
#define NARROW_CONVERTER_SOLVERS_METRIC_GRAM_METRIC_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "converter/solvers/solver.h"
#include "kernels/grid/feedback.h"
#include "kernels/linalg/cholesky.h"

namespace narrow {

// Borrows the statistics.
struct GramMetric {
  const double* gram = nullptr;
  int64_t n = 0;
  std::vector<int32_t> layout;  // column of the tensor at a place here
  double mean = 0;              // of the diagonal
  double damping = 0;           // times `mean`
  bool empty = false;           // no input was seen

  double At(int64_t i, int64_t j) const {
    const double value =
        empty ? (i == j ? 1.0 : 0.0)
              : gram[static_cast<int64_t>(layout[static_cast<size_t>(i)]) * n +
                     layout[static_cast<size_t>(j)]];
    return i == j ? value + damping * mean : value;
  }
};

// H = M D M^T with rows and columns in `order`.
struct GramFactor {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<float[], Free> m;  // [n, n]
  std::vector<float> pivots;         // [n], D over the mean diagonal
  std::vector<int32_t> order;        // empty: the natural one

  FeedbackFactor view() const;
  // What a column's own error costs once later ones made up for it: D, at the
  // columns' places.
  std::vector<float> PivotsByColumn() const;
};

// 0, 1 ... n - 1.
std::vector<int32_t> Numbers(int64_t n);
// Places of the largest first; equal ones in their own order.
std::vector<int32_t> Descending(const std::vector<double>& keys);
// Of the problem's Gram matrix. REQUIRES: CheckGram.
std::vector<double> GramDiagonal(const SolverProblem& problem);

// REQUIRES: CheckGram.
GramMetric MakeGramMetric(const SolverProblem& problem,
                          std::vector<int32_t> layout);

// `order` empty: the natural one. Raises metric->damping until H has a factor,
// and notes that. DataLoss: it
// never has one; ResourceExhausted: no memory.
absl::StatusOr<GramFactor> FactorGram(const SolverProblem& problem,
                                      std::vector<int32_t> order,
                                      GramMetric* metric, SolverReport* report);

// H / mean diagonal in float32: sums of large activations stay in range.
std::vector<float> ScaledGram(const SolverProblem& problem,
                              const GramMetric& metric);

// What solvers that factor it themselves share with FactorGram.
inline constexpr int kMaxDampings = 12;  // the last is 2^11 steps
// Inputs that have nothing in common and equal sizes have pivots 1.
double PivotUnit(const GramMetric& metric);
std::string DampingRaised(double asked, const GramMetric& metric);
absl::Status NotPositive(const SolverProblem& problem, const GramMetric& metric,
                         const FactorResult& result);

// Columns without input, few rows.
void NoteOddStatistics(const SolverProblem& problem, const GramMetric& metric,
                       std::vector<std::string>* notes);

// Moves `targets`, the problem's weights, to undo the drift of the inputs
// (drift.h). FailedPrecondition: without cross moments.
absl::Status CorrectTargets(const SolverProblem& problem,
                            std::vector<float>* targets, SolverReport* report);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_METRIC_GRAM_METRIC_H_
