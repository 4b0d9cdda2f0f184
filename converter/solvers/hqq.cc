// HQQ, half-quadratic quantization: zeros of groups by robust fitting, from
// the weights alone.
//
// The idea. A group of weights x with scale s and zero z is coded as
// q = round(x / s + z). What matters is that errors x - (q - z) s are small
// for most weights, so that the few large ones may be left as they are:
// minimise the sum of |error|^p, p < 1. Splitting the error into what is given
// up, e, and the rest makes two easy steps, in turn:
//
//   e = shrink_p(x - (q - z) s),   z = mean(q - (x - e) / s),
//
// the first in closed form, |d| - |d|^(p-1) / beta where that is positive,
// while beta grows. Example: in (0, 0.1, 0.2, 5) with two bits the 5 spreads
// the codes 1.7 apart; its error is given up no more than others', and z moves
// the three to their best common place. Counterexample: weights of spread 0.02
// have errors so small that e is 0 at once with the usual beta of 10; z is
// then the mean of q - x / s, a plain descent on squared error.
//
// Source: Badri, Shaji: "Half-Quadratic Quantization of Large Machine Learning
// Models" (Mobius Labs, 2023), equations 4 to 6; scale from the range of a
// group, at most 2e4 codes a unit, 20 rounds, p 0.7, beta 10, growth 1.01.
//
// The library (hqq 0.2.8) stops when the mean |error| of the whole matrix no
// longer falls, and keeps the zero after that round; its beta stays as it is.
// `hqq_keep_best` off (with a beta growth of 1) does the same, in float32 as
// the library on a CPU; its powers and means are summed in
// another order, so zeros differ by rounding (1e-6 of a code) and codes where
// a weight lies that near to a middle.
//
// What we do besides: the best round of every group is kept, by squared error
// (weighted by importance where it is known) under scale and zero as they will
// be stored; then, with `refit`, scale and zero are replaced by the
// least-squares pair for the codes, as long as that lowers the error, from
// there and from three ranges that cut the largest weights. Zeros that must be
// whole (schemes with integer zeros, `hqq_round_zero`) are
// rounded and kept in zero_low ... 2^bits - 1 before they are judged, so that
// the result fits GPTQ, AWQ and compressed-tensors as it is.
//
// Tested by hqq_test.cc.

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/solvers/device/device_hqq.h"
#include "converter/solvers/runs/run_scales.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"
#include "formats/packing/scale_type.h"
#include "kernels/half_quadratic/half_quadratic.h"
#include "kernels/runs/runs.h"

namespace narrow {
namespace {

// hqq's own limits, for half precision.
constexpr float kMostInverse = 2e4f;
constexpr float kLeastRange = 1e-4f;
constexpr int kRefits = 3;
// Of the range from the least to the largest weight.
constexpr float kShrunkRanges[] = {0.92f, 0.82f, 0.68f};

// Up to sixteen groups of equal length at equal distances.
using Batch = hqq_threads::Batch;

std::vector<Batch> BatchesOf(const QuantizedMatrix& matrix) {
  std::vector<Batch> batches;
  const int64_t n_cols = matrix.n_cols;
  const int64_t n_weights = matrix.n_rows * n_cols;
  int64_t group = matrix.scheme.block_cols;
  if (group == 0) {
    group = matrix.scheme.flat ? n_weights : n_cols;
  }
  if (matrix.scheme.flat || n_cols % group == 0) {
    const int64_t n_whole = n_weights / group;
    for (int64_t g = 0; g < n_whole; g += kGroupsAside) {
      batches.push_back({g * group, group, std::min(kGroupsAside, n_whole - g),
                         group, g, 1, 0});
    }
    if (n_whole * group < n_weights) {
      batches.push_back({n_whole * group, group, 1, n_weights - n_whole * group,
                         n_whole, 1, 0});
    }
    return batches;
  }
  const int64_t n_groups = matrix.n_scale_cols();
  for (int64_t row = 0; row < matrix.n_rows; row += kGroupsAside) {
    for (int64_t g = 0; g < n_groups; ++g) {
      batches.push_back({row * n_cols + g * group, n_cols,
                         std::min(kGroupsAside, matrix.n_rows - row),
                         std::min(group, n_cols - g * group),
                         row * n_groups + g, n_groups, 0});
    }
  }
  return batches;
}

struct Lanes {
  float scale[kGroupsAside];
  float zero[kGroupsAside];
  float error[kGroupsAside];
};

struct Errors {
  double energy = 0;
  double before = 0;
  double after = 0;
};

class HqqSolve {
 public:
  HqqSolve(const SolverProblem& problem, const std::vector<float>& importance,
           QuantizedMatrix* matrix)
      : problem_(problem),
        options_(*problem.options),
        scheme_(problem.scheme),
        importance_(importance),
        matrix_(matrix),
        kernels_(HalfQuadraticForCpu()),
        high_(static_cast<float>(scheme_.n_codes() - 1)),
        whole_zeros_(scheme_.zero == ZeroKind::kInteger ||
                     options_.hqq_round_zero),
        batches_(BatchesOf(*matrix)) {}

