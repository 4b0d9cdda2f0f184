#include "converter/solvers/matrix_rows.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "converter/solvers/grid_problem.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

bool CrossesRows(const WeightScheme& scheme, int64_t n_cols) {
  return scheme.flat && n_cols % scheme.block_cols != 0;
}

bool OwnScales(const WeightScheme& scheme, int64_t n_cols) {
  return !SharesScales(scheme) && !CrossesRows(scheme, n_cols);
}

}  // namespace

bool OwnScales(const SolverProblem& problem) {
  return OwnScales(problem.scheme, problem.n_cols);
}

absl::StatusOr<GridRows> MakeRows(const SolverProblem& problem,
                                  const QuantizedMatrix& matrix) {
  RETURN_IF_ERROR(CheckGridScheme(problem.scheme));
  SolverProblem cut = problem;
  if (CrossesRows(problem.scheme, problem.n_cols)) {
    cut.scheme.block_cols = std::gcd(problem.scheme.block_cols, problem.n_cols);
  }
  cut.global_scale = matrix.global_scale;
  GridRows rows = MakeGridRows(cut);
  rows.codes = matrix.codes;
  for (int64_t row = 0; row < rows.n_rows; ++row) {
    for (int64_t group = 0; group < rows.n_groups; ++group) {
      const size_t from =
          static_cast<size_t>(matrix.ScaleIndex(row, rows.GroupBegin(group)));
      const size_t to = static_cast<size_t>(row * rows.n_groups + group);
      rows.scales[to] = matrix.scales[from];
      if (!rows.zeros.empty()) {
        rows.zeros[to] = matrix.zeros[from];
      }
    }
  }
  return rows;
}

QuantizedMatrix TakeRows(const GridRows& rows, const QuantizedMatrix& matrix) {
  QuantizedMatrix taken = matrix;
  taken.codes = rows.codes;
  if (OwnScales(matrix.scheme, matrix.n_cols)) {
    taken.scales = rows.scales;
    taken.zeros = rows.zeros;
  }
  return taken;
}

void CopyRow(const GridRows& from, int64_t row, int64_t to_row, GridRows* to) {
  const auto copy = [row, to_row](const auto& source, int64_t n, auto* target) {
    std::copy_n(source.begin() + row * n, n, target->begin() + to_row * n);
  };
  copy(from.codes, from.n_cols, &to->codes);
  copy(from.scales, from.n_groups, &to->scales);
  if (!from.zeros.empty()) {
    copy(from.zeros, from.n_groups, &to->zeros);
  }
}

}  // namespace narrow
