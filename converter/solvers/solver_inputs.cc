#include "converter/solvers/solver_inputs.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/runs/runs.h"

namespace narrow {
namespace {

// Rows a thread takes at once.
constexpr int64_t kRowsAtOnce = 16;

// body(row) for all rows; its results are added in the order of rows.
template <typename Body>
double SumOverRows(const SolverProblem& problem, const Body& body) {
  std::vector<double> sums(static_cast<size_t>(problem.n_rows));
  const int64_t n_parts = (problem.n_rows + kRowsAtOnce - 1) / kRowsAtOnce;
  const auto part = [&](int64_t p) {
    const int64_t end = std::min((p + 1) * kRowsAtOnce, problem.n_rows);
    for (int64_t row = p * kRowsAtOnce; row < end; ++row) {
      sums[static_cast<size_t>(row)] = body(row);
    }
  };
  problem.pool->ParallelFor(n_parts, part);
  double total = 0;
  for (const double sum : sums) {
    total += sum;
  }
  return total;
}

}  // namespace

absl::Status CheckWeights(const SolverProblem& problem) {
  const RunKernels& kernels = RunKernelsForCpu();
  std::vector<uint8_t> is_bad(static_cast<size_t>(problem.n_rows));
  problem.pool->ParallelFor(problem.n_rows, [&](int64_t row) {
    is_bad[static_cast<size_t>(row)] = std::isinf(kernels.max_abs(
        problem.weights + row * problem.n_cols, problem.n_cols));
  });
  const auto bad = std::find(is_bad.begin(), is_bad.end(), 1);
  if (bad == is_bad.end()) {
    return absl::OkStatus();
  }
  const int64_t row = bad - is_bad.begin();
  const float* weights = problem.weights + row * problem.n_cols;
  int64_t col = 0;
  while (std::isfinite(weights[col])) {
    ++col;
  }
  return absl::DataLossError(absl::StrCat("tensor ", QuotedName(problem.name),
                                          " has the weight ", weights[col],
                                          " at [", row, ", ", col, "]"));
}

absl::Status CheckGram(absl::string_view name, int64_t n_cols,
                       const LayerStats* stats) {
  if (stats == nullptr || stats->gram.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "tensor ", QuotedName(name), " has no Gram matrix of its inputs"));
  }
  const int64_t n = n_cols;
  if (stats->n_cols != n ||
      stats->gram.size() != static_cast<size_t>(n) * static_cast<size_t>(n)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", QuotedName(name), " has ", n,
                     " columns, its statistics are of ", stats->n_cols));
  }
  for (int64_t i = 0; i < n; ++i) {
    // A sum of magnitudes is finite if all are.
    double sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      sum += std::abs(stats->gram[static_cast<size_t>(i * n + j)]);
    }
    const double diagonal = stats->gram[static_cast<size_t>(i * n + i)];
    if (!std::isfinite(sum) || diagonal < 0) {
      return absl::DataLossError(
          absl::StrCat("the Gram matrix of tensor ", QuotedName(name),
                       " has a value in row ", i,
                       " that is no number; its diagonal is ", diagonal));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> ColumnWeights(const SolverProblem& problem) {
  std::vector<float> result;
  const LayerStats* stats = problem.stats;
  const bool has_stats =
      stats != nullptr && stats->n_rows > 0 && !stats->sum_sq.empty();
  if (!problem.options->weighted_fit ||
      (!has_stats && problem.importance == nullptr)) {
    return result;
  }
  std::vector<double> squares(static_cast<size_t>(problem.n_cols));
  double total = 0;
  for (size_t i = 0; i < squares.size(); ++i) {
    squares[i] = has_stats ? stats->MeanSquare(static_cast<int64_t>(i))
                           : double{problem.importance[i]};
    if (!std::isfinite(squares[i]) || squares[i] < 0) {
      return absl::DataLossError(
          absl::StrCat("the importance of column ", i, " of tensor ",
                       QuotedName(problem.name), " is ", squares[i]));
    }
    total += squares[i];
  }
  const double mean = total / static_cast<double>(problem.n_cols);
  if (!(mean > 0)) {
    return result;
  }
  for (const double square : squares) {
    result.push_back(static_cast<float>(std::max(square / mean, 1e-6)));
  }
  return result;
}

double Energy(const SolverProblem& problem,
              const std::vector<float>& importance) {
  return SumOverRows(problem, [&](int64_t row) {
    const float* weights = problem.weights + row * problem.n_cols;
    double sum = 0;
    for (int64_t i = 0; i < problem.n_cols; ++i) {
      const double square = double{weights[i]} * double{weights[i]};
      sum += importance.empty()
                 ? square
                 : square * double{importance[static_cast<size_t>(i)]};
    }
    return sum;
  });
}

double SquaredError(const SolverProblem& problem,
                    const std::vector<float>& importance,
                    const QuantizedMatrix& matrix) {
  return SumOverRows(problem, [&](int64_t row) {
    const float* weights = problem.weights + row * problem.n_cols;
    std::vector<float> decoded(static_cast<size_t>(problem.n_cols));
    DequantizeRows(matrix, row, 1, decoded.data());
    double sum = 0;
    for (size_t i = 0; i < decoded.size(); ++i) {
      const double miss = double{weights[i]} - double{decoded[i]};
      sum += importance.empty() ? miss * miss
                                : miss * miss * double{importance[i]};
    }
    return sum;
  });
}

double Ratio(double error, double energy) {
  return energy > 0 ? error / energy : 0;
}

std::string SolvedOnProcessor(const absl::Status& status) {
  return absl::StrCat("solved on the processor: ", status.message());
}

absl::StatusOr<float> StaticInputScale(const SolverProblem& problem,
                                       float limit) {
  const LayerStats* stats = problem.stats;
  if (stats == nullptr || stats->n_rows == 0 || stats->max_abs.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "tensor ", QuotedName(problem.name),
        ": static scales of its inputs need calibration, which saw none; give "
        "more samples, or other activations than static"));
  }
  float top = 0;
  for (const float value : stats->max_abs) {
    top = std::max(top, value);
    if (!std::isfinite(value)) {
      return absl::DataLossError(absl::StrCat(
          "an input of tensor ", QuotedName(problem.name), " reached ", value));
    }
  }
  return top > 0 ? top / limit : 1.0f;
}

}  // namespace narrow
