// What threads do to rows of blocks: a thread has a row, or an element of one,
// and hears of no other thread. What goes across columns are products
// (kernels/linalg/device) between these tasks.
//
// Rows stand side by side, as in the panels of block_kernels.h, of which there
// is one for all: column j of row r is at [j * ld + r], so that neighbouring
// threads read neighbouring memory. Every row has the operations of
// kernels/compensated and kernels/feedback in their order; a product of the
// processor's that leaves out columns without changes adds zeros here, which
// no bit of a result depends on.
//
// Tested by device_blocks_test.

#ifndef NARROW_KERNELS_COMPENSATED_DEVICE_BLOCK_TASKS_H_
#define NARROW_KERNELS_COMPENSATED_DEVICE_BLOCK_TASKS_H_

#include <cstdint>

#include "kernels/compensated/device/block_lanes.h"
#include "kernels/device_fma.h"

#if defined(__CUDACC__)
#define NARROW_BLOCK_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_BLOCK_FUNCTION inline
#endif
#if defined(__CUDA_ARCH__)
#define NARROW_BLOCK_UNROLL _Pragma("unroll")
#else
#define NARROW_BLOCK_UNROLL
#endif

namespace narrow {
namespace block_tasks {

// Columns that a thread decides before products tell the others; whole units.
inline constexpr int kStrip = 32;

using Signs = UnitRules::Signs;

// Pointers are the device's, here and in all tasks.
struct Rows {
  int64_t n_rows;
  int64_t ld;  // n_rows or more
};

// Rows as a file has them, [n_rows, from_columns], to columns: to[j] is column
// order[j], or first + j; or, `back`, columns to rows of n_columns.
struct TransposeTask {
  Rows of;
  int64_t n_columns;
  float* rows;
  const int32_t* order;  // or null
  float* columns;        // [n_columns, ld]
  bool back;

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows * n_columns; }
  NARROW_BLOCK_FUNCTION void Run(int64_t i) const {
    // Neighbouring threads write neighbouring memory.
    const int64_t lane = back ? i / n_columns : i % of.n_rows;
    const int64_t j = back ? i % n_columns : i / of.n_rows;
    float* const column = columns + j * of.ld + lane;
    if (back) {
      rows[lane * n_columns + j] = *column;
    } else {
      *column = rows[lane * n_columns + (order == nullptr ? j : order[j])];
    }
  }
};

// out = a - b; `out` may be either.
struct SubtractTask {
  Rows of;
  int64_t n_columns;
  const float* a;
  const float* b;
  float* out;

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows * n_columns; }
  NARROW_BLOCK_FUNCTION void Run(int64_t i) const {
    const int64_t at = i / of.n_rows * of.ld + i % of.n_rows;
    out[at] = a[at] - b[at];
  }
};

// Steps and lows of blocks that follow one another.
struct DeriveTask {
  Rows of;
  BlockRules rules;
  int64_t n_blocks;
  FieldLanes fields;  // of the first

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows * n_blocks; }
  NARROW_BLOCK_FUNCTION void Run(int64_t i) const {
    const int64_t block = i / of.n_rows;
    FieldLanes own = fields;
    own.d += block * of.ld;
    own.dmin += block * of.ld;
    const int64_t at = block * rules.n_sub * of.ld;
    own.scales += at;
    own.mins += at;
    own.steps += at;
    own.lows += at;
    block_lanes::DeriveLane(rules, of.ld, own, i % of.n_rows);
  }
};

// Values of codes, an element a thread.
struct DecodeTask {
  Rows of;
  int64_t n_columns;  // whole blocks
  int64_t sub;        // columns of a sub-block
  const int8_t* codes;
  const float* steps;  // of the first column's sub-block
  const float* lows;
  float* values;

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows * n_columns; }
  NARROW_BLOCK_FUNCTION void Run(int64_t i) const {
    const int64_t lane = i % of.n_rows;
    const int64_t j = i / of.n_rows;
    const int64_t field = j / sub * of.ld + lane;
    const int64_t at = j * of.ld + lane;
    values[at] =
        block_lanes::LoadCodes(codes + at) * steps[field] - lows[field];
  }
};

