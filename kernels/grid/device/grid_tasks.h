// What threads do to the rows of a matrix on a grid: a thread has a row, or an
// element of one, and hears of no other thread. What goes across columns are
// products (kernels/linalg/device) between these tasks.
//
// Rows stand side by side, as in the panels of grid_kernels.h: element j of
// row r of matrix b is at [(b * n_cols + j) * ld + r], so that neighbouring
// threads read neighbouring memory. Every row has the operations of
// kernels/grid in their order.
//
// Tested by device_grid_test.

#ifndef NARROW_KERNELS_GRID_DEVICE_GRID_TASKS_H_
#define NARROW_KERNELS_GRID_DEVICE_GRID_TASKS_H_

#include <cstdint>

#include "kernels/device_fma.h"
#include "kernels/grid/device/grid_lanes.h"

#if defined(__CUDACC__)
#define NARROW_GRID_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_GRID_FUNCTION inline
#endif
#if defined(__CUDA_ARCH__)
#define NARROW_GRID_UNROLL _Pragma("unroll")
#else
#define NARROW_GRID_UNROLL
#endif

namespace narrow {
namespace grid_tasks {

// Columns that a thread decides before products tell the others.
inline constexpr int kStrip = 32;
// Columns whose errors wait until all others hear of them.
inline constexpr int64_t kFar = 128;

// Matrices of one shape, side by side. Pointers are the device's.
struct Shape {
  int64_t n_batch;
  int64_t n_rows;
  int64_t ld;  // n_rows or more
  int64_t n_cols;
  int64_t group;  // columns, the last group may be short
  int64_t n_groups;

  NARROW_GRID_FUNCTION int64_t GroupBegin(int64_t g) const { return g * group; }
  NARROW_GRID_FUNCTION int64_t GroupEnd(int64_t g) const {
    const int64_t end = (g + 1) * group;
    return end < n_cols ? end : n_cols;
  }
  // Where column 0 of a matrix begins, and group 0 of its scales.
  NARROW_GRID_FUNCTION int64_t Columns(int64_t batch) const {
    return batch * n_cols * ld;
  }
  NARROW_GRID_FUNCTION int64_t Groups(int64_t batch) const {
    return batch * n_groups * ld;
  }
};

// Codes under scales and zeros.
struct Codes {
  uint8_t* codes;  // [n_batch, n_cols, ld]
  float* scales;   // [n_batch, n_groups, ld]
  float* zeros;    // the same; without zeros not read
};

// A row of a matrix: number i of all of them.
struct RowAt {
  NARROW_GRID_FUNCTION RowAt(const Shape& shape, int64_t i)
      : batch(i / shape.n_rows), lane(i % shape.n_rows) {}
  int64_t batch;
  int64_t lane;
};

// Rows as a file has them, [n_batch, n_rows, n_cols], to columns; or back.
template <typename T>
struct TransposeTask {
  static constexpr bool kRounds = false;
  Shape shape;
  int64_t n_columns;  // or groups
  T* rows;
  T* columns;
  bool back;

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * shape.n_rows * n_columns;
  }
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    // Neighbouring threads write neighbouring memory.
    const int64_t of_batch = shape.n_rows * n_columns;
    const int64_t batch = i / of_batch;
    const int64_t within = i % of_batch;
    const int64_t lane = back ? within / n_columns : within % shape.n_rows;
    const int64_t j = back ? within % n_columns : within / shape.n_rows;
    T* const column = columns + (batch * n_columns + j) * shape.ld + lane;
    T* const row = rows + (batch * shape.n_rows + lane) * n_columns + j;
    if (back) {
      *row = *column;
    } else {
      *column = *row;
    }
  }
};

// to[b, j] = from[b, index[b, j]] for `n_columns` columns; null: their own.
struct ColumnsTask {
  static constexpr bool kRounds = false;
  Shape shape;
  int64_t n_columns;
  const float* from;  // [n_batch, from_columns, ld]
  int64_t from_columns;
  const int32_t* index;  // a matrix's is `index_step` from the one before
  int64_t index_step;
  float* to;  // [n_batch, n_columns, ld]

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * n_columns * shape.n_rows;
  }
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const int64_t lane = i % shape.n_rows;
    const int64_t column = i / shape.n_rows;
    const int64_t batch = column / n_columns;
    const int64_t j = column % n_columns;
    const int64_t source = index == nullptr ? j : index[batch * index_step + j];
    to[column * shape.ld + lane] =
        from[(batch * from_columns + source) * shape.ld + lane];
  }
};