  SolverReport KeepBest() {
    std::vector<Errors> errors(batches_.size());
    ForBatches([&](size_t i) { errors[i] = KeepBest(batches_[i]); });
    return Report(errors);
  }

  // The same on the problem's device.
  absl::StatusOr<SolverReport> KeepBestOnDevice() {
    std::vector<hqq_threads::GroupErrors> groups;
    RETURN_IF_ERROR(
        HqqOnDevice(problem_, importance_, batches_, matrix_, &groups));
    std::vector<Errors> errors(batches_.size());
    for (size_t i = 0; i < errors.size(); ++i) {
      for (int64_t k = 0; k < batches_[i].n_groups; ++k) {
        const hqq_threads::GroupErrors& group =
            groups[i * kGroupsAside + static_cast<size_t>(k)];
        errors[i].energy += double{group.energy};
        errors[i].before += double{group.before};
        errors[i].after += double{group.after};
      }
    }
    return Report(errors);
  }

  // As the library does.
  SolverReport StopTogether() {
    const size_t n = batches_.size();
    std::vector<Lanes> starts(n);
    std::vector<std::vector<float>> zeros(n);
    ForBatches([&](size_t i) {
      const Aside aside(*this, batches_[i]);
      starts[i] = Start(aside, /*as_library=*/true);
      zeros[i].assign(starts[i].zero, starts[i].zero + kGroupsAside);
    });
    HalfQuadraticParams params = Params();
    float best = INFINITY;
    for (int round = 0; round < options_.hqq_iterations; ++round) {
      std::vector<double> sums(n);
      ForBatches([&](size_t i) {
        const Aside aside(*this, batches_[i]);
        float errors[kGroupsAside];
        kernels_.step(params, aside.x.data(), batches_[i].n, starts[i].scale,
                      zeros[i].data(), errors);
        for (int64_t k = 0; k < batches_[i].n_groups; ++k) {
          sums[i] += double{errors[k]};
        }
      });
      double total = 0;
      for (const double sum : sums) {
        total += sum;
      }
      const float mean = static_cast<float>(
          total / static_cast<double>(problem_.n_rows * problem_.n_cols));
      if (!(mean < best)) {
        break;
      }
      best = mean;
      params.beta = static_cast<float>(double{params.beta} *
                                       double{options_.hqq_beta_growth});
    }
    std::vector<Errors> errors(n);
    ForBatches([&](size_t i) {
      errors[i] = FinishTogether(batches_[i], starts[i], zeros[i].data());
    });
    return Report(errors);
  }

 private:
  // The weights of a batch side by side.
  struct Aside {
    Aside(const HqqSolve& solve, const Batch& batch)
        : batch(batch), x(static_cast<size_t>(batch.n * kGroupsAside)) {
      static_assert(kGroupsAside == kRunsAside, "one arrangement");
      RunKernelsForCpu().put_aside(solve.problem_.weights + batch.first,
                                   batch.stride, batch.n_groups, batch.n,
                                   x.data());
      if (solve.importance_.empty()) {
        return;
      }
      weights.resize(x.size());
      const int64_t n_cols = solve.problem_.n_cols;
      for (int64_t k = 0; k < kGroupsAside; ++k) {
        int64_t at = batch.first + (k < batch.n_groups ? k * batch.stride : 0);
        for (int64_t i = 0; i < batch.n; ++i, ++at) {
          weights[static_cast<size_t>(i * kGroupsAside + k)] =
              solve.importance_[static_cast<size_t>(at % n_cols)];
        }
      }
    }
    const float* w() const {
      return weights.empty() ? nullptr : weights.data();
    }

