// One scale for many weights: a row, a tensor, a rectangle of a matrix.
//
//   ScaleBlocks blocks;
//   blocks.grid.kind = RunGrid::Kind::kE4M3;  blocks.top = 448;
//   blocks.factors = kFactors;                           // scales to try
//   ASSIGN_OR_RETURN(report,
//                    SolveRunScales(problem, importance, blocks, &matrix));
//
// Scales are values that their type stores, and errors are those under them.
// The same for any number of threads and instruction set, and on the problem's
// device (kernels/runs/device), where it has code for the type of scales.

#ifndef NARROW_CONVERTER_SOLVERS_RUNS_RUN_SCALES_H_
#define NARROW_CONVERTER_SOLVERS_RUNS_RUN_SCALES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "converter/solvers/solver.h"
#include "kernels/runs/runs.h"

namespace narrow {

// `scale` as `type` stores it, or the nearest positive finite value it has.
float LegalScale(QuantType type, float scale);

// How a matrix is cut into rectangles of one scale each.
struct ScaleBlocks {
  RunGrid grid;
  // The peers' scale, as stored, is the largest magnitude over `top`.
  float top = 1;
  // Candidates besides: these times the peers' scale.
  absl::Span<const float> factors;
  int n_refits = 0;
  // Weights are rounded over scale_unit * scale, or times the reciprocal of
  // scale times `inverse_unit`.
  RunDivision division = RunDivision::kDivide;
  float inverse_unit = 1;
};

// Chooses the scales of problem.scheme's blocks (rows, rectangles, the whole)
// and rounds under them. The report has the errors of the largest magnitude's
// scale and of the chosen ones; notes, where a device's memory was short.
// Errors: the device's, but for memory. REQUIRES: matrix resized for the
// scheme.
absl::StatusOr<SolverReport> SolveRunScales(
    const SolverProblem& problem, const std::vector<float>& importance,
    const ScaleBlocks& blocks, QuantizedMatrix* matrix);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_RUNS_RUN_SCALES_H_