// Columns of one matrix times the scales of each of the batch; or, with
// `scaled`, what is left of them without those of it over its scales.
struct ScaleTask {
  static constexpr bool kRounds = false;
  Shape shape;
  const float* columns;  // [n_cols, ld]
  const float* scales;   // [n_batch, n_cols]
  float* out;            // [n_batch, n_cols, ld]
  const float* scaled;   // the same, or null

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * shape.n_cols * shape.n_rows;
  }
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const int64_t lane = i % shape.n_rows;
    const int64_t column = i / shape.n_rows;
    const float value = columns[column % shape.n_cols * shape.ld + lane];
    const int64_t at = column * shape.ld + lane;
    out[at] = scaled == nullptr ? value * scales[column]
                                : value - scaled[at] / scales[column];
  }
};

// Scales and zeros of groups `first_group` ... of all rows, from columns that
// begin at `columns` + group * group_step.
struct FitTask {
  static constexpr bool kRounds = true;
  Shape shape;
  GridRules rules;
  FitPlan plan;
  int64_t first_group;
  int64_t n_fitted;
  const float* columns;
  int64_t batch_step;
  int64_t group_step;
  const float* weights;  // [n_batch, n_cols]
  Codes codes;

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * n_fitted * shape.n_rows;
  }
  template <GridRounding kRounding>
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const int64_t lane = i % shape.n_rows;
    const int64_t within = i / shape.n_rows % n_fitted;
    const int64_t batch = i / shape.n_rows / n_fitted;
    const int64_t group = first_group + within;
    const int64_t first = shape.GroupBegin(group);
    const int64_t at = shape.Groups(batch) + group * shape.ld + lane;
    grid_lanes::FitLanes<kRounding>(
        rules, plan, columns + batch * batch_step + within * group_step + lane,
        shape.ld, shape.GroupEnd(group) - first,
        weights + batch * shape.n_cols + first, codes.scales + at,
        codes.zeros + at);
  }
};

// A column's step and zero for a row.
struct Step {
  float step;
  float zero;
};
NARROW_GRID_FUNCTION Step StepAt(const GridRules& rules, const Codes& codes,
                                 int64_t at) {
  return {grid_lanes::StepOf(rules, codes.scales[at]),
          grid_lanes::ZeroAt(rules, codes.zeros + at, 0)};
}

// Nearest codes, one element a thread.
struct RoundTask {
  static constexpr bool kRounds = true;
  Shape shape;
  GridRules rules;
  const float* targets;
  Codes codes;

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * shape.n_cols * shape.n_rows;
  }
  template <GridRounding kRounding>
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const int64_t lane = i % shape.n_rows;
    const int64_t column = i / shape.n_rows;
    const int64_t batch = column / shape.n_cols;
    const int64_t group = column % shape.n_cols / shape.group;
    const Step s =
        StepAt(rules, codes, shape.Groups(batch) + group * shape.ld + lane);
    const int64_t at = column * shape.ld + lane;
    codes.codes[at] = static_cast<uint8_t>(
        grid_lanes::Nearest<kRounding>(rules, targets[at] / s.step, s.zero)
            .code);
  }
};

// values = what codes decode to; and with `targets` less them.
struct DecodeTask {
  static constexpr bool kRounds = false;
  Shape shape;
  GridRules rules;
  Codes codes;
  const float* targets;  // or null
  float* values;

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * shape.n_cols * shape.n_rows;
  }
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const int64_t lane = i % shape.n_rows;
    const int64_t column = i / shape.n_rows;
    const int64_t batch = column / shape.n_cols;
    const int64_t group = column % shape.n_cols / shape.group;
    const Step s =
        StepAt(rules, codes, shape.Groups(batch) + group * shape.ld + lane);
    const int64_t at = column * shape.ld + lane;
    const float value =
        grid_lanes::LevelAt(rules, codes.codes + at, s.zero) * s.step;
    values[at] = targets == nullptr ? value : value - targets[at];
  }
};

