// The arithmetic of block types on panels of rows, compiled once for each
// instruction set. For the sources of this folder alone.
//
//   const BlockKernels& k = BlockKernelsForCpu();
//   k.feed(rules, feed_block);
//
// A panel holds `ld` rows of a matrix, a multiple of 16, transposed: what
// belongs to column j begins at panel + j * ld. A row is a lane: no operation
// reads two rows, so every row has one order of operations whatever the width
// of registers. Fields stand in lanes too, integers as floats: [n_sub, ld] for
// the sub-blocks of a block. Plain data; all functions are pure and may run on
// any thread.

#ifndef NARROW_KERNELS_COMPENSATED_BLOCK_KERNELS_H_
#define NARROW_KERNELS_COMPENSATED_BLOCK_KERNELS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/cpu.h"

namespace narrow {

// A codec's FieldRanges as the kernels need it; made by block_rules.h.
struct BlockRules {
  int64_t block = 0;  // columns a block
  int64_t sub = 0;    // and a sub-block
  int64_t n_sub = 0;  // sub-blocks a block

  // Codes: all from low to high, or the levels of a table in rising order;
  // the next one is taken above `above[i]`, infinite beyond the last.
  bool has_table = false;
  float code_low = 0;
  float code_high = 0;
  float level[16] = {};
  float above[15] = {};
  float code_unit = 1;

  // What a stored scale stands for: times * stored + plus, or looked up by
  // stored - scale_low.
  bool fixed_scales = false;
  float scale_low = 0;
  float scale_high = 0;
  float scale_times = 1;
  float scale_plus = 0;
  const float* scale_values = nullptr;

  bool has_minima = false;    // dmin is stored
  bool fixed_minima = false;  // mins are 1
  float min_low = 0;
  float min_high = 0;

  enum class Unit { kHalf, kPowerOfTwo, kOne };
  Unit unit = Unit::kHalf;  // what d may be
};

// The fields of a block in lanes.
struct FieldLanes {
  float* d = nullptr;       // [ld]
  float* dmin = nullptr;    // [ld]
  float* scales = nullptr;  // [n_sub, ld], as stored
  float* mins = nullptr;    // [n_sub, ld]
  // What follows from them: weight = step * code - low.
  float* steps = nullptr;  // [n_sub, ld]
  float* lows = nullptr;   // [n_sub, ld]
};

// Columns in the order in which they are rounded, and what to.
struct FeedBlock {
  int64_t n = 0;
  int64_t ld = 0;
  const float* compensated = nullptr;  // [n, ld], by all columns before
  const float* originals = nullptr;    // [n, ld]
  const float* m = nullptr;            // M's own square, [n, m_stride]
  int64_t m_stride = 0;
  const int32_t* subs = nullptr;  // [n], rows of steps and lows
  const float* steps = nullptr;   // [., ld]
  const float* lows = nullptr;
  float* errors = nullptr;  // [n, ld], originals less values
  int8_t* codes = nullptr;  // [n, ld]
};

// A block's columns under its own square of the Gram matrix.
struct GramBlock {
  int64_t ld = 0;
  const float* h = nullptr;  // [block, h_stride]
  int64_t h_stride = 0;
  // [block, n_sub]: sums of a column's row of h over the sub-blocks.
  const float* sums = nullptr;
  FieldLanes fields;
  int8_t* codes = nullptr;     // [block, ld]
  float* values = nullptr;     // [block, ld], decoded
  float* gradient = nullptr;   // [block, ld], ((Q - T) H)^T
  float* direction = nullptr;  // [block, ld], scratch
  float* curvature = nullptr;  // [block, ld], scratch
};

// The combinations of codes that a unit of 4 or 8 columns can have
// (UnitPoints of the codec), with the numbers of its points' halves.
struct UnitRules {
  enum class Signs { kFree, kEven, kNone };

  int unit = 0;
  int dim = 0;       // coordinates a point; a unit is unit / dim points
  int n_levels = 0;  // 3 or 8
  int n_points = 0;
  const uint8_t* levels = nullptr;  // [n_points, dim]
  // [n_points]: levels of the first and second half of a point's coordinates
  // as a number, the first one lowest.
  const uint8_t* first_half = nullptr;
  const uint8_t* second_half = nullptr;
  Signs signs = Signs::kFree;
  float codes[8] = {};
  float down_codes[8] = {};  // of lanes whose `downs` are 1
};

// One unit of columns: codes whose values q make (q - t) P (q - t)^T small.
struct UnitBlock {
  int64_t ld = 0;
  const float* targets = nullptr;  // t, [unit, ld]
  const float* metric = nullptr;   // P, [unit, unit]
  const float* steps = nullptr;    // [ld]
  const float* downs = nullptr;    // [ld], 0 or 1
  // Whether codes and values hold something already, which is only given up
  // for what is better.
  bool has_start = false;
  int8_t* codes = nullptr;   // [unit, ld]
  float* values = nullptr;   // [unit, ld]
  float* changes = nullptr;  // [unit, ld], of values; with a start
};

struct BlockKernels {
  const char* name;
  Isa isa;

  // c[i, :] = fma(a[rows[t], i], b[t, :], c[i, :]) for t = 0 ... k - 1 in this
  // order and i in [begin, end); a [., a_stride], b [k, ld], c [., ld].
  void (*add_products)(const float* a, int64_t a_stride, const int32_t* rows,
                       int64_t k, const float* b, int64_t begin, int64_t end,
                       float* c, int64_t ld);
  // Steps and lows of a block's fields.
  void (*derive)(const BlockRules& rules, int64_t ld, const FieldLanes& fields);
  // Values [block, ld] of codes.
  void (*decode)(const BlockRules& rules, const int8_t* codes, int64_t ld,
                 const FieldLanes& fields, float* values);
  // errors[lane] = sum of weight * (t - nearest)^2 over n columns [n, ld]
  // under one step and low.
  void (*score)(const BlockRules& rules, const float* columns, int64_t ld,
                int64_t n, const float* weights, const float* steps,
                const float* lows, float* errors);
  // Nearest codes of scalar types, errors fed to the columns behind.
  void (*feed)(const BlockRules& rules, const FeedBlock& block);
  // d and dmin by least squares; what follows from them follows, and values
  // and gradient (inside the block).
  void (*refit_units)(const BlockRules& rules, const GramBlock& block);
  // The same of each sub-block's scale and minimum.
  void (*refit_subs)(const BlockRules& rules, const GramBlock& block);
  // Every code of a scalar type in turn.
  void (*sweep)(const BlockRules& rules, const GramBlock& block);
  // A unit of a lattice type.
  void (*round_unit)(const UnitRules& rules, const UnitBlock& block);
};

// In the order of kernels.inc, best first.
absl::Span<const BlockKernels* const> AllBlockKernels();
// The best for this processor (NARROW_ISA lowers it).
const BlockKernels& BlockKernelsForCpu();

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_BLOCK_KERNELS_H_
