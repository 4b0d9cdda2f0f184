// Bytes: LLM.int8() of bitsandbytes, and weights of W8A8, whose inputs are
// bytes too.
//
// LLM.int8() (Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for
// Transformers at Scale", 2022, section 2) stores the largest magnitude c of
// a row; a weight is code * c / 127. The library rounds weights to half
// precision first, takes c from these and codes round(w * (127 / c)). We do
// too with `scale_search` off, 127 / c being PyTorch's 1 / c * 127.
//
// W8A8 has one scale a row or a tensor and codes -128 ... 127; its peers take
// the largest magnitude over 127.5 (compressed-tensors) and divide by it.
// Static inputs get the largest one seen, over 127.
//
// What we do besides: a shorter range rounds all weights of a row finer and
// cuts few. Scales down to 0.7 of the peers' are tried, the best one (by
// squared error, weighted by importance where it is known) is replaced by the
// least-squares scale of its codes,
//   s = sum w x q / sum w q^2,
// as long as that lowers the error. Every scale is rounded to its stored type
// before it is tried. Codes of LLM.int8() keep to -127 ... 127.
//
// Tested by fixed_solvers_test.cc.

#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/solvers/runs/run_scales.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr float kFactors[] = {0.99f, 0.98f, 0.96f, 0.94f, 0.92f, 0.9f,  0.88f,
                              0.86f, 0.84f, 0.82f, 0.8f,  0.77f, 0.74f, 0.7f};
constexpr int kRefits = 4;

bool IsLlmInt8(const WeightScheme& scheme) { return scheme.scale_unit != 1; }

StatsNeeds NeedsFor(const SolverOptions& options) {
  StatsNeeds needs;
  needs.columns = options.weighted_fit;
  return needs;
}

absl::Status Supports(const WeightScheme& scheme, const SolverOptions&) {
  if (scheme.code != CodeKind::kInteger || scheme.bits != 8 ||
      scheme.zero != ZeroKind::kNone || scheme.flat || scheme.column_groups ||
      scheme.block_cols != 0 || scheme.block_rows > 1) {
    return absl::UnimplementedError(
        absl::StrCat("the int8 solver makes symmetric 8-bit codes under a "
                     "scale a row or a tensor, not ",
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
  const bool searches = problem.options->scale_search;
  const bool is_llm = IsLlmInt8(problem.scheme);
  ScaleBlocks blocks;
  blocks.grid.low = is_llm ? -127 : -128;
  blocks.top = is_llm ? 1.0f : 127.5f;
  if (searches) {
    blocks.factors = kFactors;
    blocks.n_refits = kRefits;
  }
  if (is_llm) {
    blocks.division = RunDivision::kMultiply;
    blocks.inverse_unit = 127;
  }
  SolverProblem inner = problem;
  std::vector<float> halves;
  if (is_llm && !searches) {
    const size_t n = static_cast<size_t>(problem.n_rows * problem.n_cols);
    halves.resize(n);
    for (size_t i = 0; i < n; ++i) {
      halves[i] = FloatFromF16(F16FromFloat(problem.weights[i]));
    }
    inner.weights = halves.data();
    RETURN_IF_ERROR(CheckWeights(inner));  // beyond half precision
  }
  ASSIGN_OR_RETURN(solved.report,
                   SolveRunScales(inner, importance, blocks, &solved.matrix));
  if (problem.scheme.activations == ActivationKind::kStaticInt8) {
    ASSIGN_OR_RETURN(solved.matrix.input_scale, StaticInputScale(problem, 127));
  }
  return solved;
}

}  // namespace

extern const Solver kInt8Solver;
const Solver kInt8Solver = {
    "int8",   "LLM.int8() (Dettmers et al., 2022) and bytes of W8A8",
    NeedsFor, Supports,
    Solve,
};

}  // namespace narrow
