#include "converter/quantize/recipe/solver_settings.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/base/text/nearest.h"

namespace narrow {
namespace {

template <typename T>
struct Word {
  const char* name;
  T value;
};

constexpr Word<FitOptions::Search> kSearches[] = {
    {"least-squares", FitOptions::Search::kLeastSquares},
    {"shrink", FitOptions::Search::kShrink},
    {"min-max", FitOptions::Search::kMinMax},
};
constexpr Word<FitOptions::Symmetric> kRanges[] = {
    {"full", FitOptions::Symmetric::kFullRange},
    {"restricted", FitOptions::Symmetric::kRestricted},
};
constexpr Word<SolverOptions::ColumnOrder> kOrders[] = {
    {"natural", SolverOptions::ColumnOrder::kNatural},
    {"groups", SolverOptions::ColumnOrder::kGroups},
    {"descending", SolverOptions::ColumnOrder::kDescending},
    {"descending-dynamic", SolverOptions::ColumnOrder::kDescendingDynamic},
};

template <typename T, size_t n>
absl::Status SetWord(absl::string_view field, const std::string& word,
                     const Word<T> (&words)[n], T* value) {
  std::vector<std::string> names;
  for (const Word<T>& row : words) {
    if (word == row.name) {
      *value = row.value;
      return absl::OkStatus();
    }
    names.push_back(row.name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(field, " cannot be ", QuotedName(word), "; the nearest is '",
                   NearestName(word, names), "'"));
}

// Also refuses what is no number.
absl::Status CheckRange(absl::string_view field, double value, double low,
                        double high) {
  return value >= low && value <= high
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat(
                   field, " is ", value, ", not ", low, " ... ", high));
}

absl::Status SetFit(const SolverSettings& s, FitOptions* fit) {
  if (s.has_search()) {
    RETURN_IF_ERROR(SetWord("search", s.search(), kSearches, &fit->search));
  }
  if (s.has_symmetric_range()) {
    RETURN_IF_ERROR(SetWord("symmetric_range", s.symmetric_range(), kRanges,
                            &fit->symmetric));
  }
  if (s.has_shrink_power()) {
    RETURN_IF_ERROR(CheckRange("shrink_power", s.shrink_power(), 0.1, 10));
    fit->power = s.shrink_power();
  }
  if (s.has_max_shrink()) {
    RETURN_IF_ERROR(CheckRange("max_shrink", s.max_shrink(), 0, 0.99));
    fit->max_shrink = s.max_shrink();
  }
  if (s.has_search_steps()) {
    RETURN_IF_ERROR(CheckRange("search_steps", s.search_steps(), 1, 10000));
    fit->n_steps = s.search_steps();
  }
  return absl::OkStatus();
}

absl::Status SetGptq(const SolverSettings& s, SolverOptions* options) {
  if (s.has_damping()) {
    RETURN_IF_ERROR(CheckRange("damping", s.damping(), 0, 1e3));
    options->damping = s.damping();
  }
  if (s.has_damping_step()) {
    RETURN_IF_ERROR(CheckRange("damping_step", s.damping_step(), 1e-9, 1e3));
    options->damping_step = s.damping_step();
  }
  if (s.has_column_order()) {
    RETURN_IF_ERROR(
        SetWord("column_order", s.column_order(), kOrders, &options->order));
  }
  if (s.has_static_groups()) {
    options->static_groups = s.static_groups();
  }
  if (s.has_drift()) {
    RETURN_IF_ERROR(CheckRange("drift", s.drift(), 0, 1));
    options->drift = s.drift();
  }
  if (s.has_residual()) {
    RETURN_IF_ERROR(CheckRange("residual", s.residual(), 0, 1));
    options->residual = s.residual();
  }
  if (options->residual != 0 && options->drift == 0) {
    return absl::InvalidArgumentError(
        "residual corrects the drift of the residual stream where that of the "
        "inputs is corrected too; set drift above 0");
  }
  if (s.has_drift_damping()) {
    RETURN_IF_ERROR(CheckRange("drift_damping", s.drift_damping(), 0, 1e3));
    options->drift_damping = s.drift_damping();
  }
  return absl::OkStatus();
}

absl::Status SetHqq(const SolverSettings& s, SolverOptions* options) {
  if (s.has_hqq_power()) {
    RETURN_IF_ERROR(CheckRange("hqq_power", s.hqq_power(), 0.01, 1));
    options->hqq_power = s.hqq_power();
  }
  if (s.has_hqq_beta()) {
    RETURN_IF_ERROR(CheckRange("hqq_beta", s.hqq_beta(), 1e-3, 1e6));
    options->hqq_beta = s.hqq_beta();
  }
  if (s.has_hqq_beta_growth()) {
    RETURN_IF_ERROR(CheckRange("hqq_beta_growth", s.hqq_beta_growth(), 1, 100));
    options->hqq_beta_growth = s.hqq_beta_growth();
  }
  if (s.has_hqq_iterations()) {
    RETURN_IF_ERROR(CheckRange("hqq_iterations", s.hqq_iterations(), 0, 10000));
    options->hqq_iterations = s.hqq_iterations();
  }
  if (s.has_hqq_keep_best()) {
    options->hqq_keep_best = s.hqq_keep_best();
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SolverOptions> SolverOptionsOf(const SolverSettings& settings) {
  SolverOptions options;
  RETURN_IF_ERROR(SetFit(settings, &options.fit));
  if (settings.has_weighted_search()) {
    options.weighted_fit = settings.weighted_search();
  }
  if (settings.has_signed_scales()) {
    options.signed_scales = settings.signed_scales();
  }
  if (settings.has_refit()) {
    options.refit = settings.refit();
  }
  if (settings.has_sweep()) {
    options.sweep = settings.sweep();
  }
  if (settings.has_rounds()) {
    RETURN_IF_ERROR(CheckRange("rounds", settings.rounds(), 0, 1000));
    options.rounds = settings.rounds();
  }
  RETURN_IF_ERROR(SetGptq(settings, &options));
  RETURN_IF_ERROR(SetHqq(settings, &options));
  if (settings.has_scale_search()) {
    options.scale_search = settings.scale_search();
    options.blind_search = settings.scale_search();
  }
  return options;
}

absl::StatusOr<TransformOptions> TransformOptionsOf(
    const TransformSettings& settings, const FitOptions& fit) {
  TransformOptions options;
  options.fit = fit;
  if (settings.has_awq_grid()) {
    RETURN_IF_ERROR(CheckRange("awq_grid", settings.awq_grid(), 1, 1000));
    options.n_grid = settings.awq_grid();
  }
  if (settings.has_awq_duo_scaling()) {
    options.duo_scaling = settings.awq_duo_scaling();
  }
  if (settings.has_alpha()) {
    RETURN_IF_ERROR(CheckRange("alpha", settings.alpha(), 0, 1));
    options.alpha = settings.alpha();
  }
  if (settings.search_alpha()) {
    options.alpha = -1;
  }
  return options;
}

}  // namespace narrow
