#include "converter/solvers/metric/drift.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "converter/solvers/device/device_drift.h"
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

bool UsesCross(const DriftProblem& problem) {
  return problem.drift != 0 && !problem.stats->cross.empty();
}
bool UsesResidual(const DriftProblem& problem) {
  return problem.residual != 0 && !problem.stats->residual.empty();
}

absl::Status CheckMoments(const DriftProblem& problem, const char* kind,
                          const std::vector<double>& moments, int64_t n_rows) {
  if (moments.size() !=
      static_cast<size_t>(n_rows) * static_cast<size_t>(problem.n_cols)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", QuotedName(problem.name), ": ", kind, " has ",
                     moments.size(), " numbers, ", n_rows, " x ",
                     problem.n_cols, " are expected"));
  }
  for (const double value : moments) {
    if (!std::isfinite(value)) {
      return absl::DataLossError(absl::StrCat(kind, " of tensor ",
                                              QuotedName(problem.name),
                                              " holds the value ", value));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckAll(const DriftProblem& problem) {
  if (UsesCross(problem)) {
    RETURN_IF_ERROR(CheckMoments(problem, "the cross moment",
                                 problem.stats->cross, problem.n_cols));
  }
  if (UsesResidual(problem)) {
    RETURN_IF_ERROR(CheckMoments(problem, "the residual moment",
                                 problem.stats->residual, problem.n_rows));
  }
  return absl::OkStatus();
}

double MeanDiagonal(const DriftProblem& problem) {
  double sum = 0;
  for (int64_t i = 0; i < problem.n_cols; ++i) {
    sum += problem.stats->gram[static_cast<size_t>(i * problem.n_cols + i)];
  }
  return sum / static_cast<double>(problem.n_cols);
}

// x H x^T of rows, through products [n_rows, n] in double.
std::vector<double> Energies(const DriftProblem& problem,
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

// The correction of some rows, float32, each within its limit; returns how
// many were scaled down to it.
int64_t CorrectionOfRows(const DriftProblem& problem,
                         const std::vector<double>& r, int64_t first,
                         int64_t n_rows, float* change) {
  const int64_t n = problem.n_cols;
  const float* const from = problem.weights + first * n;
  const std::vector<double> weights(from, from + n_rows * n);
  std::vector<double> moved(weights.size(), 0.0);
  if (UsesCross(problem)) {
    Gemm(problem.pool, Update::kSet, n_rows, n, n, weights.data(), n,
         problem.stats->cross.data(), n, moved.data(), n);
  }
  const bool with_residual = UsesResidual(problem);
  for (size_t i = 0; i < moved.size(); ++i) {
    moved[i] *= problem.drift;
    if (with_residual) {
      moved[i] += problem.residual *
                  problem.stats->residual[static_cast<size_t>(first * n) + i];
    }
  }
  SolveRows(problem.pool, r.data(), n, moved.data(), n_rows);
  const std::vector<double> own = Energies(problem, weights, n_rows);
  const std::vector<double> much = Energies(problem, moved, n_rows);
  int64_t n_scaled = 0;
  for (int64_t row = 0; row < n_rows; ++row) {
    const double limit = kMaxShare * own[static_cast<size_t>(row)];
    const double is = much[static_cast<size_t>(row)];
    // (A row without output of its own stays as it is.)
    const double scale = is <= limit ? 1
                         : limit > 0 ? std::sqrt(limit / is)
                                     : 0;
    n_scaled += scale < 1;
    for (int64_t i = row * n; i < (row + 1) * n; ++i) {
      change[first * n + i] =
          static_cast<float>(scale * moved[static_cast<size_t>(i)]);
    }
  }
  return n_scaled;
}

// What DeviceDrift does, on the processor.
class ProcessorDrift {
 public:
  explicit ProcessorDrift(const DriftProblem& problem) : problem_(problem) {}

  absl::StatusOr<bool> Factor(double lambda) {
    const size_t n = static_cast<size_t>(problem_.n_cols);
    r_ = problem_.stats->gram;
    for (size_t i = 0; i < n; ++i) {
      r_[i * n + i] += lambda;
    }
    return FactorUpper(problem_.pool, problem_.n_cols, r_.data()).failed_at < 0;
  }
  absl::StatusOr<int64_t> Correct(float* change) {
    int64_t n_scaled = 0;
    for (int64_t first = 0; first < problem_.n_rows; first += kRowsAtOnce) {
      n_scaled += CorrectionOfRows(
          problem_, r_, first, std::min(kRowsAtOnce, problem_.n_rows - first),
          change);
    }
    return n_scaled;
  }
  absl::Status Multiply(const float* held, int64_t n_held, const float* matrix,
                        float* out) {
    const int64_t n = problem_.n_cols;
    GemmNT(problem_.pool, Update::kSet, n_held, problem_.n_rows, n, held, n,
           matrix, n, out, problem_.n_rows);
    return absl::OkStatus();
  }

 private:
  const DriftProblem& problem_;
  std::vector<double> r_;
};

// The share of the correction in 0 ... 1 that leaves the least error on rows
// held out: with a = W x + (r - s) - W z and b what the correction adds,
// |a - share b|^2 is least at a.b / b.b.
template <typename Arithmetic>
absl::StatusOr<double> BestShare(const DriftProblem& problem,
                                 const std::vector<float>& change,
                                 const HeldOutRows& held,
                                 Arithmetic* arithmetic) {
  std::vector<float> drift(held.inputs.size(), 0.0f);
  if (held.originals.size() == held.inputs.size()) {
    for (size_t i = 0; i < drift.size(); ++i) {
      drift[i] = held.originals[i] - held.inputs[i];
    }
  }
  const size_t n_outputs = static_cast<size_t>(held.n_rows * problem.n_rows);
  std::vector<float> missing(n_outputs);
  std::vector<float> added(n_outputs);
  RETURN_IF_ERROR(arithmetic->Multiply(drift.data(), held.n_rows,
                                       problem.weights, missing.data()));
  RETURN_IF_ERROR(arithmetic->Multiply(held.inputs.data(), held.n_rows,
                                       change.data(), added.data()));
  const bool with_residual = held.residual.size() == n_outputs;
  double both = 0;
  double square = 0;
  for (size_t i = 0; i < n_outputs; ++i) {
    const double weight =
        held.weights.empty()
            ? 1
            : held.weights[i / static_cast<size_t>(problem.n_rows)];
    const double b = added[i];
    const double a =
        double{missing[i]} + (with_residual ? double{held.residual[i]} : 0.0);
    both += weight * a * b;
    square += weight * b * b;
  }
  if (!(square > 0) || !std::isfinite(both)) {
    return 0.0;
  }
  return std::min(std::max(both / square, 0.0), 1.0);
}

bool CanJudge(const DriftProblem& problem) {
  const HeldOutRows* held = problem.stats->held_out.get();
  return held != nullptr && held->n_rows > 0 &&
         held->inputs.size() ==
             static_cast<size_t>(held->n_rows * problem.n_cols);
}

DriftInputs InputsOf(const DriftProblem& problem) {
  DriftInputs inputs;
  inputs.gram = problem.stats->gram.data();
  inputs.cross = UsesCross(problem) ? problem.stats->cross.data() : nullptr;
  inputs.residual =
      UsesResidual(problem) ? problem.stats->residual.data() : nullptr;
  inputs.weights = problem.weights;
  inputs.n_rows = problem.n_rows;
  inputs.n_cols = problem.n_cols;
  inputs.drift = problem.drift;
  inputs.residual_share = problem.residual;
  inputs.max_share = kMaxShare;
  return inputs;
}

// The factor of H + lambda; lambda is doubled until there is one.
template <typename Arithmetic>
absl::Status FactorBy(const DriftProblem& problem, Arithmetic* arithmetic,
                      double* lambda) {
  for (int tries = 0; tries < kMaxTries; ++tries, *lambda *= 2) {
    ASSIGN_OR_RETURN(const bool is_factor, arithmetic->Factor(*lambda));
    if (is_factor) {
      return absl::OkStatus();
    }
  }
  return absl::DataLossError(
      absl::StrCat("the Gram matrix of tensor ", QuotedName(problem.name),
                   " is not positive, even with ", *lambda, " added"));
}

template <typename Arithmetic>
absl::StatusOr<std::string> CorrectBy(const DriftProblem& problem, double mean,
                                      Arithmetic* arithmetic,
                                      std::vector<float>* targets) {
  double lambda = std::max(problem.damping, 1e-9) * mean;
  RETURN_IF_ERROR(FactorBy(problem, arithmetic, &lambda));
  std::vector<float> change(targets->size());
  ASSIGN_OR_RETURN(const int64_t n_scaled, arithmetic->Correct(change.data()));
  double share = 1;
  std::string judged;
  if (CanJudge(problem)) {
    const HeldOutRows& held = *problem.stats->held_out;
    ASSIGN_OR_RETURN(share, BestShare(problem, change, held, arithmetic));
    judged = absl::StrCat(", ", held.n_rows, " rows held out ask for ", share,
                          " of it");
  }
  for (size_t i = 0; i < change.size(); ++i) {
    (*targets)[i] += static_cast<float>(share) * change[i];
  }
  return absl::StrCat(
      UsesResidual(problem) ? "drift of inputs and residual stream"
                            : "drift of inputs",
      " corrected with damping ", lambda / mean, judged,
      n_scaled > 0 ? absl::StrCat("; ", n_scaled, " of ", problem.n_rows,
                                  " rows at half of their output")
                   : "");
}

absl::StatusOr<std::string> CorrectOnDevice(const DriftProblem& problem,
                                            double mean,
                                            std::vector<float>* targets) {
  ASSIGN_OR_RETURN(const auto drift,
                   DeviceDrift::Open(*problem.device, InputsOf(problem)));
  return CorrectBy(problem, mean, drift.get(), targets);
}

}  // namespace

bool WantsCorrection(const DriftProblem& problem) {
  return UsesCross(problem) || UsesResidual(problem);
}

absl::StatusOr<std::string> CorrectDrift(const DriftProblem& problem,
                                         std::vector<float>* targets) {
  RETURN_IF_ERROR(CheckAll(problem));
  const double mean = MeanDiagonal(problem);
  if (!(mean > 0)) {
    return std::string("drift: no input was seen, nothing is corrected");
  }
  std::string short_of;
  if (problem.device != nullptr) {
    auto note = CorrectOnDevice(problem, mean, targets);
    if (!absl::IsResourceExhausted(note.status())) {
      return note;
    }
    short_of = absl::StrCat("; by the processor: ", note.status().message());
  }
  ProcessorDrift drift(problem);
  ASSIGN_OR_RETURN(const std::string note,
                   CorrectBy(problem, mean, &drift, targets));
  return absl::StrCat(note, short_of);
}

}  // namespace narrow