// A strip of places and what error feedback reads and writes of all columns.
struct FeedStrip {
  int64_t begin;  // its first place
  int n;          // kStrip or less
  int64_t n_cols;
  const float* m;          // [n_cols, n_cols], by places
  const int32_t* order;    // column at a place; null: the place
  const float* originals;  // [n_cols, ld], by places
  float* compensated;      // the same
  float* errors;           // [n, ld]
  const float* steps;      // [sub-blocks of a row, ld]
  const float* lows;       // the same
  int8_t* codes;           // [n_cols, ld], by columns

  NARROW_BLOCK_FUNCTION int64_t ColumnAt(int64_t place) const {
    return order == nullptr ? place : order[place];
  }
};

// Codes of scalar types, one after the other, each error told to the rest of
// the strip.
template <bool kTable>
struct FeedTask {
  Rows of;
  BlockRules rules;
  FeedStrip strip;

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows; }
  NARROW_BLOCK_FUNCTION void Run(int64_t lane) const {
    const int64_t ld = of.ld;
    const float* const mine = strip.compensated + strip.begin * ld + lane;
    const float* const square =
        strip.m + strip.begin * strip.n_cols + strip.begin;
    float target[kStrip];
    NARROW_BLOCK_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      target[j] = j < strip.n ? mine[j * ld] : 0;
    }
    NARROW_BLOCK_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      if (j < strip.n) {
        const float error = RoundPlace(strip.begin + j, lane, target[j]);
        strip.errors[j * ld + lane] = error;
        NARROW_BLOCK_UNROLL
        for (int k = j + 1; k < kStrip; ++k) {
          if (k < strip.n) {
            target[k] = Fma(square[j * strip.n_cols + k], error, target[k]);
          }
        }
      }
    }
  }
  NARROW_BLOCK_FUNCTION float RoundPlace(int64_t place, int64_t lane,
                                         float target) const {
    const int64_t column = strip.ColumnAt(place);
    const int64_t field = column / rules.sub * of.ld + lane;
    const float step = strip.steps[field];
    const float low = strip.lows[field];
    const float code =
        block_lanes::NearestCode<kTable>(rules, target, step, low);
    block_lanes::StoreCodes(code, strip.codes + column * of.ld + lane);
    return strip.originals[place * of.ld + lane] - (code * step - low);
  }
};

// Which units are shifted down: [., ld] of 0 and 1, a row a unit of columns;
// of types that shift none one row of zeros.
struct Downs {
  const float* lanes;
  int64_t step;  // from a unit to the next: ld, or 0
};

// The same of lattice types, a unit after the other.
template <Signs kSigns>
struct FeedUnitsTask {
  Rows of;
  UnitRules rules;
  int64_t sub;
  FeedStrip strip;
  const float* metric;  // [n_cols, unit], by places
  Downs downs;

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows; }
  NARROW_BLOCK_FUNCTION void Run(int64_t lane) const {
    const int64_t ld = of.ld;
    for (int at = 0; at < strip.n; at += rules.unit) {
      const int64_t place = strip.begin + at;
      const int64_t column = strip.ColumnAt(place);
      float* const errors = strip.errors + at * ld;
      UnitBlock unit;
      unit.ld = ld;
      unit.targets = strip.compensated + place * ld;
      unit.metric = metric + place * rules.unit;
      unit.steps = strip.steps + column / sub * ld;
      unit.downs = downs.lanes + column / rules.unit * downs.step;
      unit.codes = strip.codes + column * ld;
      unit.values = errors;
      block_lanes::RoundUnitLanes<kSigns>(rules, unit, lane);
      for (int i = 0; i < rules.unit; ++i) {
        float* const error = errors + i * ld + lane;
        *error = strip.originals[(place + i) * ld + lane] - *error;
      }
      for (int64_t k = at + rules.unit; k < strip.n; ++k) {
        TellPlace(place, strip.begin + k, errors + lane, lane);
      }
    }
  }
  NARROW_BLOCK_FUNCTION void TellPlace(int64_t from, int64_t to,
                                       const float* errors,
                                       int64_t lane) const {
    float* const target = strip.compensated + to * of.ld + lane;
    float sum = *target;
    for (int i = 0; i < rules.unit; ++i) {
      sum =
          Fma(strip.m[(from + i) * strip.n_cols + to], errors[i * of.ld], sum);
    }
    *target = sum;
  }
};

