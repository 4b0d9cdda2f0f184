// Scales of short blocks of consecutive weights, chosen among a few candidates
// for each block by (weighted) squared error.
//
//   BlockSearch search;
//   search.block = 16;  search.grid = ...;  search.n_candidates = 11;
//   search.candidates = [](float top, float* scales) { ... };
//   SolverReport report = ChooseBlockScales(problem, importance, search, &s);
//   RoundBlocks(problem, search.grid, 16, s, RunDivision::kDivide, codes);
//
// Blocks are those of the row-major matrix, whatever its rows. Sixteen stand
// side by side (kernels/runs), so that a candidate costs a few instructions a
// weight. The same for any number of threads and instruction set.

#ifndef NARROW_CONVERTER_SOLVERS_BLOCK_SCALES_H_
#define NARROW_CONVERTER_SOLVERS_BLOCK_SCALES_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "converter/solvers/solver.h"
#include "kernels/runs/runs.h"

namespace narrow {

struct BlockSearch {
  RunGrid grid;
  int64_t block = 64;
  int n_candidates = 1;
  // Positive scales to try for a block whose largest magnitude is `top`, the
  // peers' choice first.
  std::function<void(float top, float* scales)> candidates;
  // Least-squares scales of the chosen one's codes, where any float may be
  // stored.
  int n_refits = 0;
};

// One scale a block, by which codes are multiplied. A last block that is
// short gets the first candidate. The report has the errors under the first
// candidates and under those that were chosen.
SolverReport ChooseBlockScales(const SolverProblem& problem,
                               const std::vector<float>& importance,
                               const BlockSearch& search,
                               std::vector<float>* scales);

// Codes [n_rows, n_cols] under the scales. A short last block is divided by
// its scale in any case, as bitsandbytes does.
void RoundBlocks(const SolverProblem& problem, const RunGrid& grid,
                 int64_t block, const std::vector<float>& scales,
                 RunDivision division, uint8_t* codes);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_BLOCK_SCALES_H_
