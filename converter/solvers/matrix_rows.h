// A quantized matrix as rows of a grid, whatever its blocks, and back.
//
//   ASSIGN_OR_RETURN(GridRows rows, MakeRows(problem, matrix));
//   ...                                    // other codes, perhaps scales
//   QuantizedMatrix better = TakeRows(rows, matrix);
//
// Scales that several rows share are there in each of them; flat blocks that
// run across the ends of rows are cut into pieces of one row each, as long as
// divide both. Scales of both may not change: OwnScales. Pure.

#ifndef NARROW_CONVERTER_SOLVERS_MATRIX_ROWS_H_
#define NARROW_CONVERTER_SOLVERS_MATRIX_ROWS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "converter/solvers/solver.h"
#include "formats/packing/quantized_matrix.h"
#include "kernels/grid/grid.h"

namespace narrow {

// Whether every scale belongs to columns of one row.
bool OwnScales(const SolverProblem& problem);

// The codes, scales and zeros of `matrix`, of the problem's scheme.
absl::StatusOr<GridRows> MakeRows(const SolverProblem& problem,
                                  const QuantizedMatrix& matrix);

// `matrix` with the codes of `rows`, and its scales and zeros where every row
// has its own.
QuantizedMatrix TakeRows(const GridRows& rows, const QuantizedMatrix& matrix);

// Row `row` to row `to_row`. REQUIRES: the same columns and grid.
void CopyRow(const GridRows& from, int64_t row, int64_t to_row, GridRows* to);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_MATRIX_ROWS_H_