// y M[b, b] = what was added, for a strip of a block's places: y in place.
struct SolveStripTask {
  Rows of;
  int n_strip;
  const float* square;  // M's, at the strip's first place
  int64_t stride;
  float* y;  // the strip's first column

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows; }
  NARROW_BLOCK_FUNCTION void Run(int64_t lane) const {
    float values[kStrip];
    NARROW_BLOCK_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      values[j] = j < n_strip ? y[j * of.ld + lane] : 0;
    }
    NARROW_BLOCK_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      if (j < n_strip) {
        NARROW_BLOCK_UNROLL
        for (int k = j + 1; k < kStrip; ++k) {
          if (k < n_strip) {
            values[k] = Fma(square[j * stride + k], -values[j], values[k]);
          }
        }
      }
    }
    NARROW_BLOCK_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      if (j < n_strip) {
        y[j * of.ld + lane] = values[j];
      }
    }
  }
};

// Values of what was rounded with these errors, and how far they are from the
// targets of a block, originals + y.
struct MissTask {
  Rows of;
  int64_t n_columns;
  const float* originals;
  const float* errors;
  const float* y;
  float* values;
  float* misses;

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows * n_columns; }
  NARROW_BLOCK_FUNCTION void Run(int64_t i) const {
    const int64_t at = i / of.n_rows * of.ld + i % of.n_rows;
    values[at] = originals[at] - errors[at];
    misses[at] = -errors[at] - y[at];
  }
};

// What d moved by 1 does to a block's values.
struct DirectionTask {
  Rows of;
  BlockRules rules;
  GramBlock block;

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows * rules.block; }
  NARROW_BLOCK_FUNCTION void Run(int64_t i) const {
    const int64_t lane = i % of.n_rows;
    const int64_t j = i / of.n_rows;
    const int64_t at = j * of.ld + lane;
    const float stored = block.fields.scales[j / rules.sub * of.ld + lane];
    block.direction[at] =
        block_lanes::LoadCodes(block.codes + at) *
        (block_lanes::SizeOf(rules, stored) * rules.code_unit);
  }
};

// d and dmin, with H direction in `curvature`.
struct RefitUnitsTask {
  Rows of;
  BlockRules rules;
  GramBlock block;

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows; }
  NARROW_BLOCK_FUNCTION void Run(int64_t lane) const {
    block_lanes::RefitUnitsLane(rules, block, lane);
  }
};

// A sub-block's scale and minimum; what values moved by to `direction`.
struct RefitSubTask {
  Rows of;
  BlockRules rules;
  GramBlock block;
  int64_t of_sub;

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows; }
  NARROW_BLOCK_FUNCTION void Run(int64_t lane) const {
    const int64_t ld = of.ld;
    const int64_t begin = of_sub * rules.sub;
    const int64_t end = begin + rules.sub;
    const float unit = block.fields.d[lane] * rules.code_unit;
    for (int64_t j = begin; j < end; ++j) {
      const int64_t at = j * ld + lane;
      block.direction[at] = block_lanes::LoadCodes(block.codes + at) * unit;
    }
    for (int64_t j = begin; j < end; ++j) {
      float sum = 0;
      for (int64_t k = begin; k < end; ++k) {
        sum = Fma(block.h[k * block.h_stride + j],
                  block.direction[k * ld + lane], sum);
      }
      block.curvature[j * ld + lane] = sum;
    }
    block_lanes::RefitSubLane(rules, block, of_sub, lane);
  }
};

// Each code of a strip in turn to its best given all others; the strip's own
// gradient and values follow.
template <bool kTable>
struct SweepTask {
  Rows of;
  BlockRules rules;
  GramBlock block;
  int64_t begin;  // column of the block
  int n_strip;
  float* changes;  // [kStrip, ld]

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows; }
  NARROW_BLOCK_FUNCTION void Run(int64_t lane) const {
    const int64_t ld = of.ld;
    const float* const square = block.h + begin * block.h_stride + begin;
    float* const mine = block.gradient + begin * ld + lane;
    float g[kStrip];
    NARROW_BLOCK_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      g[j] = j < n_strip ? mine[j * ld] : 0;
    }
    NARROW_BLOCK_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      if (j < n_strip) {
        const float* const h = square + j * block.h_stride;
        const float change = Change(begin + j, lane, h[j], g[j]);
        changes[j * ld + lane] = change;
        NARROW_BLOCK_UNROLL
        for (int k = 0; k < kStrip; ++k) {
          if (k < n_strip) {
            g[k] = Fma(h[k], change, g[k]);
          }
        }
      }
    }
    NARROW_BLOCK_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      if (j < n_strip) {
        mine[j * ld] = g[j];
      }
    }
  }
  NARROW_BLOCK_FUNCTION float Change(int64_t j, int64_t lane, float diagonal,
                                     float gradient) const {
    if (!(diagonal > 0)) {
      return 0;
    }
    const float inverse = 1.0f / diagonal;
    const int64_t at = j * of.ld + lane;
    const int64_t field = j / rules.sub * of.ld + lane;
    const float step = block.fields.steps[field];
    const float low = block.fields.lows[field];
    const float value = block.values[at];
    const float target = value - gradient * inverse;
    const float code =
        block_lanes::NearestCode<kTable>(rules, target, step, low);
    const float new_value = code * step - low;
    const float delta = new_value - value;
    if (!(delta * (2.0f * gradient + delta * diagonal) < 0.0f)) {
      return 0;
    }
    block_lanes::StoreCodes(code, block.codes + at);
    block.values[at] = new_value;
    return delta;
  }
};

