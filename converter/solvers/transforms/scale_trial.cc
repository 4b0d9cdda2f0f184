#include "converter/solvers/transforms/scale_trial.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "converter/solvers/device/device_trial.h"
#include "converter/solvers/grid_problem.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/elementary.h"
#include "formats/base/status.h"
#include "kernels/grid/feedback.h"

namespace narrow {
namespace {

// Products that a trial of one group may cost; few enough for twenty trials
// of the widest layers, enough for all rows of most.
constexpr int64_t kProductsOfTrial = int64_t{1} << 35;
constexpr int64_t kLeastRows = 128;
constexpr float kMostScale = 65536.0f;

}  // namespace

absl::StatusOr<ScaleTrial> ScaleTrial::Create(const TransformGroup& group,
                                              const FitOptions& fit,
                                              ThreadPool* pool) {
  ScaleTrial trial(group, fit, pool);
  RETURN_IF_ERROR(trial.TakeStatistics());
  RETURN_IF_ERROR(trial.TakeWeights());
  return trial;
}

absl::Status ScaleTrial::TakeStatistics() {
  const LayerStats* stats = group_.stats;
  const std::string name =
      group_.members.empty() ? "" : std::string(group_.members[0].name);
  if (stats == nullptr || stats->sum_sq.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("scales of the inputs of ", QuotedName(name),
                     " need calibration, which saw none"));
  }
  const size_t n = static_cast<size_t>(group_.n_cols);
  const double tokens =
      static_cast<double>(std::max<int64_t>(stats->n_rows, 1));
  for (size_t i = 0; i < n; ++i) {
    const double square = stats->sum_sq[i] / tokens;
    if (!std::isfinite(square) || square < 0) {
      return absl::DataLossError(
          absl::StrCat("column ", i, " of the inputs of ", QuotedName(name),
                       " has the mean square ", square));
    }
    diagonal_.push_back(static_cast<float>(square));
  }
  for (const double value : stats->gram) {
    if (!std::isfinite(value)) {
      return absl::DataLossError(
          absl::StrCat("the Gram matrix of the inputs of ", QuotedName(name),
                       " has a value that is not finite"));
    }
    gram_.push_back(static_cast<float>(value / tokens));
  }
  return absl::OkStatus();
}

absl::Status ScaleTrial::TakeWeights() {
  const int64_t n_cols = group_.n_cols;
  const size_t n = static_cast<size_t>(n_cols);
  column_max_.assign(n, 0);
  column_squares_.assign(n, 0);
  std::vector<double> means(n, 0);
  int64_t n_rows = 0;
  for (const TransformMember& member : group_.members) {
    SolverProblem problem;
    problem.name = member.name;
    problem.weights = member.weights;
    problem.n_rows = member.n_rows;
    problem.n_cols = n_cols;
    problem.pool = pool_;
    RETURN_IF_ERROR(CheckWeights(problem));
    n_rows += member.quantized ? member.n_rows : 0;
    const int64_t group =
        member.scheme.block_cols > 0 ? member.scheme.block_cols : n_cols;
    for (int64_t r = 0; r < member.n_rows; ++r) {
      const float* row = member.weights + r * n_cols;
      for (int64_t begin = 0; begin < n_cols; begin += group) {
        const int64_t end = std::min(begin + group, n_cols);
        float top = 0;
        for (int64_t j = begin; j < end; ++j) {
          const float size = std::fabs(row[j]);
          top = std::max(top, size);
          column_max_[static_cast<size_t>(j)] =
              std::max(column_max_[static_cast<size_t>(j)], size);
        }
        for (int64_t j = begin; member.quantized && top > 0 && j < end; ++j) {
          const double w = double{row[j]};
          means[static_cast<size_t>(j)] += std::fabs(w) / double{top};
          column_squares_[static_cast<size_t>(j)] += w * w;
        }
      }
    }
  }
  for (const double mean : means) {
    column_mean_.push_back(static_cast<float>(
        mean / static_cast<double>(std::max<int64_t>(n_rows, 1))));
  }
  // The same share of every member's rows.
  const int64_t most_rows =
      std::max(kLeastRows, kProductsOfTrial / n_cols / n_cols);
  const int64_t step =
      std::max<int64_t>(1, (n_rows + most_rows - 1) / most_rows);
  for (const TransformMember& member : group_.members) {
    if (!member.quantized) {
      continue;
    }
    Sample sample;
    sample.member = &member;
    sample.n_rows = (member.n_rows + step - 1) / step;
    sample.weight =
        static_cast<double>(member.n_rows) / static_cast<double>(sample.n_rows);
    for (int64_t r = 0; r < member.n_rows; r += step) {
      const float* row = member.weights + r * n_cols;
      sample.weights.insert(sample.weights.end(), row, row + n_cols);
    }
    samples_.push_back(std::move(sample));
  }
  return absl::OkStatus();
}

std::vector<float> ScaleTrial::ColumnWeights(
    const std::vector<float>& scales) const {
  std::vector<float> weights;
  if (options_.fit.search == FitOptions::Search::kMinMax) {
    return weights;
  }
  for (size_t j = 0; j < scales.size(); ++j) {
    weights.push_back(std::max(diagonal_[j] / (scales[j] * scales[j]), 1e-30f));
  }
  return weights;
}