// Error feedback within a strip of at most kStrip columns: codes one after the
// other, each error told to the rest of the strip.
struct FeedTask {
  static constexpr bool kRounds = true;
  Shape shape;
  GridRules rules;
  int64_t begin;  // place of the strip's first column
  int n_strip;
  const float* m;            // [n_batch, n_cols, n_cols], by places
  const int32_t* order;      // [n_batch, n_cols]: column at a place; or null
  const float* targets;      // by columns
  const float* compensated;  // by places
  float* errors;             // [n_batch, ., ld]: the strip's first
  int64_t errors_step;
  Codes codes;

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * shape.n_rows;
  }
  template <GridRounding kRounding>
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const RowAt at(shape, i);
    const float* const mine =
        compensated + shape.Columns(at.batch) + begin * shape.ld + at.lane;
    float target[kStrip];
    NARROW_GRID_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      target[j] = j < n_strip ? mine[j * shape.ld] : 0;
    }
    const float* const square =
        m + (at.batch * shape.n_cols + begin) * shape.n_cols + begin;
    NARROW_GRID_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      if (j < n_strip) {
        const float error = RoundPlace<kRounding>(at, begin + j, target[j]);
        errors[at.batch * errors_step + j * shape.ld + at.lane] = error;
        NARROW_GRID_UNROLL
        for (int k = j + 1; k < kStrip; ++k) {
          if (k < n_strip) {
            target[k] = Fma(square[j * shape.n_cols + k], error, target[k]);
          }
        }
      }
    }
  }
  // What the column's own weight is above its value.
  template <GridRounding kRounding>
  NARROW_GRID_FUNCTION float RoundPlace(const RowAt& at, int64_t place,
                                        float target) const {
    const int64_t column =
        order == nullptr ? place : order[at.batch * shape.n_cols + place];
    const Step s = StepAt(
        rules, codes,
        shape.Groups(at.batch) + column / shape.group * shape.ld + at.lane);
    const auto q =
        grid_lanes::Nearest<kRounding>(rules, target / s.step, s.zero);
    const int64_t to = shape.Columns(at.batch) + column * shape.ld + at.lane;
    codes.codes[to] = static_cast<uint8_t>(q.code);
    return targets[to] - q.level * s.step;
  }
};

// What levels a group's codes have.
struct LevelsTask {
  static constexpr bool kRounds = false;
  Shape shape;
  GridRules rules;
  int64_t of_group;
  Codes codes;
  float* levels;  // [n_batch, group, ld]

  NARROW_GRID_FUNCTION int64_t width() const {
    return shape.GroupEnd(of_group) - shape.GroupBegin(of_group);
  }
  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * width() * shape.n_rows;
  }
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const int64_t lane = i % shape.n_rows;
    const int64_t j = i / shape.n_rows % width();
    const int64_t batch = i / shape.n_rows / width();
    const Step s =
        StepAt(rules, codes, shape.Groups(batch) + of_group * shape.ld + lane);
    const int64_t from = shape.Columns(batch) +
                         (shape.GroupBegin(of_group) + j) * shape.ld + lane;
    levels[(batch * shape.group + j) * shape.ld + lane] =
        grid_lanes::LevelAt(rules, codes.codes + from, s.zero);
  }
};

// Sums of a Gram matrix's rows over their columns' group, in double.
struct OnesTask {
  static constexpr bool kRounds = false;
  Shape shape;
  const float* gram;  // [n_batch, n_cols, n_cols]
  float* ones;        // [n_batch, n_cols]

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * shape.n_cols;
  }
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const int64_t group = i % shape.n_cols / shape.group;
    double sum = 0;
    for (int64_t k = shape.GroupBegin(group); k < shape.GroupEnd(group); ++k) {
      sum += static_cast<double>(gram[i * shape.n_cols + k]);
    }
    ones[i] = static_cast<float>(sum);
  }
};

// A group's scales by least squares; values and gradient follow.
struct RefitTask {
  static constexpr bool kRounds = true;
  Shape shape;
  GridRules rules;
  int64_t of_group;
  const float* ones;
  Codes codes;
  float* values;     // [n_batch, n_cols, ld]
  float* gradient;   // the same
  float* levels;     // [n_batch, group, ld]
  float* curvature;  // the same: H levels

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * shape.n_rows;
  }
  template <GridRounding kRounding>
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const RowAt at(shape, i);
    const int64_t first = shape.GroupBegin(of_group);
    const int64_t columns = shape.Columns(at.batch) + first * shape.ld;
    const int64_t groups = shape.Groups(at.batch) + of_group * shape.ld;
    const int64_t scratch = at.batch * shape.group * shape.ld;
    GroupBlock block;
    block.n = shape.GroupEnd(of_group) - first;
    block.ld = shape.ld;
    block.ones = ones + at.batch * shape.n_cols + first;
    block.scales = codes.scales + groups;
    block.zeros = codes.zeros + groups;
    block.codes = codes.codes + columns;
    block.values = values + columns;
    block.gradient = gradient + columns;
    block.levels = levels + scratch;
    block.curvature = curvature + scratch;
    float ones_sum = 0;
    for (int64_t j = 0; j < block.n; ++j) {
      ones_sum += block.ones[j];
    }
    grid_lanes::RefitLanes<kRounding>(rules, block, ones_sum, at.lane);
  }
};

