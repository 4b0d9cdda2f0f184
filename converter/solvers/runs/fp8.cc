// FP8 (E4M3) weights under one scale for a tensor, a row, or 128 x 128 blocks.
//
// The number format is that of Micikevicius et al., "FP8 Formats for Deep
// Learning" (2022), section 3; blocks are those of DeepSeek-V3 (2024), section
// 3.3. Peers divide by the largest magnitude over 448 and round to nearest
// even (`scale_search` off gives their codes).
//
// A float's relative precision is the same everywhere, so scales matter less
// than for integers: what changes with them is where the weights fall between
// powers of two, and how many are below the least normal number. Scales over
// the octave from the peers' up (and a little below, cutting the largest) are
// tried by squared error, weighted by importance where it is known, then
// replaced by the least-squares one while that helps.
//
// Static inputs get the largest one seen, over 448. Tested by
// fixed_solvers_test.cc.

#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/solvers/runs/run_scales.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/float8.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr float kFactors[] = {0.9f,  0.95f, 1.05f, 1.1f,  1.15f,
                              1.21f, 1.27f, 1.34f, 1.41f, 1.49f,
                              1.57f, 1.66f, 1.75f, 1.85f, 1.95f};
constexpr int kRefits = 3;

StatsNeeds NeedsFor(const SolverOptions& options) {
  StatsNeeds needs;
  needs.columns = options.weighted_fit;
  return needs;
}

absl::Status Supports(const WeightScheme& scheme, const SolverOptions&) {
  if (scheme.code != CodeKind::kE4M3 || scheme.flat || scheme.column_groups ||
      scheme.zero != ZeroKind::kNone || scheme.global_scale) {
    return absl::UnimplementedError(
        absl::StrCat("the fp8 solver makes E4M3 codes under scales of "
                     "tensors, rows or blocks, not ",
                     SchemeName(scheme)));
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
  ScaleBlocks blocks;
  blocks.grid.kind = RunGrid::Kind::kE4M3;
  blocks.top = kMaxE4M3;
  if (problem.options->scale_search) {
    blocks.factors = kFactors;
    blocks.n_refits = kRefits;
  }
  ASSIGN_OR_RETURN(solved.report,
                   SolveRunScales(problem, importance, blocks, &solved.matrix));
  if (problem.scheme.activations == ActivationKind::kStaticFp8) {
    ASSIGN_OR_RETURN(solved.matrix.input_scale,
                     StaticInputScale(problem, kMaxE4M3));
  }
  return solved;
}

}  // namespace

extern const Solver kFp8Solver;
const Solver kFp8Solver = {
    "fp8",    "FP8 E4M3 by tensor, row or block (Micikevicius et al., 2022)",
    NeedsFor, Supports,
    Solve,
};

}  // namespace narrow