SolverProblem ScaleTrial::ProblemOf(const Sample& sample) const {
  SolverProblem problem;
  problem.name = sample.member->name;
  problem.weights = sample.weights.data();
  problem.n_rows = sample.n_rows;
  problem.n_cols = group_.n_cols;
  problem.scheme = sample.member->scheme;
  problem.scheme.column_groups = false;
  problem.options = &options_;
  problem.pool = pool_;
  return problem;
}

bool ScaleTrial::IsForDevice() const {
  return group_.device != nullptr && !gram_.empty() &&
         std::all_of(samples_.begin(), samples_.end(), [](const Sample& s) {
           return DeviceTrial::Supports(s.member->scheme);
         });
}

absl::StatusOr<std::vector<double>> ScaleTrial::ErrorsOnDevice(
    absl::Span<const std::vector<float>> candidates) {
  std::vector<std::vector<float>> weights;
  for (const std::vector<float>& scales : candidates) {
    weights.push_back(ColumnWeights(scales));
  }
  std::vector<TrialCandidate> tried;
  for (size_t i = 0; i < candidates.size(); ++i) {
    tried.push_back({candidates[i], weights[i]});
  }
  std::vector<double> errors(candidates.size(), 0.0);
  DeviceTrial trial(*group_.device, group_.n_cols, gram_);
  for (const Sample& sample : samples_) {
    RETURN_IF_ERROR(trial.Add(ProblemOf(sample), sample.weight, tried,
                              absl::MakeSpan(errors)));
  }
  if (!trial.note().empty()) {
    notes_.push_back(trial.note());
  }
  return errors;
}

absl::StatusOr<std::vector<double>> ScaleTrial::Errors(
    absl::Span<const std::vector<float>> candidates) {
  if (IsForDevice()) {
    absl::StatusOr<std::vector<double>> errors = ErrorsOnDevice(candidates);
    if (!absl::IsResourceExhausted(errors.status())) {
      return errors;
    }
    notes_.push_back(absl::StrCat("scalings were tried on the processor: ",
                                  errors.status().message()));
  }
  std::vector<double> errors;
  for (const std::vector<float>& scales : candidates) {
    errors.push_back(ErrorOnProcessor(scales));
  }
  return errors;
}

double ScaleTrial::ErrorOnProcessor(const std::vector<float>& scales) const {
  const int64_t n_cols = group_.n_cols;
  const std::vector<float> column_weights = ColumnWeights(scales);
  double total = 0;
  for (const Sample& sample : samples_) {
    std::vector<float> scaled = sample.weights;
    pool_->ParallelFor(sample.n_rows, [&](int64_t r) {
      float* row = scaled.data() + r * n_cols;
      for (size_t j = 0; j < scales.size(); ++j) {
        row[j] *= scales[j];
      }
    });
    SolverProblem problem = ProblemOf(sample);
    problem.weights = scaled.data();
    GridRows rows = MakeGridRows(problem);
    FitScales(problem, scaled.data(),
              column_weights.empty() ? nullptr : column_weights.data(), &rows);
    RoundRows(scaled.data(), n_cols, &rows, pool_);
    std::vector<double> errors(static_cast<size_t>(sample.n_rows));
    pool_->ParallelFor(sample.n_rows, [&](int64_t r) {
      float* row = scaled.data() + r * n_cols;
      rows.Decode(r, row);
      double error = 0;
      for (size_t j = 0; j < scales.size(); ++j) {
        row[j] /= scales[j];
        const double miss =
            double{sample.weights[static_cast<size_t>(r * n_cols) + j]} -
            double{row[j]};
        error += double{diagonal_[j]} * miss * miss;
      }
      errors[static_cast<size_t>(r)] = error;
    });
    if (gram_.empty()) {
      for (const double error : errors) {
        total += error * sample.weight;
      }
    } else {
      total +=
          sample.weight * GramError(sample.weights.data(), scaled.data(),
                                    sample.n_rows, n_cols, gram_.data(), pool_);
    }
  }
  return total;
}

double ScaleTrial::InputError(const std::vector<float>& scales) const {
  double top = 0;
  double sum = 0;
  for (size_t j = 0; j < scales.size(); ++j) {
    top = std::max(top, double{group_.stats->max_abs[j]} / double{scales[j]});
    sum += column_squares_[j] * double{scales[j]} * double{scales[j]};
  }
  const double step = top / 127;
  return step * step / 12 * sum;
}

void NormalizeScales(const std::vector<int32_t>& column_class,
                     std::vector<float>* scales) {
  if (!column_class.empty()) {
    const size_t n_classes = static_cast<size_t>(
        *std::max_element(column_class.begin(), column_class.end()) + 1);
    std::vector<double> logs(n_classes, 0);
    std::vector<double> counts(n_classes, 0);
    for (size_t j = 0; j < scales->size(); ++j) {
      const size_t k = static_cast<size_t>(column_class[j]);
      logs[k] += Log(double{(*scales)[j]});
      counts[k] += 1;
    }
    for (size_t j = 0; j < scales->size(); ++j) {
      const size_t k = static_cast<size_t>(column_class[j]);
      (*scales)[j] = static_cast<float>(Exp(logs[k] / counts[k]));
    }
  }
  const auto [least, most] =
      std::minmax_element(scales->begin(), scales->end());
  const double middle = std::sqrt(double{*least} * double{*most});
  for (float& scale : *scales) {
    scale = std::clamp(static_cast<float>(double{scale} / middle),
                       1 / kMostScale, kMostScale);
  }
}

}  // namespace narrow
