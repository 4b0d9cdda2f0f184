// SmoothQuant: part of the inputs' outliers is moved into the weights, so that
// both can be bytes.
//
// The idea. A few columns of a layer's inputs are a hundred times larger than
// the others; one scale a token leaves those others few codes. Dividing column
// j by s_j, and multiplying the weights' column with it, evens the inputs out
// at the cost of uneven weights. Example: inputs up to (100, 1), weights up to
// (1, 1), alpha 0.5: s = (10, 1); inputs up to (10, 1), weights up to (10, 1).
// Counterexample: layers whose weights are already uneven in the same columns
// (the inputs of a gated feed-forward's last layer) get worse.
//
// Source: Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training
// Quantization for Large Language Models" (2023), equation 4:
//   s_j = max |X_j|^alpha / max |W_j|^(1 - alpha),
// both at least 1e-5, as in the authors' program.
//
// What differs. A negative alpha is searched, in 0.05 ... 0.95 by steps of
// 0.05, where the paper tunes one for a model: by the squared error of the
// weights under the Gram matrix (or its diagonal) plus that of the inputs as
// bytes, taking their largest magnitude over 127 for the step. Scales that
// lower this sum not at all are rejected, for a fixed alpha too. Scales are
// divided by the geometric mean of the largest and the least, which changes
// nothing but the range of the norm that absorbs them.
//
// Tested by transforms_test.cc.

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/solvers/transforms/scale_trial.h"
#include "converter/solvers/transforms/transform.h"
#include "formats/base/elementary.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr float kLeastMagnitude = 1e-5f;
constexpr int kAlphaSteps = 20;

StatsNeeds NeedsFor(const TransformOptions& options) {
  StatsNeeds needs;
  needs.columns = true;
  needs.gram = options.alpha < 0;
  return needs;
}

bool HasByteInputs(const TransformGroup& group) {
  return std::any_of(
      group.members.begin(), group.members.end(),
      [](const TransformMember& member) {
        return member.quantized &&
               (member.scheme.activations == ActivationKind::kDynamicInt8 ||
                member.scheme.activations == ActivationKind::kStaticInt8);
      });
}

std::vector<float> ScalesFor(const TransformGroup& group,
                             const ScaleTrial& trial, double alpha) {
  std::vector<float> scales;
  for (size_t j = 0; j < group.stats->max_abs.size(); ++j) {
    const double input =
        double{std::max(group.stats->max_abs[j], kLeastMagnitude)};
    const double weight =
        double{std::max(trial.column_max()[j], kLeastMagnitude)};
    scales.push_back(
        static_cast<float>(Pow(input, alpha) / Pow(weight, 1 - alpha)));
  }
  NormalizeScales(group.column_class, &scales);
  return scales;
}

absl::StatusOr<GroupScales> Run(const TransformGroup& group,
                                const TransformOptions& options,
                                ThreadPool* pool) {
  if (!(options.alpha <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("smoothquant's alpha is at most 1, not ", options.alpha));
  }
  ASSIGN_OR_RETURN(ScaleTrial trial,
                   ScaleTrial::Create(group, options.fit, pool));
  GroupScales best;
  if (group.stats->n_rows == 0) {
    return best;
  }
  const bool has_byte_inputs = HasByteInputs(group);
  std::vector<double> alphas = {options.alpha};
  if (options.alpha < 0) {
    alphas.clear();
    for (int i = 1; i < kAlphaSteps; ++i) {
      alphas.push_back(static_cast<double>(i) / kAlphaSteps);
    }
  }
  std::vector<std::vector<float>> candidates;
  for (const double alpha : alphas) {
    candidates.push_back(ScalesFor(group, trial, alpha));
  }
  // Last, no scales at all.
  candidates.emplace_back(static_cast<size_t>(group.n_cols), 1.0f);
  ASSIGN_OR_RETURN(std::vector<double> errors, trial.Errors(candidates));
  for (size_t i = 0; has_byte_inputs && i < errors.size(); ++i) {
    errors[i] += trial.InputError(candidates[i]);
  }
  best.error_before = errors.back();
  best.error_after = best.error_before;
  best.notes = trial.notes();
  for (size_t i = 0; i < alphas.size(); ++i) {
    if (errors[i] < best.error_after) {
      best.scales = std::move(candidates[i]);
      best.ratio = alphas[i];
      best.error_after = errors[i];
    }
  }
  return best;
}

}  // namespace

extern const Transform kSmoothQuantTransform;
const Transform kSmoothQuantTransform = {
    "smoothquant",
    "SmoothQuant (Xiao et al., 2023)",
    NeedsFor,
    Run,
};

}  // namespace narrow
