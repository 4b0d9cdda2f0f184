// Errors of encoded rows, and which rows of a large matrix to look at.
//
//   for (const WeighedRow& row : ChooseRows(weights_of_rows, 1024)) …
//   errors = RowErrors(*codec, rows, n_cols, importance, gram, &pool);
//
// Pure functions; the same for any number of threads and instruction set.

#ifndef NARROW_CONVERTER_ALLOCATION_ROW_ERRORS_H_
#define NARROW_CONVERTER_ALLOCATION_ROW_ERRORS_H_

#include <cstdint>
#include <vector>

#include "calibration/blockwise/layer_stats.h"
#include "formats/base/parallel.h"
#include "kernels/quant/codec.h"

namespace narrow {

struct WeighedRow {
  int64_t row = 0;
  double weight = 0;  // so that sums over the chosen rows estimate all rows'
};

// All rows with a weight above 0, or max_rows draws in proportion to the
// weights: those at evenly spread places of the running sum (a row with more
// than a draw has their weight).
std::vector<WeighedRow> ChooseRows(const std::vector<double>& weights,
                                   int64_t max_rows);

// At most `most` of 0 ... n - 1, evenly spread.
std::vector<int64_t> EvenRows(int64_t n, int64_t most);

// The mean of x x^T, [n_cols, n_cols].
std::vector<float> MeanGram(const LayerStats& stats);

// Of each row of [n_rows, n_cols]: e gram e^T for e = decoded - weights.
std::vector<double> RowErrors(const BlockCodec& codec,
                              const std::vector<float>& weights, int64_t n_cols,
                              const float* importance,
                              const std::vector<float>& gram, ThreadPool* pool);
// The same for a diagonal matrix.
std::vector<double> DiagonalErrors(const BlockCodec& codec,
                                   const std::vector<float>& weights,
                                   int64_t n_cols, const float* importance,
                                   const std::vector<double>& diagonal,
                                   ThreadPool* pool);

}  // namespace narrow

#endif  // NARROW_CONVERTER_ALLOCATION_ROW_ERRORS_H_
