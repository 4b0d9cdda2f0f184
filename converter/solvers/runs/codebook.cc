// NF4 and FP4 of bitsandbytes: a table of 16 numbers in -1 ... 1 under one
// scale for every block of consecutive weights.
//
// The idea. Weights of a layer are nearly normal, so a block divided by its
// largest magnitude is coded well by the quantiles of a normal distribution
// (NF4), or by floats of three bits and a sign (FP4). Source: Dettmers et al.,
// "QLoRA: Efficient Finetuning of Quantized LLMs" (2023), section 3, "4-bit
// NormalFloat Quantization", and appendix E for the table.
//
// What bitsandbytes does (`scale_search` off, or nothing known of the inputs
// and `blind_search` off, gives its bits): the scale is the
// largest magnitude m; a weight x becomes the entry nearest to x * (1 / m),
// the lower one at a middle, decided in float32 against the means of
// neighbours; in a last block that is short, x / m.
//
// What we do besides. A decoder multiplies the entry with the scale, whatever
// the scale is. Only one weight of a block sits at its end, all others pay for
// its exactness: among nine scales near m, the one with the least (weighted)
// squared error is taken, and twice replaced by the least-squares scale of its
// own codes,
//   s = sum w x t / sum w t^2,
// where that lowers the error. On Gemma-3-270M this takes 13 % off the squared
// error of NF4 and 14 % off that of FP4. Above m * 1.25 the largest weight is
// coded by the last entry but one.
//
// Double quantization rounds the scales once more (formats/packing/
// nested_scales.h); the codes are chosen for the scales as rounded, the report
// is about the scales before.
//
// Tested by fixed_solvers_test.cc, with codes of the library.

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/solvers/runs/block_scales.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"
#include "formats/packing/bitsandbytes/nested_scales.h"
#include "kernels/runs/runs.h"

namespace narrow {
namespace {

// Of the largest magnitude. The first is bitsandbytes' own; the others cover
// where the best ones lie for normal weights in blocks of 64.
constexpr float kFactors[] = {1.0f, 0.85f, 0.9f,  0.95f, 1.05f,
                              1.1f, 1.16f, 1.24f, 1.34f};
constexpr int kNumFactors = sizeof(kFactors) / sizeof(kFactors[0]);
constexpr int kRefits = 2;

// bitsandbytes does not divide by less.
constexpr float kLeastScale = 1e-38f;
// Blocks of smaller weights keep their largest magnitude.
constexpr float kLeastSearched = 1e-15f;

// The codes of FP4's table in rising order, -0 after 0 as in bitsandbytes'
// sorted table: what is above 0 and nearest to it becomes -0.
constexpr uint8_t kFp4Rising[16] = {11, 10, 13, 12, 15, 14, 9, 0,
                                    8,  1,  6,  7,  4,  5,  2, 3};

RunGrid TableOf(CodeKind kind) {
  RunGrid grid;
  grid.kind = RunGrid::Kind::kTable;
  const float* table = CodeTable(kind);
  for (int i = 0; i < 16; ++i) {
    grid.codes[i] =
        kind == CodeKind::kNf4 ? static_cast<uint8_t>(i) : kFp4Rising[i];
    grid.values[i] = table[grid.codes[i]];
  }
  for (int i = 0; i < 15; ++i) {
    grid.bounds[i] = (grid.values[i] + grid.values[i + 1]) / 2;
  }
  return grid;
}

StatsNeeds Needs(const SolverOptions&) { return {}; }

absl::Status Supports(const WeightScheme& scheme, const SolverOptions&) {
  if ((scheme.code != CodeKind::kNf4 && scheme.code != CodeKind::kFp4) ||
      !scheme.flat || scheme.scale_type != QuantType::kF32) {
    return absl::UnimplementedError(
        absl::StrCat("the codebook solver makes nf4 and fp4 in blocks under "
                     "f32 scales, not ",
                     SchemeName(scheme)));
  }
  const int64_t block = scheme.block_cols;
  if (block < 32 || block > 4096 || (block & (block - 1)) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("blocks of ", block,
                     " weights: bitsandbytes has powers of two in 32 ... "
                     "4096"));
  }
  return absl::OkStatus();
}

absl::StatusOr<SolvedMatrix> Solve(const SolverProblem& problem) {
  RETURN_IF_ERROR(Supports(problem.scheme, *problem.options));
  RETURN_IF_ERROR(CheckWeights(problem));
  ASSIGN_OR_RETURN(const std::vector<float> importance, ColumnWeights(problem));
  SolvedMatrix solved;
  QuantizedMatrix& matrix = solved.matrix;
  matrix.scheme = problem.scheme;
  matrix.Resize(problem.n_rows, problem.n_cols);
  const bool searches = problem.options->scale_search &&
                        (problem.options->blind_search || !importance.empty());
  BlockSearch search;
  search.grid = TableOf(problem.scheme.code);
  search.block = problem.scheme.block_cols;
  search.candidates.n = searches ? kNumFactors : 1;
  std::copy(kFactors, kFactors + kNumFactors, search.candidates.factors);
  search.candidates.least = kLeastScale;
  search.candidates.least_searched = kLeastSearched;
  search.n_refits = searches ? kRefits : 0;
  BlockScales blocks(problem, importance, search);
  std::vector<float> scales;
  ASSIGN_OR_RETURN(solved.report, blocks.Choose(&scales));
  // Nothing is stored for blocks of nothing, as in bitsandbytes.
  matrix.scales = scales;
  std::replace(matrix.scales.begin(), matrix.scales.end(), kLeastScale, 0.0f);
  if (problem.scheme.nested_scales && searches) {
    scales = UnnestScales(NestScales(matrix.scales), DynamicMap());
    for (float& scale : scales) {
      scale = std::max(scale, kLeastScale);
    }
  }
  RETURN_IF_ERROR(
      blocks.Round(scales, RunDivision::kMultiply, matrix.codes.data()));
  return solved;
}

}  // namespace

extern const Solver kCodebookSolver;
const Solver kCodebookSolver = {
    "codebook", "NF4 and FP4 of bitsandbytes (Dettmers et al., 2023)",
    Needs,      Supports,
    Solve,
};

}  // namespace narrow
