// Schemes, weights and statistics for tests of solvers.

#ifndef NARROW_CONVERTER_SOLVERS_TEST_PROBLEMS_H_
#define NARROW_CONVERTER_SOLVERS_TEST_PROBLEMS_H_

#include <cstdint>
#include <vector>

#include "calibration/blockwise/layer_stats.h"
#include "formats/packing/quantized_matrix.h"

namespace narrow {

struct SchemeCase {
  const char* name;
  WeightScheme scheme;
};

WeightScheme TestScheme(CodeKind code, int bits, ZeroKind zero,
                        int64_t block_rows, int64_t block_cols,
                        QuantType scale);

// One of every kind that is no flat one.
std::vector<SchemeCase> TestSchemes();
// Flat blocks, and what the solvers of bytes and tables alone have.
std::vector<SchemeCase> FlatTestSchemes();

// Normal, a few of them large.
std::vector<float> TestWeights(int64_t n, unsigned seed);

// Of inputs that share much, a few of them strong.
LayerStats TestStats(int64_t n_cols, int64_t n_rows, unsigned seed);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_TEST_PROBLEMS_H_
