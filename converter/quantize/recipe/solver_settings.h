// Options of solvers and transforms as a recipe has them.
//
//   ASSIGN_OR_RETURN(SolverOptions options, SolverOptionsOf(recipe.solver()));

#ifndef NARROW_CONVERTER_QUANTIZE_RECIPE_SOLVER_SETTINGS_H_
#define NARROW_CONVERTER_QUANTIZE_RECIPE_SOLVER_SETTINGS_H_

#include "absl/status/statusor.h"
#include "converter/quantize/recipe/recipe.pb.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/transforms/transform.h"

namespace narrow {

// The solvers' own defaults with what `settings` says. InvalidArgument: a
// value out of range or a word that there is not, with the nearest.
absl::StatusOr<SolverOptions> SolverOptionsOf(const SolverSettings& settings);

// `fit` is that of the solver: trial quantizations search as it does.
absl::StatusOr<TransformOptions> TransformOptionsOf(
    const TransformSettings& settings, const FitOptions& fit);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_RECIPE_SOLVER_SETTINGS_H_
