#include "converter/solvers/device/device_trial.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "converter/solvers/grid_problem.h"
#include "converter/solvers/runs/fp4_scale.h"
#include "formats/base/status.h"
#include "kernels/grid/device/device_grid.h"

namespace narrow {
namespace {

// The largest magnitude of every column. What a column's scale makes of it is
// the largest of the scaled column: rounding keeps the order.
std::vector<float> ColumnMaxima(const SolverProblem &sample) {
  std::vector<float> maxima(static_cast<size_t>(sample.n_cols), 0.0f);
  for (int64_t row = 0; row < sample.n_rows; ++row) {
    const float *const weights = sample.weights + row * sample.n_cols;
    for (size_t j = 0; j < maxima.size(); ++j) {
      maxima[j] = std::max(maxima[j], std::fabs(weights[j]));
    }
  }
  return maxima;
}

// Each candidate's grid: NVFP4's depends on the largest weight.
std::vector<GridSpec> SpecsOf(const SolverProblem &sample,
                              absl::Span<const TrialCandidate> candidates) {
  SolverProblem scaled = sample;
  const std::vector<float> maxima =
      sample.scheme.global_scale ? ColumnMaxima(sample) : std::vector<float>();
  std::vector<GridSpec> specs;
  for (const TrialCandidate &candidate : candidates) {
    if (!maxima.empty()) {
      float largest = 0;
      for (size_t j = 0; j < maxima.size(); ++j) {
        largest = std::max(largest, maxima[j] * candidate.scales[j]);
      }
      scaled.global_scale = Nvfp4GlobalScale(largest, *sample.options);
    }
    specs.push_back(MakeGridSpec(scaled));
  }
  return specs;
}

// Some candidates on the device, all of one grid.
class Batch {
 public:
  Batch(const Device &device, const SolverProblem &sample, const GridSpec &spec,
        absl::Span<const TrialCandidate> candidates, const float *gram,
        DeviceStream *stream)
      : device_(device),
        sample_(sample),
        spec_(spec),
        candidates_(candidates),
        gram_(gram),
        stream_(*stream) {}

  absl::StatusOr<std::vector<double>> Run() {
    const int64_t n_batch = static_cast<int64_t>(candidates_.size());
    ASSIGN_OR_RETURN(
        const auto grid,
        DeviceGrid::New(device_, spec_, sample_.n_rows, sample_.n_cols, n_batch,
                        DeviceGrid::Use::kRounding));
    const int64_t n_weights = sample_.n_rows * sample_.n_cols;
    RETURN_IF_ERROR(Upload(
        absl::MakeConstSpan(sample_.weights, static_cast<size_t>(n_weights)),
        &rows_));
    std::vector<float> scales;
    std::vector<float> weights;
    for (const TrialCandidate &candidate : candidates_) {
      scales.insert(scales.end(), candidate.scales.begin(),
                    candidate.scales.end());
      weights.insert(weights.end(), candidate.column_weights.begin(),
                     candidate.column_weights.end());
    }
    RETURN_IF_ERROR(Upload(scales, &scales_));
    RETURN_IF_ERROR(Upload(weights, &weights_));
    RETURN_IF_ERROR(stream_.Synchronize(sample_.name));
    RETURN_IF_ERROR(grid->SetScaledTargets(rows_.as<float>(),
                                           scales_.as<float>(), &stream_));
    RETURN_IF_ERROR(
        grid->FitGroups(weights_.as<float>(), sample_.options->fit, &stream_));
    RETURN_IF_ERROR(grid->RoundRows(&stream_));
    return grid->ScaledErrors(scales_.as<float>(), gram_, &stream_);
  }

 private:
  absl::Status Upload(absl::Span<const float> values, DeviceBuffer *to) {
    ASSIGN_OR_RETURN(*to, device_.Allocate(4 * values.size(), sample_.name));
    return stream_.Copy(values.data(), 4 * values.size(), to->data());
  }

  const Device &device_;
  const SolverProblem &sample_;
  const GridSpec &spec_;
  const absl::Span<const TrialCandidate> candidates_;
  const float *const gram_;
  DeviceStream &stream_;
  DeviceBuffer rows_;
  DeviceBuffer scales_;
  DeviceBuffer weights_;
};

}  // namespace

bool DeviceTrial::Supports(const WeightScheme &scheme) {
  return !SharesScales(scheme);
}

absl::Status DeviceTrial::Open() {
  if (gram_on_device_.data() != nullptr) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(stream_, device_.NewStream());
  ASSIGN_OR_RETURN(gram_on_device_,
                   device_.Allocate(4 * gram_.size(), "a Gram matrix"));
  RETURN_IF_ERROR(
      stream_.Copy(gram_.data(), 4 * gram_.size(), gram_on_device_.data()));
  return stream_.Synchronize("a Gram matrix");
}

absl::Status DeviceTrial::Add(const SolverProblem &sample, double weight,
                              absl::Span<const TrialCandidate> candidates,
                              absl::Span<double> errors) {
  RETURN_IF_ERROR(Open());
  const std::vector<GridSpec> specs = SpecsOf(sample, candidates);
  size_t at_once = candidates.size();
  for (size_t first = 0; first < candidates.size();) {
    size_t alike = 1;
    while (alike < at_once && first + alike < candidates.size() &&
           specs[first + alike].global_scale == specs[first].global_scale) {
      ++alike;
    }
    std::vector<double> found;
    const auto attempt = [&](int64_t n) {
      Batch batch(device_, sample, specs[first],
                  candidates.subspan(first, static_cast<size_t>(n)),
                  gram_on_device_.as<float>(), &stream_);
      ASSIGN_OR_RETURN(found, batch.Run());
      return absl::OkStatus();
    };
    ASSIGN_OR_RETURN(const int64_t done,
                     WithSmallerBatches(static_cast<int64_t>(alike), 1, attempt,
                                        [&](int64_t n, absl::string_view why) {
                                          note_ = absl::StrCat(
                                              "tried ", n,
                                              " scalings at once: ", why);
                                          at_once = static_cast<size_t>(n);
                                        }));
    for (size_t i = 0; i < found.size(); ++i) {
      errors[first + i] += weight * found[i];
    }
    first += static_cast<size_t>(done);
  }
  return absl::OkStatus();
}

}  // namespace narrow