// Each code of a strip in turn to its best given all others; the strip's own
// gradient and values follow.
struct SweepTask {
  static constexpr bool kRounds = true;
  Shape shape;
  GridRules rules;
  int64_t of_group;
  int64_t begin;  // column
  int n_strip;
  const float* gram;
  Codes codes;
  float* values;
  float* gradient;
  float* changes;  // [n_batch, kStrip, ld]

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * shape.n_rows;
  }
  template <GridRounding kRounding>
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const RowAt at(shape, i);
    const int64_t first = shape.Columns(at.batch) + begin * shape.ld + at.lane;
    const float* const square =
        gram + (at.batch * shape.n_cols + begin) * shape.n_cols + begin;
    const Step s = StepAt(
        rules, codes, shape.Groups(at.batch) + of_group * shape.ld + at.lane);
    float g[kStrip];
    NARROW_GRID_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      g[j] = j < n_strip ? gradient[first + j * shape.ld] : 0;
    }
    NARROW_GRID_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      if (j < n_strip) {
        const float change = Change<kRounding>(
            first + j * shape.ld, square[j * shape.n_cols + j], s, g[j]);
        changes[(at.batch * kStrip + j) * shape.ld + at.lane] = change;
        NARROW_GRID_UNROLL
        for (int k = 0; k < kStrip; ++k) {
          if (k < n_strip) {
            g[k] = Fma(square[j * shape.n_cols + k], change, g[k]);
          }
        }
      }
    }
    NARROW_GRID_UNROLL
    for (int j = 0; j < kStrip; ++j) {
      if (j < n_strip) {
        gradient[first + j * shape.ld] = g[j];
      }
    }
  }
  template <GridRounding kRounding>
  NARROW_GRID_FUNCTION float Change(int64_t at, float diagonal, const Step& s,
                                    float g) const {
    if (!(diagonal > 0)) {
      return 0;
    }
    const float inverse = 1.0f / diagonal;
    const float value = values[at];
    const float target = value - g * inverse;
    const auto q =
        grid_lanes::Nearest<kRounding>(rules, target / s.step, s.zero);
    const float new_value = q.level * s.step;
    const float delta = new_value - value;
    if (!(delta * (2.0f * g + delta * diagonal) < 0.0f)) {
      return 0;
    }
    codes.codes[at] = static_cast<uint8_t>(q.code);
    values[at] = new_value;
    return delta;
  }
};

// out = a - b for columns first ... of each matrix; `b` has `b_columns`.
struct SubtractTask {
  static constexpr bool kRounds = false;
  Shape shape;
  int64_t first;
  int64_t n_columns;
  const float* a;  // [n_batch, n_cols, ld]
  const float* b;  // [n_batch, b_columns, ld], its own first column
  int64_t b_columns;
  float* out;  // as b

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * n_columns * shape.n_rows;
  }
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const int64_t lane = i % shape.n_rows;
    const int64_t j = i / shape.n_rows % n_columns;
    const int64_t batch = i / shape.n_rows / n_columns;
    const int64_t at = (batch * b_columns + j) * shape.ld + lane;
    out[at] = a[shape.Columns(batch) + (first + j) * shape.ld + lane] - b[at];
  }
};

// sums[row] = errors . products in double.
struct DotTask {
  static constexpr bool kRounds = false;
  Shape shape;
  const float* errors;
  const float* products;
  double* sums;  // [n_batch, n_rows]

  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * shape.n_rows;
  }
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const RowAt at(shape, i);
    const int64_t first = shape.Columns(at.batch) + at.lane;
    double sum = 0;
    for (int64_t j = 0; j < shape.n_cols; ++j) {
      const int64_t element = first + j * shape.ld;
      sum += static_cast<double>(errors[element]) *
             static_cast<double>(products[element]);
    }
    sums[i] = sum;
  }
};

// Rows whose error fell take what they became; and `was` becomes the less.
// With `matrices`, whole matrices do whose entry is not 0.
struct KeepTask {
  static constexpr bool kRounds = false;
  Shape shape;
  const double* is;         // [n_batch, n_rows]
  const double* was;        // the same
  const uint8_t* matrices;  // [n_batch], or null
  Codes from;
  Codes to;

  // Columns, then groups.
  NARROW_GRID_FUNCTION int64_t n() const {
    return shape.n_batch * (shape.n_cols + shape.n_groups) * shape.n_rows;
  }
  NARROW_GRID_FUNCTION void Run(int64_t i) const {
    const int64_t lane = i % shape.n_rows;
    const int64_t width = shape.n_cols + shape.n_groups;
    const int64_t batch = i / shape.n_rows / width;
    const int64_t j = i / shape.n_rows % width;
    const int64_t row = batch * shape.n_rows + lane;
    if (matrices != nullptr ? matrices[batch] == 0 : !(is[row] < was[row])) {
      return;
    }
    if (j < shape.n_cols) {
      const int64_t at = shape.Columns(batch) + j * shape.ld + lane;
      to.codes[at] = from.codes[at];
      return;
    }
    const int64_t at =
        shape.Groups(batch) + (j - shape.n_cols) * shape.ld + lane;
    to.scales[at] = from.scales[at];
    to.zeros[at] = from.zeros[at];
  }
};

}  // namespace grid_tasks
}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_DEVICE_GRID_TASKS_H_
