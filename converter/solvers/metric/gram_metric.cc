#include "converter/solvers/metric/gram_metric.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/solvers/metric/drift.h"
#include "formats/base/status.h"
#include "kernels/linalg/cholesky.h"

namespace narrow {
namespace {

// R of H over `h`, after as much damping as that takes.
absl::Status FactorInPlace(const SolverProblem& problem,
                           const std::vector<int32_t>& order,
                           GramMetric* metric, SolverReport* report,
                           double* h) {
  const int64_t n = metric->n;
  const double asked = metric->damping;
  const auto column = [&order](int64_t place) -> int64_t {
    return order.empty() ? place : order[static_cast<size_t>(place)];
  };
  FactorResult result;
  double step = problem.options->damping_step;
  for (int tries = 0; tries < kMaxDampings; ++tries, step *= 2) {
    problem.pool->ParallelFor(n, [&](int64_t i) {
      for (int64_t j = i; j < n; ++j) {
        h[i * n + j] = metric->At(column(i), column(j));
      }
    });
    result = FactorUpper(problem.pool, n, h);
    if (result.failed_at < 0) {
      break;
    }
    metric->damping += step;
  }
  if (result.failed_at >= 0) {
    return NotPositive(problem, *metric, result);
  }
  if (metric->damping != asked) {
    report->notes.push_back(DampingRaised(asked, *metric));
  }
  return absl::OkStatus();
}

}  // namespace

double PivotUnit(const GramMetric& metric) {
  return metric.mean * (1 + metric.damping);
}

std::string DampingRaised(double asked, const GramMetric& metric) {
  return absl::StrCat(
      "damping raised from ", asked, " to ", metric.damping,
      ", as the Gram matrix is not positive definite in float64");
}

absl::Status NotPositive(const SolverProblem& problem, const GramMetric& metric,
                         const FactorResult& result) {
  return absl::DataLossError(
      absl::StrCat("the Gram matrix of tensor ", QuotedName(problem.name),
                   " is not positive even with ", metric.damping,
                   " of its mean diagonal added; pivot ", result.failed_at,
                   " is ", result.failed_pivot));
}

FeedbackFactor GramFactor::view() const {
  FeedbackFactor factor;
  factor.n = static_cast<int64_t>(pivots.size());
  factor.m = m.get();
  factor.pivots = pivots.data();
  factor.order = order;
  return factor;
}

std::vector<float> GramFactor::PivotsByColumn() const {
  std::vector<float> weights(pivots.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[order.empty() ? i : static_cast<size_t>(order[i])] = pivots[i];
  }
  return weights;
}

std::vector<int32_t> Numbers(int64_t n) {
  std::vector<int32_t> numbers(static_cast<size_t>(n));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

std::vector<int32_t> Descending(const std::vector<double>& keys) {
  std::vector<int32_t> order = Numbers(static_cast<int64_t>(keys.size()));
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return keys[static_cast<size_t>(a)] > keys[static_cast<size_t>(b)];
  });
  return order;
}

std::vector<double> GramDiagonal(const SolverProblem& problem) {
  std::vector<double> diagonal;
  for (int64_t i = 0; i < problem.n_cols; ++i) {
    diagonal.push_back(
        problem.stats->gram[static_cast<size_t>(i * problem.n_cols + i)]);
  }
  return diagonal;
}

GramMetric MakeGramMetric(const SolverProblem& problem,
                          std::vector<int32_t> layout) {
  const std::vector<double> diagonal = GramDiagonal(problem);
  GramMetric metric;
  metric.gram = problem.stats->gram.data();
  metric.n = problem.n_cols;
  metric.layout = std::move(layout);
  metric.damping = problem.options->damping;
  metric.mean = std::accumulate(diagonal.begin(), diagonal.end(), 0.0) /
                static_cast<double>(metric.n);
  metric.empty = !(metric.mean > 0);
  if (metric.empty) {
    metric.mean = 1;
  }
  return metric;
}

absl::StatusOr<GramFactor> FactorGram(const SolverProblem& problem,
                                      std::vector<int32_t> order,
                                      GramMetric* metric,
                                      SolverReport* report) {
  const int64_t n = metric->n;
  const size_t n_squared = static_cast<size_t>(n) * static_cast<size_t>(n);
  std::unique_ptr<double[], GramFactor::Free> h(
      static_cast<double*>(std::calloc(n_squared, sizeof(double))));
  if (h == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for the factor of the Gram matrix of tensor ",
                     QuotedName(problem.name), ", ", n, " x ", n));
  }
  RETURN_IF_ERROR(FactorInPlace(problem, order, metric, report, h.get()));
  GramFactor factor;
  factor.order = std::move(order);
  const double unit = PivotUnit(*metric);
  for (int64_t i = 0; i < n; ++i) {
    const double root = h[static_cast<size_t>(i * n + i)];
    factor.pivots.push_back(static_cast<float>(root * root / unit));
  }
  float* const m = UnitFactorInPlace(problem.pool, n, h.release());
  // The other half of the memory goes back where it came from.
  void* const cut = std::realloc(m, n_squared * sizeof(float));
  factor.m.reset(cut == nullptr ? m : static_cast<float*>(cut));
  return factor;
}

std::vector<float> ScaledGram(const SolverProblem& problem,
                              const GramMetric& metric) {
  const int64_t n = metric.n;
  std::vector<float> gram(static_cast<size_t>(n * n));
  problem.pool->ParallelFor(n, [&](int64_t i) {
    for (int64_t j = 0; j < n; ++j) {
      gram[static_cast<size_t>(i * n + j)] =
          static_cast<float>(metric.At(i, j) / metric.mean);
    }
  });
  return gram;
}

void NoteOddStatistics(const SolverProblem& problem, const GramMetric& metric,
                       std::vector<std::string>* notes) {
  if (metric.empty) {
    notes->push_back("no input was seen: rounded to nearest");
    return;
  }
  const std::vector<double> diagonal = GramDiagonal(problem);
  const auto n_dead = std::count(diagonal.begin(), diagonal.end(), 0.0);
  if (n_dead > 0) {
    notes->push_back(
        absl::StrCat(n_dead, " of ", problem.n_cols,
                     " columns never had an input and are rounded to nearest"));
  }
  if (problem.stats->n_rows < problem.n_cols && problem.stats->shrinkage == 0) {
    notes->push_back(absl::StrCat("only ", problem.stats->n_rows,
                                  " rows were seen for ", problem.n_cols,
                                  " columns"));
  }
}

absl::Status CorrectTargets(const SolverProblem& problem,
                            std::vector<float>* targets, SolverReport* report) {
  if (problem.stats->cross.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("tensor ", QuotedName(problem.name),
                     " has no cross moments of original and quantized inputs"));
  }
  DriftProblem drift = {problem.name,   problem.weights, problem.n_rows,
                        problem.n_cols, problem.stats,   problem.pool};
  drift.drift = problem.options->drift;
  drift.residual = problem.options->residual;
  drift.damping = problem.options->drift_damping;
  drift.device = problem.device;
  ASSIGN_OR_RETURN(std::string note, CorrectDrift(drift, targets));
  report->notes.push_back(std::move(note));
  return absl::OkStatus();
}

}  // namespace narrow