// The same of lattice types, a unit after the other, towards the Newton step
// of each (improve_block.h).
template <Signs kSigns>
struct SweepUnitsTask {
  static constexpr int kMaxUnit = 8;

  Rows of;
  UnitRules rules;
  int64_t sub;
  GramBlock block;
  const float* inverses;  // [block, unit]
  Downs downs;            // of the block's first unit
  int64_t begin;          // column of the block
  int n_strip;
  float* targets;  // [unit, ld], scratch
  float* changes;  // [kStrip, ld]

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows; }
  NARROW_BLOCK_FUNCTION void Run(int64_t lane) const {
    const int64_t ld = of.ld;
    for (int at = 0; at < n_strip; at += rules.unit) {
      const int64_t first = begin + at;
      const float* const h = block.h + first * block.h_stride;
      float metric[kMaxUnit * kMaxUnit];
      for (int i = 0; i < rules.unit * rules.unit; ++i) {
        metric[i] = h[i / rules.unit * block.h_stride + first + i % rules.unit];
      }
      Aim(first, lane);
      UnitBlock unit;
      unit.ld = ld;
      unit.targets = targets;
      unit.metric = metric;
      unit.steps = block.fields.steps + first / sub * ld;
      unit.downs = downs.lanes + first / rules.unit * downs.step;
      unit.has_start = true;
      unit.codes = block.codes + first * ld;
      unit.values = block.values + first * ld;
      unit.changes = changes + at * ld;
      block_lanes::RoundUnitLanes<kSigns>(rules, unit, lane);
      for (int64_t j = begin; j < begin + n_strip; ++j) {
        float* const gradient = block.gradient + j * ld + lane;
        float sum = *gradient;
        for (int i = 0; i < rules.unit; ++i) {
          sum =
              Fma(h[i * block.h_stride + j], unit.changes[i * ld + lane], sum);
        }
        *gradient = sum;
      }
    }
  }
  NARROW_BLOCK_FUNCTION void Aim(int64_t first, int64_t lane) const {
    for (int i = 0; i < rules.unit; ++i) {
      const float* const inverse = inverses + (first + i) * rules.unit;
      float to = block.values[(first + i) * of.ld + lane];
      for (int k = 0; k < rules.unit; ++k) {
        to -= block.gradient[(first + k) * of.ld + lane] * inverse[k];
      }
      targets[i * of.ld + lane] = to;
    }
  }
};

// Errors of rows: gram[row] = difference . products, and the difference's
// square, in double.
struct MeasureTask {
  Rows of;
  int64_t n_cols;
  const float* difference;
  const float* products;
  double* gram;    // [n_rows]
  double* square;  // [n_rows]

  NARROW_BLOCK_FUNCTION int64_t n() const { return of.n_rows; }
  NARROW_BLOCK_FUNCTION void Run(int64_t lane) const {
    double by_gram = 0;
    double alone = 0;
    for (int64_t j = 0; j < n_cols; ++j) {
      const int64_t at = j * of.ld + lane;
      const double e = static_cast<double>(difference[at]);
      by_gram += e * static_cast<double>(products[at]);
      alone += e * e;
    }
    gram[lane] = by_gram;
    square[lane] = alone;
  }
};

}  // namespace block_tasks
}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_DEVICE_BLOCK_TASKS_H_