    const Batch& batch;
    std::vector<float> x;
    std::vector<float> weights;
  };

  template <typename Body>
  void ForBatches(const Body& body) const {
    // Sixteen groups of 32 are little for a thread.
    const int64_t n = static_cast<int64_t>(batches_.size());
    const int64_t at_once = 8;
    problem_.pool->ParallelFor((n + at_once - 1) / at_once, [&](int64_t part) {
      for (int64_t i = part * at_once; i < std::min(n, (part + 1) * at_once);
           ++i) {
        body(static_cast<size_t>(i));
      }
    });
  }

  HalfQuadraticParams Params() const {
    return {high_, options_.hqq_power, options_.hqq_beta};
  }

  // `scale` gets codes a unit. The library's range need not hold 0.
  Lanes Start(const Aside& aside, bool as_library) const {
    float low[kGroupsAside];
    float top[kGroupsAside];
    kernels_.range(aside.x.data(), aside.batch.n, low, top);
    Lanes lanes;
    for (int64_t k = 0; k < kGroupsAside; ++k) {
      if (whole_zeros_ && !as_library) {
        low[k] = std::min(low[k], 0.0f);
        top[k] = std::max(top[k], 0.0f);
      }
      const float range = top[k] - low[k];
      float inverse = 1.0f / range * high_;
      if (as_library) {
        inverse = range <= kLeastRange ? 1.0f : std::min(inverse, kMostInverse);
      } else {
        // A group of one number: one code stands for it, another for 0.
        const float size = std::fabs(low[k]);
        const float scale = range > 0 ? range / high_ : size > 0 ? size : 1.0f;
        inverse = 1.0f / LegalScale(scheme_.scale_type, scale);
      }
      lanes.scale[k] = inverse;
      lanes.zero[k] = -low[k] * inverse;
      if (as_library && options_.hqq_round_zero) {
        lanes.zero[k] = std::nearbyint(lanes.zero[k]);
      }
    }
    return lanes;
  }

  float StoredZero(float zero) const {
    if (whole_zeros_) {
      return std::clamp(std::nearbyint(zero),
                        static_cast<float>(options_.zero_low), high_);
    }
    const float stored = RoundToScaleType(scheme_.scale_type, zero);
    return std::isfinite(stored) ? stored : 0.0f;
  }

  // Takes the lanes where a trial's error is less.
  void Judge(const Aside& aside, Lanes* trial, Lanes* best) const {
    kernels_.measure(high_, aside.x.data(), aside.w(), aside.batch.n,
                     trial->scale, trial->zero, trial->error);
    Take(*trial, best);
  }

  static void Take(const Lanes& trial, Lanes* best) {
    for (int64_t k = 0; k < kGroupsAside; ++k) {
      if (trial.error[k] < best->error[k]) {
        best->scale[k] = trial.scale[k];
        best->zero[k] = trial.zero[k];
        best->error[k] = trial.error[k];
      }
    }
  }

  // The same middle of the range, from which fewer units are seen.
  Lanes Shrunk(const Lanes& start, float factor) const {
    Lanes lanes;
    for (int64_t k = 0; k < kGroupsAside; ++k) {
      const float middle = (high_ / 2 - start.zero[k]) * start.scale[k];
      lanes.scale[k] = LegalScale(scheme_.scale_type, start.scale[k] * factor);
      lanes.zero[k] = StoredZero(high_ / 2 - middle / lanes.scale[k]);
      lanes.error[k] = INFINITY;
    }
    return lanes;
  }

