// The grids of packed formats, row by row: scales fitted to groups of columns,
// weights rounded under them, errors fed back, codes and scales improved.
//
//   GridSpec spec = {...};                                // 4 bits, g128 ...
//   GridRows rows(spec, n_rows, n_cols);
//   FitGroups(weights, n_rows, column_weights, options, &rows, &pool);
//   RoundRows(weights, n_rows, &rows, &pool);
//
// A GridRows is the state of some rows of a matrix: codes, and a scale and a
// zero for every group of columns. Rows are independent, and stand in the
// lanes of a vector; every row's operations have one order, so the result is
// the same for any instruction set and number of threads. Only groups inside
// a row (block_rows 1, not flat, or flat with whole groups a row) are grids
// of this kind; scales shared by several rows (a tensor, 128 x 128 blocks)
// are given from outside (`fixed_scales`).

#ifndef NARROW_KERNELS_GRID_GRID_H_
#define NARROW_KERNELS_GRID_GRID_H_

#include <cstdint>
#include <vector>

#include "formats/base/parallel.h"
#include "formats/packing/quantized_matrix.h"

namespace narrow {

// What fits and rounds need to know of a WeightScheme.
struct GridSpec {
  CodeKind code = CodeKind::kInteger;
  int bits = 4;
  ZeroKind zero = ZeroKind::kNone;
  int64_t group = 128;  // columns; the last may be short
  QuantType scale_type = QuantType::kF16;
  // Scales are stored times this (NVFP4's global scale), then rounded.
  float global_scale = 1;
  // Least zero point: 1 for GPTQ v1, whose fields hold zero - 1.
  int zero_low = 0;
};

struct GridRows {
  GridSpec spec;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  int64_t n_groups = 0;
  std::vector<uint8_t> codes;  // [n_rows, n_cols]
  std::vector<float> scales;   // [n_rows, n_groups], as stored
  std::vector<float> zeros;    // the same with zeros, or empty

  GridRows(const GridSpec& grid_spec, int64_t rows, int64_t cols);
  // Decoded weights of a row, by the arithmetic of DequantizeRows.
  void Decode(int64_t row, float* out) const;
};

struct FitOptions {
  enum class Search {
    kMinMax,  // the peers' default: from the largest magnitudes
    // Shrunk ranges, each scored by sum of weight * |w - q|^power.
    kShrink,
    // kShrink's candidates with power 2, each improved by alternating between
    // codes and the weighted least-squares scale and zero; legal stored
    // values throughout. The best by weighted squared error.
    kLeastSquares,
  };
  Search search = Search::kLeastSquares;
  float power = 2.4f;  // kShrink
  float max_shrink = 0.8f;
  int n_steps = 100;
  // kMinMax as GPTQModel (2 absmax / (2^b - 1), all codes) or as AutoAWQ
  // (absmax / (2^(b-1) - 1)) defines a symmetric scale.
  enum class Symmetric { kFullRange, kRestricted };
  Symmetric symmetric = Symmetric::kFullRange;
};

// Scales and zeros of group `group` for all rows, from weights [n_rows, ld]
// (of which the group's columns are read) under `column_weights` [n_cols] or
// nullptr. Legal values: rounded to their stored type, finite, not 0.
void FitGroup(const float* weights, int64_t ld, const float* column_weights,
              const FitOptions& options, int64_t group, GridRows* rows,
              ThreadPool* pool);
// The same for all groups.
void FitGroups(const float* weights, int64_t ld, const float* column_weights,
               const FitOptions& options, GridRows* rows, ThreadPool* pool);

// Nearest codes under the present scales and zeros.
void RoundRows(const float* weights, int64_t ld, GridRows* rows,
               ThreadPool* pool);

}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_GRID_H_
