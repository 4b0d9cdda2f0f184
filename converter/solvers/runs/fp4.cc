// FP4 (E2M1) in small blocks: NVFP4 and MXFP4.
//
// NVFP4: 16 weights share an E4M3 scale, all of them one float32 scale by
// which block scales are divided ("Pretraining Large Language Models with
// NVFP4", NVIDIA, 2025, section 2). MXFP4: 32 weights share a power of two
// (OCP Microscaling Formats v1.0, sections 5 and 6.3).
//
// Peers (`scale_search` off gives compressed-tensors' codes, as does MXFP4
// where nothing is known of the inputs and `blind_search` is off): NVFP4 takes
// the block's largest magnitude over 6, times the global scale, rounded to E4M3
// (0.125 where that is 0); MXFP4 the power of two below it over 4, or the next
// one where the mantissa is 1.75 or more.
//
// E2M1 has steps of 0.5 to 2 and then of 1 to 4, then nothing between 4 and 6:
// a block whose weights fall there is coded better with its largest weight at
// 4 (four over six: Cook et al., 2025), or anywhere else on the grid. NVFP4's
// neighbouring E4M3 scales are twelve: all are tried by squared error, weighted
// by importance where it is known. MXFP4 has one neighbour on each side.
//
// Inputs in NVFP4 (W4A4) get a global scale from the largest one seen.
// Tested by fixed_solvers_test.cc.

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/solvers/runs/block_scales.h"
#include "converter/solvers/runs/fp4_scale.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/float16.h"
#include "formats/base/float8.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr float kMaxE2M1 = 6;
// E4M3 has 8 numbers an octave: from 0.7 to 1.6 of the peers' scale.
constexpr int kStepsBelow = 4;
constexpr int kStepsAbove = 7;

bool IsMx(const WeightScheme& scheme) {
  return scheme.scale_type == QuantType::kF8E8M0;
}

// What to try of a block (kernels/runs/run_candidates.h).
RunCandidates CandidatesOf(const WeightScheme& scheme, float global,
                           bool searches) {
  RunCandidates candidates;
  candidates.kind =
      IsMx(scheme) ? RunCandidates::Kind::kE8M0 : RunCandidates::Kind::kE4M3;
  candidates.global = global;
  candidates.steps_below = kStepsBelow;
  if (searches) {
    candidates.n = IsMx(scheme) ? 3 : 1 + kStepsBelow + kStepsAbove;
  }
  return candidates;
}

StatsNeeds NeedsFor(const SolverOptions& options) {
  StatsNeeds needs;
  needs.columns = options.weighted_fit;
  return needs;
}

absl::Status Supports(const WeightScheme& scheme, const SolverOptions&) {
  const bool is_nv = scheme.scale_type == QuantType::kF8E4M3 &&
                     scheme.global_scale && scheme.block_cols == 16;
  const bool is_mx =
      IsMx(scheme) && !scheme.global_scale && scheme.block_cols == 32;
  if (scheme.code != CodeKind::kE2M1 || scheme.flat || scheme.column_groups ||
      scheme.block_rows != 1 || (!is_nv && !is_mx)) {
    return absl::UnimplementedError(absl::StrCat(
        "the fp4 solver makes nvfp4 and mxfp4, not ", SchemeName(scheme)));
  }
  return absl::OkStatus();
}

float LargestMagnitude(const SolverProblem& problem) {
  const RunKernels& kernels = RunKernelsForCpu();
  float top = 0;
  for (int64_t row = 0; row < problem.n_rows; ++row) {
    top = std::max(top, kernels.max_abs(problem.weights + row * problem.n_cols,
                                        problem.n_cols));
  }
  return top;
}

absl::StatusOr<SolvedMatrix> Solve(const SolverProblem& problem) {
  const WeightScheme& scheme = problem.scheme;
  RETURN_IF_ERROR(Supports(scheme, *problem.options));
  if (problem.n_cols % scheme.block_cols != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor ", QuotedName(problem.name), " has ", problem.n_cols,
        " columns, no multiple of ", scheme.block_cols));
  }
  RETURN_IF_ERROR(CheckWeights(problem));
  ASSIGN_OR_RETURN(const std::vector<float> importance, ColumnWeights(problem));
  SolvedMatrix solved;
  QuantizedMatrix& matrix = solved.matrix;
  matrix.scheme = scheme;
  matrix.Resize(problem.n_rows, problem.n_cols);
  if (scheme.global_scale) {
    matrix.global_scale =
        problem.global_scale > 0
            ? problem.global_scale
            : Nvfp4GlobalScale(LargestMagnitude(problem), *problem.options);
  }
  const float global = matrix.global_scale;
  const bool searches = problem.options->scale_search &&
                        (scheme.global_scale || problem.options->blind_search ||
                         !importance.empty());
  BlockSearch search;
  search.grid.kind = RunGrid::Kind::kE2M1;
  search.block = scheme.block_cols;
  search.candidates = CandidatesOf(scheme, global, searches);
  BlockScales blocks(problem, importance, search);
  std::vector<float> scales;
  ASSIGN_OR_RETURN(solved.report, blocks.Choose(&scales));
  RETURN_IF_ERROR(
      blocks.Round(scales, RunDivision::kDivide, matrix.codes.data()));
  for (size_t i = 0; i < scales.size(); ++i) {
    // Exact: scales were E4M3 numbers over `global`, which one product and
    // rounding give back.
    matrix.scales[i] = IsMx(scheme)
                           ? scales[i]
                           : FloatFromE4M3(E4M3FromFloat(scales[i] * global));
  }
  if (scheme.activations == ActivationKind::kNvfp4) {
    ASSIGN_OR_RETURN(const float sixth, StaticInputScale(problem, kMaxE2M1));
    matrix.input_scale = kMaxE4M3 / sixth;
  }
  return solved;
}

}  // namespace

float Nvfp4GlobalScale(float largest, const SolverOptions& options) {
  // A number over a tensor is its reciprocal times the number in PyTorch.
  const float scale =
      1.0f / largest *
      (options.scale_search ? 256.0f * kMaxE2M1 : kMaxE4M3 * kMaxE2M1);
  return std::isfinite(scale) && scale > 0 ? scale : 1.0f;
}

extern const Solver kFp4Solver;
const Solver kFp4Solver = {
    "fp4",    "NVFP4 and MXFP4, scales searched (four over six)",
    NeedsFor, Supports,
    Solve,
};

}  // namespace narrow