  Errors KeepBest(const Batch& batch) const {
    const Aside aside(*this, batch);
    Lanes inverse = Start(aside, /*as_library=*/false);
    Lanes best;
    Lanes trial;
    for (int64_t k = 0; k < kGroupsAside; ++k) {
      trial.scale[k] = LegalScale(scheme_.scale_type, 1.0f / inverse.scale[k]);
      trial.zero[k] = StoredZero(inverse.zero[k]);
      best.error[k] = INFINITY;
    }
    Judge(aside, &trial, &best);
    const Lanes start = best;
    HalfQuadraticParams params = Params();
    for (int round = 0; round < options_.hqq_iterations; ++round) {
      float old[kGroupsAside];
      std::copy(inverse.zero, inverse.zero + kGroupsAside, old);
      kernels_.step(params, aside.x.data(), batch.n, inverse.scale,
                    inverse.zero, inverse.error);
      if (std::equal(old, old + kGroupsAside, inverse.zero)) {
        break;  // at rest
      }
      for (int64_t k = 0; k < kGroupsAside; ++k) {
        trial.scale[k] =
            LegalScale(scheme_.scale_type, 1.0f / inverse.scale[k]);
        trial.zero[k] = StoredZero(inverse.zero[k]);
      }
      Judge(aside, &trial, &best);
      params.beta *= options_.hqq_beta_growth;
    }
    if (options_.refit) {
      Refit(aside, &best);
      for (const float factor : kShrunkRanges) {
        Lanes other = Shrunk(start, factor);
        Refit(aside, &other);
        Take(other, &best);
      }
    }
    Store(batch, best);
    return ErrorsOf(aside, start.error, best.error);
  }

  // The least-squares scale, and zero where it need not be whole.
  void Refit(const Aside& aside, Lanes* best) const {
    for (int round = 0; round < kRefits; ++round) {
      HalfQuadraticSums sums;
      kernels_.sum(high_, aside.x.data(), aside.w(), aside.batch.n, best->scale,
                   best->zero, &sums);
      Lanes trial = *best;
      for (int64_t k = 0; k < kGroupsAside; ++k) {
        const double w = double{sums.w[k]};
        const double q = double{sums.wq[k]};
        const double qq = double{sums.wqq[k]};
        const double x = double{sums.wx[k]};
        const double qx = double{sums.wqx[k]};
        double zero = double{best->zero[k]};
        double scale;
        if (whole_zeros_) {
          scale = (qx - zero * x) / (qq - 2 * zero * q + zero * zero * w);
        } else {
          scale = (qx - q * x / w) / (qq - q * q / w);
          zero = q / w - x / w / scale;
        }
        if (scale > 0 && std::isfinite(scale) && std::isfinite(zero)) {
          trial.scale[k] =
              LegalScale(scheme_.scale_type, static_cast<float>(scale));
          trial.zero[k] = StoredZero(static_cast<float>(zero));
        }
      }
      Judge(aside, &trial, best);
    }
  }

  void Store(const Batch& batch, const Lanes& lanes) const {
    for (int64_t k = 0; k < batch.n_groups; ++k) {
      const size_t at =
          static_cast<size_t>(batch.first_scale + k * batch.scale_stride);
      matrix_->scales[at] = lanes.scale[k];
      matrix_->zeros[at] = lanes.zero[k];
      Round(batch, k, 1.0f / lanes.scale[k], lanes.zero[k]);
    }
  }

  void Round(const Batch& batch, int64_t k, float inverse, float zero) const {
    const int64_t at = batch.first + k * batch.stride;
    kernels_.round(high_, problem_.weights + at, batch.n, inverse, zero,
                   matrix_->codes.data() + at);
  }

  // The library rounds before scale and zero become what is stored. Whole
  // zeros are ours, and codes are chosen for them.
  Errors FinishTogether(const Batch& batch, const Lanes& start,
                        const float* zeros) const {
    const Aside aside(*this, batch);
    Lanes stored;
    Lanes first;
    for (int64_t k = 0; k < kGroupsAside; ++k) {
      stored.scale[k] = LegalScale(scheme_.scale_type, 1.0f / start.scale[k]);
      stored.zero[k] = scheme_.zero == ZeroKind::kInteger
                           ? StoredZero(zeros[k])
                           : RoundToScaleType(scheme_.scale_type, zeros[k]);
      first.scale[k] = stored.scale[k];
      first.zero[k] = scheme_.zero == ZeroKind::kInteger
                          ? StoredZero(start.zero[k])
                          : start.zero[k];
    }
    Store(batch, stored);
    for (int64_t k = 0; scheme_.zero == ZeroKind::kFloat && k < batch.n_groups;
         ++k) {
      Round(batch, k, start.scale[k], zeros[k]);
    }
    kernels_.measure(high_, aside.x.data(), aside.w(), batch.n, stored.scale,
                     stored.zero, stored.error);
    kernels_.measure(high_, aside.x.data(), aside.w(), batch.n, first.scale,
                     first.zero, first.error);
    return ErrorsOf(aside, first.error, stored.error);
  }

