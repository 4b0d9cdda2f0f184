// The arithmetic of grids on panels of rows, compiled once for each
// instruction set. For the sources of this folder alone.
//
//   const GridKernels& k = GridKernelsForCpu();
//   k.round(rules, {panel, ld}, n, scales, zeros, codes, values);
//
// A panel holds `ld` rows of a matrix, a multiple of 16, transposed:
// what belongs to column j begins at panel + j * ld. A row is a lane: no
// operation reads two rows, so every row has one order of operations whatever
// the width of registers, and padding rows disturb nobody. Plain data; all
// functions are pure and may run on any thread.

#ifndef NARROW_KERNELS_GRID_GRID_KERNELS_H_
#define NARROW_KERNELS_GRID_GRID_KERNELS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/cpu.h"

namespace narrow {

// How a weight becomes a code.
enum class GridRounding : int {
  kInteger,    // round(w / step) + zero, zero an integer (or 2^(b - 1))
  kFloatZero,  // round(w / step + zero)
  kLevels,     // the nearest of at most 16 levels
  kE4M3,
};

enum class GridScale : int { kF32, kF16, kBF16, kE4M3, kE8M0 };

// A GridSpec as the kernels need it; made by rules.h.
struct GridRules {
  GridRounding rounding = GridRounding::kInteger;
  bool has_zeros = false;  // of each group; otherwise `fixed_zero`
  float fixed_zero = 0;
  float code_low = 0;  // integers: code_low ... code_high
  float code_high = 15;
  float zero_low = 0;  // integer zeros
  float zero_high = 15;
  // Levels in rising order; code[i] is taken above `above[i - 1]`, so entries
  // of `above` beyond the last level are infinite.
  float level[16] = {};
  float above[15] = {};
  int32_t code[16] = {};
  float highest_level = 1;
  // Levels by code, of all 256 codes (not of integers).
  const float* table = nullptr;

  GridScale scale = GridScale::kF16;
  bool signed_scales = false;
  float scale_low = 0;  // least and largest legal scale
  float scale_high = 0;
  // step = scale * scale_unit / global_scale.
  float scale_unit = 1;
  float global_scale = 1;
};

// A range to try: shares of what lies below 0 and above it (without zeros,
// and of other codes, `high` of the largest magnitude), then so many stored
// scales further, of E4M3 and E8M0 ones.
struct FitStart {
  float low = 1;
  float high = 1;
  int steps = 0;
};

struct FitPlan {
  const FitStart* starts = nullptr;
  int n_starts = 0;
  // Alternations of codes and least squares at each.
  int n_refits = 0;
  // Rounds from the best of all these: the zeros beside its own too.
  int n_polishes = 0;
  float power = 2;  // of the error
  // Of no zero: step = absmax / this.
  float half_range = 7.5f;
};

// Columns of a block, in their order, and what they are rounded to.
struct GridFeed {
  int64_t n = 0;
  int64_t ld = 0;
  const float* compensated = nullptr;  // [n, ld], by all columns before
  const float* originals = nullptr;    // [n, ld]
  const float* m = nullptr;            // M's own square, [n, m_stride]
  int64_t m_stride = 0;
  const int32_t* groups = nullptr;  // [n], rows of scales and zeros
  const float* scales = nullptr;    // [., ld]
  const float* zeros = nullptr;     // [., ld]; without zeros not read
  float* errors = nullptr;          // [n, ld], originals less values
  uint8_t* codes = nullptr;         // [n, ld]
};

// A group's columns under its own square of the Gram matrix.
struct GroupBlock {
  int64_t n = 0;
  int64_t ld = 0;
  const float* h = nullptr;  // [n, h_stride]
  int64_t h_stride = 0;
  const float* ones = nullptr;  // [n], sums of its rows
  float* scales = nullptr;      // [ld]
  float* zeros = nullptr;       // [ld]; without zeros not touched
  uint8_t* codes = nullptr;     // [n, ld]
  float* values = nullptr;      // [n, ld], decoded
  float* gradient = nullptr;    // [n, ld], ((Q - T) H)^T
  float* levels = nullptr;      // [n, ld], scratch
  float* curvature = nullptr;   // [n, ld], scratch
};

struct GridKernels {
  const char* name;
  Isa isa;

  // Scales and zeros of [n, ld] weights under column weights [n].
  void (*fit)(const GridRules& rules, const FitPlan& plan, const float* panel,
              int64_t ld, int64_t n, const float* column_weights, float* scales,
              float* zeros);
  // Nearest codes.
  void (*round)(const GridRules& rules, const float* panel, int64_t ld,
                int64_t n, const float* scales, const float* zeros,
                uint8_t* codes);
  // values[n, ld] of codes.
  void (*decode)(const GridRules& rules, const uint8_t* codes, int64_t ld,
                 int64_t n, const float* scales, const float* zeros,
                 float* values);
  // c[i, :] = fma(a[rows[t], i], b[t, :], c[i, :]) for t = 0 ... k - 1 in this
  // order and i in [begin, end); a [., a_stride], b [k, ld], c [., ld].
  void (*add_products)(const float* a, int64_t a_stride, const int32_t* rows,
                       int64_t k, const float* b, int64_t begin, int64_t end,
                       float* c, int64_t ld);
  void (*feed)(const GridRules& rules, const GridFeed& block);
  // Least-squares scales and zeros; values and gradient follow.
  void (*refit)(const GridRules& rules, const GroupBlock& block);
  // Every code in turn; values and gradient follow (the latter inside the
  // group alone).
  void (*sweep)(const GridRules& rules, const GroupBlock& block);
};

// In the order of kernels.inc, best first.
absl::Span<const GridKernels* const> AllGridKernels();
// The best for this processor (NARROW_ISA lowers it).
const GridKernels& GridKernelsForCpu();

}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_GRID_KERNELS_H_
