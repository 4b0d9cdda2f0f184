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
  int64_t group = 128;  // columns, the last may be short; 0: the whole row
  QuantType scale_type = QuantType::kF16;
  // Scales are stored times this (NVFP4's global scale), then rounded.
  float global_scale = 1;
  // What a stored scale is multiplied with (WeightScheme::scale_unit).
  float scale_unit = 1;
  // Integers without a zero have one level more below 0 than above: whether
  // kLeastSquares may choose a negative scale, so that a group has it above
  // (as ggml's q4_0 does). Of F16, BF16 and F32 scales alone; clients multiply
  // with it as with any other.
  bool signed_scales = false;
  // Least zero point: 1 for GPTQ v1, whose fields hold zero - 1.
  int zero_low = 0;
  // Least code of integers: 1 for LLM.int8(), whose codes are -127 ... 127.
  int code_low = 0;
};

struct GridRows {
  GridSpec spec;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  int64_t n_groups = 0;
  std::vector<uint8_t> codes;  // [n_rows, n_cols]
  std::vector<float> scales;   // [n_rows, n_groups], as stored
  std::vector<float> zeros;    // the same with zeros, or empty

  // Codes 0, scales 1, zeros 2^(bits - 1).
  GridRows(const GridSpec& grid_spec, int64_t rows, int64_t cols);
  // Columns of a group, [begin, end).
  int64_t GroupBegin(int64_t group) const;
  int64_t GroupEnd(int64_t group) const;
  int32_t GroupOf(int64_t column) const {
    return spec.group > 0 ? static_cast<int32_t>(column / spec.group) : 0;
  }
  // Decoded weights of a row, by the arithmetic of DequantizeRows.
  void Decode(int64_t row, float* out) const;
};

struct FitOptions {
  enum class Search {
    // The peers' default: integers with zeros span the least and the largest
    // weight and 0; without, and all other codes, the largest magnitude (of
    // MXFP4 as the OCP formats have it: its power of two).
    kMinMax,
    // That range times 1 - i / n_steps, i = 0, 1 ... while i is below
    // max_shrink * n_steps; each scored by sum of weight * |w - q|^power.
    kShrink,
    // Integers: every fifth of these ranges, with zeros also some whose ends
    // shrink apart, each improved twice by least squares given its codes: the
    // legal zero nearest to the optimum, then the legal scale; the best is
    // improved on, with the zeros beside its own. Floats and tables also try
    // larger ranges than the whole one; scales of E4M3 and E8M0 all legal ones
    // near that of kMinMax. The best by weighted squared error: for no group
    // is it worse than kMinMax.
    kLeastSquares,
  };
  Search search = Search::kLeastSquares;
  float power = 2.4f;  // kShrink
  float max_shrink = 0.8f;
  int n_steps = 100;
  // A symmetric scale as GPTQModel and compressed-tensors define it
  // (2 absmax / (2^b - 1), all codes) or as AutoAWQ (absmax / (2^(b-1) - 1)).
  enum class Symmetric { kFullRange, kRestricted };
  Symmetric symmetric = Symmetric::kFullRange;
};

// Scales and zeros of group `group` for all rows, from weights [n_rows, ld]
// (of which the group's columns are read) under `column_weights` [n_cols] or
// nullptr. Legal values: rounded to their stored type, finite, above 0
// (not 0, with signed_scales). A
// group of zeros gets scale 1. REQUIRES: weights are finite.
void FitGroup(const float* weights, int64_t ld, const float* column_weights,
              const FitOptions& options, int64_t group, GridRows* rows,
              ThreadPool* pool);
// The same for all groups.
void FitGroups(const float* weights, int64_t ld, const float* column_weights,
               const FitOptions& options, GridRows* rows, ThreadPool* pool);

// Nearest codes under the present scales and zeros: integers round w / step
// to even and add the zero (a float zero before rounding); of two levels
// equally near, bitsandbytes' tables take the lower one, FP4 and FP8 the even.
void RoundRows(const float* weights, int64_t ld, GridRows* rows,
               ThreadPool* pool);

}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_GRID_H_
