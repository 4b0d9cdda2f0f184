#include "converter/solvers/drift.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/linalg/cholesky.h"
#include "kernels/linalg/gemm.h"

namespace narrow {
namespace {

// Rows corrected at once, so that doubles of a large matrix need no memory.
constexpr int64_t kRowsAtOnce = 256;
// Largest share of a row's own output, squared, that a correction may have.
constexpr double kMaxShare = 0.25;
constexpr int kMaxTries = 20;

absl::Status CheckCross(const SolverProblem& problem) {
  const LayerStats* stats = problem.stats;
  const size_t n = static_cast<size_t>(problem.n_cols);
  if (stats->cross.size() != n * n) {
    return absl::FailedPreconditionError(
        absl::StrCat("tensor ", QuotedName(problem.name),
                     " has no cross moments of original and quantized inputs"));
  }
  for (const double value : stats->cross) {
    if (!std::isfinite(value)) {
      return absl::DataLossError(absl::StrCat("the cross moments of tensor ",
                                              QuotedName(problem.name),
                                              " hold the value ", value));
    }
  }
  return absl::OkStatus();
}

double MeanDiagonal(const LayerStats& stats, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += stats.gram[static_cast<size_t>(i * n + i)];
  }
  return sum / static_cast<double>(n);
}

// R of H + lambda; lambda is doubled until there is one.
absl::StatusOr<std::vector<double>> FactorOf(const SolverProblem& problem,
                                             double* lambda) {
  const size_t n = static_cast<size_t>(problem.n_cols);
  std::vector<double> r;
  for (int tries = 0; tries < kMaxTries; ++tries, *lambda *= 2) {
    r = problem.stats->gram;
    for (size_t i = 0; i < n; ++i) {
      r[i * n + i] += *lambda;
    }
    if (FactorUpper(problem.pool, problem.n_cols, r.data()).failed_at < 0) {
      return r;
    }
  }
  return absl::DataLossError(
      absl::StrCat("the Gram matrix of tensor ", QuotedName(problem.name),
                   " is not positive, even with ", *lambda, " added"));
}

// x H x^T of rows, through products [n_rows, n] in double.
std::vector<double> Energies(const SolverProblem& problem,
                             const std::vector<double>& rows, int64_t n_rows) {
  const int64_t n = problem.n_cols;
  std::vector<double> products(rows.size());
  Gemm(problem.pool, Update::kSet, n_rows, n, n, rows.data(), n,
       problem.stats->gram.data(), n, products.data(), n);
  std::vector<double> energies(static_cast<size_t>(n_rows), 0.0);
  for (size_t i = 0; i < rows.size(); ++i) {
    energies[i / static_cast<size_t>(n)] += rows[i] * products[i];
  }
  return energies;
}

// Corrects some rows; returns how many stayed.
int64_t CorrectRows(const SolverProblem& problem, const std::vector<double>& r,
                    int64_t first, int64_t n_rows, float* targets) {
  const int64_t n = problem.n_cols;
  const float* const from = problem.weights + first * n;
  const std::vector<double> weights(from, from + n_rows * n);
  std::vector<double> change(weights.size());
  Gemm(problem.pool, Update::kSet, n_rows, n, n, weights.data(), n,
       problem.stats->cross.data(), n, change.data(), n);
  SolveRows(problem.pool, r.data(), n, change.data(), n_rows);
  for (double& value : change) {
    value *= problem.options->drift;
  }
  const std::vector<double> own = Energies(problem, weights, n_rows);
  const std::vector<double> moved = Energies(problem, change, n_rows);
  int64_t n_kept = 0;
  for (int64_t row = 0; row < n_rows; ++row) {
    const size_t at = static_cast<size_t>(row);
    if (!(moved[at] <= kMaxShare * own[at])) {
      ++n_kept;
      continue;
    }
    for (int64_t j = 0; j < n; ++j) {
      const size_t i = static_cast<size_t>(row * n + j);
      targets[first * n + row * n + j] =
          static_cast<float>(weights[i] + change[i]);
    }
  }
  return n_kept;
}

}  // namespace

absl::StatusOr<std::string> CorrectDrift(const SolverProblem& problem,
                                         std::vector<float>* targets) {
  RETURN_IF_ERROR(CheckCross(problem));
  const double mean = MeanDiagonal(*problem.stats, problem.n_cols);
  if (!(mean > 0)) {
    return std::string("drift: no input was seen, nothing is corrected");
  }
  double lambda = std::max(problem.options->drift_damping, 1e-9) * mean;
  ASSIGN_OR_RETURN(const std::vector<double> r, FactorOf(problem, &lambda));
  int64_t n_kept = 0;
  for (int64_t first = 0; first < problem.n_rows; first += kRowsAtOnce) {
    n_kept += CorrectRows(problem, r, first,
                          std::min(kRowsAtOnce, problem.n_rows - first),
                          targets->data());
  }
  return absl::StrCat("drift of the inputs: ", problem.n_rows - n_kept, " of ",
                      problem.n_rows, " rows corrected with damping ",
                      lambda / mean);
}

}  // namespace narrow
