// AWQ: columns whose inputs are large are scaled up before rounding.
//
// The idea. An input x_j that is large makes the rounding error of column j
// count. With W_j multiplied by s_j > 1 and x_j divided by it the layer
// computes the same, the rounding step hardly grows (it follows the largest
// weight of a group), and the error of column j shrinks by s_j. Example: two
// columns of equal weights, inputs 10 and 0.1: s = (10, 0.1) makes the inputs
// equal and the first column's error a tenth. Counterexample: a column that
// holds its group's largest weights makes the step grow as fast as the scale,
// and all other columns of the group worse; so the best power is searched.
//
// Source: Lin et al., "AWQ: Activation-aware Weight Quantization for LLM
// Compression and Acceleration" (2023), section 3.2, equation 5:
//   s_j = a_j^r,  a_j = mean |x_j|,  r in 0, 1/n, ..., (n - 1)/n,
// and with `duo_scaling`, as AutoAWQ has it,
//   s_j = a_j^r / (w_j^(1-r) + 1e-4),  w_j = mean |W_ij| over its group's max,
// at least 1e-4, divided by the geometric mean of the largest and the least.
//
// What differs. AutoAWQ runs the parent block for every r; we compute
// tr((W - Q) H (W - Q)^T) from the Gram matrix of the inputs, the mean squared
// change of the layers' outputs, summed over the layers of the group: twenty
// products of matrices instead of twenty forward passes. No scaling at all is
// a candidate too, and wins ties. Clipping is left to the solver that follows:
// its search of ranges (kernels/grid) is weighted by the scaled inputs.
//
// Tested by transforms_test.cc.

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/solvers/transforms/scale_trial.h"
#include "converter/solvers/transforms/transform.h"
#include "formats/base/elementary.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr double kLeastScale = 1e-4;

StatsNeeds NeedsFor(const TransformOptions&) {
  StatsNeeds needs;
  needs.columns = true;
  needs.gram = true;
  return needs;
}

std::vector<float> ScalesFor(const TransformGroup& group,
                             const ScaleTrial& trial, double ratio, bool duo) {
  const LayerStats& stats = *group.stats;
  std::vector<float> scales;
  for (size_t j = 0; j < stats.sum_abs.size(); ++j) {
    const double input =
        std::max(stats.sum_abs[j] / static_cast<double>(stats.n_rows), 1e-12);
    double scale = Pow(input, ratio);
    if (duo) {
      const double weight = double{trial.column_mean()[j]};
      scale /= (weight > 0 ? Pow(weight, 1 - ratio) : 0.0) + 1e-4;
    }
    scales.push_back(static_cast<float>(std::max(scale, kLeastScale)));
  }
  NormalizeScales(group.column_class, &scales);
  return scales;
}

absl::StatusOr<GroupScales> Run(const TransformGroup& group,
                                const TransformOptions& options,
                                ThreadPool* pool) {
  if (options.n_grid < 1 || options.n_grid > 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("awq tries 1 ... 1000 ratios, not ", options.n_grid));
  }
  ASSIGN_OR_RETURN(ScaleTrial trial,
                   ScaleTrial::Create(group, options.fit, pool));
  GroupScales best;
  if (group.stats->n_rows == 0) {
    return best;
  }
  const auto ratio_of = [&](int i) {
    return static_cast<double>(i) / options.n_grid;
  };
  std::vector<std::vector<float>> candidates;
  for (int i = 0; i < options.n_grid; ++i) {
    candidates.push_back(
        ScalesFor(group, trial, ratio_of(i), options.duo_scaling));
  }
  // Last, no scales at all.
  candidates.emplace_back(static_cast<size_t>(group.n_cols), 1.0f);
  ASSIGN_OR_RETURN(const std::vector<double> errors, trial.Errors(candidates));
  best.error_before = errors.back();
  best.error_after = best.error_before;
  best.notes = trial.notes();
  for (int i = 0; i < options.n_grid; ++i) {
    const size_t at = static_cast<size_t>(i);
    if (errors[at] < best.error_after) {
      best.scales = std::move(candidates[at]);
      best.ratio = ratio_of(i);
      best.error_after = errors[at];
    }
  }
  return best;
}

}  // namespace

extern const Transform kAwqTransform;
const Transform kAwqTransform = {
    "awq",
    "AWQ (Lin et al., 2023)",
    NeedsFor,
    Run,
};

}  // namespace narrow