  Errors ErrorsOf(const Aside& aside, const float* before,
                  const float* after) const {
    // Codes of 0 alone: the weights themselves.
    const Lanes nothing = {{}, {}, {}};
    Lanes energy = nothing;
    std::fill(energy.scale, energy.scale + kGroupsAside, 1.0f);
    kernels_.measure(0, aside.x.data(), aside.w(), aside.batch.n, energy.scale,
                     energy.zero, energy.error);
    Errors errors;
    for (int64_t k = 0; k < aside.batch.n_groups; ++k) {
      errors.energy += double{energy.error[k]};
      errors.before += double{before[k]};
      errors.after += double{after[k]};
    }
    return errors;
  }

  static SolverReport Report(const std::vector<Errors>& errors) {
    Errors all;
    for (const Errors& part : errors) {
      all.energy += part.energy;
      all.before += part.before;
      all.after += part.after;
    }
    SolverReport report;
    report.relative_error = Ratio(all.after, all.energy);
    report.relative_error_before = Ratio(all.before, all.energy);
    return report;
  }

  const SolverProblem& problem_;
  const SolverOptions& options_;
  const WeightScheme& scheme_;
  const std::vector<float>& importance_;
  QuantizedMatrix* matrix_;
  const HalfQuadratic& kernels_;
  const float high_;
  const bool whole_zeros_;
  const std::vector<Batch> batches_;
};

StatsNeeds Needs(const SolverOptions&) { return {}; }

absl::Status Supports(const WeightScheme& scheme,
                      const SolverOptions& options) {
  if (scheme.code != CodeKind::kInteger || scheme.zero == ZeroKind::kNone ||
      scheme.block_rows != 1 || scheme.column_groups || scheme.bits < 1 ||
      scheme.bits > 8 || scheme.scale_unit != 1) {
    return absl::UnimplementedError(absl::StrCat(
        "hqq makes integer codes with a zero for every group of inputs, not ",
        SchemeName(scheme)));
  }
  if (!(options.hqq_power > 0 && options.hqq_power <= 1) ||
      !(options.hqq_beta > 0) || !(options.hqq_beta_growth >= 1) ||
      options.hqq_iterations < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "hqq wants a power in 0 ... 1, a positive beta that does not shrink "
        "and no negative number of rounds, not ",
        options.hqq_power, ", ", options.hqq_beta, " times ",
        options.hqq_beta_growth, ", ", options.hqq_iterations));
  }
  return absl::OkStatus();
}

absl::StatusOr<SolvedMatrix> Solve(const SolverProblem& problem) {
  RETURN_IF_ERROR(Supports(problem.scheme, *problem.options));
  RETURN_IF_ERROR(CheckWeights(problem));
  ASSIGN_OR_RETURN(const std::vector<float> importance, ColumnWeights(problem));
  SolvedMatrix solved;
  solved.matrix.scheme = problem.scheme;
  solved.matrix.Resize(problem.n_rows, problem.n_cols);
  HqqSolve solve(problem, importance, &solved.matrix);
  std::string why;  // the processor takes it
  if (CanHqqOnDevice(problem)) {
    absl::StatusOr<SolverReport> report = solve.KeepBestOnDevice();
    if (report.ok()) {
      solved.report = *std::move(report);
      return solved;
    }
    if (!absl::IsResourceExhausted(report.status())) {
      return report.status();
    }
    why = SolvedOnProcessor(report.status());
  }
  solved.report =
      problem.options->hqq_keep_best ? solve.KeepBest() : solve.StopTogether();
  if (!why.empty()) {
    solved.report.notes.push_back(std::move(why));
  }
  return solved;
}

}  // namespace

extern const Solver kHqqSolver;
const Solver kHqqSolver = {
    "hqq", "HQQ (Badri, Shaji, 2023)", Needs, Supports, Solve,
};

}  // namespace narrow
