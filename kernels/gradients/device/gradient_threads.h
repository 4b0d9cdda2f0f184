// Derivatives of the passes over rows, and what is noted of gradients, as a
// card's threads do them: the operations of calibration/backward/layers, in
// their order, and so every bit. Phases and lanes as in
// kernels/rows/device/row_threads.h.

#ifndef NARROW_KERNELS_GRADIENTS_DEVICE_GRADIENT_THREADS_H_
#define NARROW_KERNELS_GRADIENTS_DEVICE_GRADIENT_THREADS_H_

#include <cmath>
#include <cstdint>

#include "kernels/rows/device/row_math.h"
#include "kernels/rows/device/row_threads.h"

namespace narrow {
namespace gradient_threads {

using row_threads::kLanes;
using row_threads::LaneSums;

// Running sums of row_gradients.h: half of a row's threads have one each, so
// that two sums are taken at once.
inline constexpr int kSumLanes = kLanes / 2;

NARROW_ROW_FUNCTION double FoldSums(const double* lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// A lane's share of the sum of squares.
NARROW_ROW_FUNCTION double LaneSquares(const float* x, int64_t n, int lane) {
  double sum = 0;
  for (int64_t i = lane; i < n; i += kSumLanes) {
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  return sum;
}

// RmsNormGradient of rows: from `gradient` at what the norm gave to `out`,
// which may be the same. Row r of all begins at r * n; or, with n_heads, at
// r / n_heads * stride + r % n_heads * n; with `rows`, that of x and out at
// rows[r] * n.
struct NormGradientTask {
  const float* x;
  const float* weight;
  const float* gradient;
  int64_t n_rows;
  int64_t n;
  float eps;
  float* out;
  bool add = false;  // to what is there
  int64_t n_heads = 0;
  int64_t stride = 0;
  const int64_t* rows = nullptr;

  static constexpr int kPhases = 2;
  NARROW_ROW_FUNCTION int64_t n_steps() const { return 1; }

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int64_t /*step*/, int lane,
                               LaneSums* sums) const {
    const int64_t from =
        n_heads == 0 ? row * n : row / n_heads * stride + row % n_heads * n;
    const int64_t at = rows == nullptr ? from : rows[row] * n;
    const float* const its_x = x + at;
    const float* const g = gradient + from;
    if constexpr (kPhase == 0) {
      sums->of_lanes[lane] = lane < kSumLanes
                                 ? LaneSquares(its_x, n, lane)
                                 : LaneProducts(its_x, g, lane - kSumLanes);
    } else {
      const double count = static_cast<double>(n);
      const double mean = FoldSums(sums->of_lanes) / count;
      const double factor = 1.0 / sqrt(mean + static_cast<double>(eps));
      const double product = FoldSums(sums->of_lanes + kSumLanes);
      const double share = factor * factor * factor * product / count;
      for (int64_t i = lane; i < n; i += kLanes) {
        const double scaled =
            static_cast<double>(weight[i]) * static_cast<double>(g[i]);
        const float value = static_cast<float>(
            scaled * factor - static_cast<double>(its_x[i]) * share);
        out[at + i] = add ? out[at + i] + value : value;
      }
    }
  }

 private:
  NARROW_ROW_FUNCTION double LaneProducts(const float* its_x, const float* g,
                                          int lane) const {
    double sum = 0;
    for (int64_t i = lane; i < n; i += kSumLanes) {
      sum += static_cast<double>(weight[i]) * static_cast<double>(g[i]) *
             static_cast<double>(its_x[i]);
    }
    return sum;
  }
};

// norms[r] = |x[r]|, of rows `stride` apart.
struct RowNormTask {
  const float* x;
  int64_t n_rows;
  int64_t n;
  int64_t stride;
  float* norms;

  static constexpr int kPhases = 2;
  NARROW_ROW_FUNCTION int64_t n_steps() const { return 1; }

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int64_t /*step*/, int lane,
                               LaneSums* sums) const {
    if constexpr (kPhase == 0) {
      if (lane < kSumLanes) {
        sums->of_lanes[lane] = LaneSquares(x + row * stride, n, lane);
      }
    } else if (lane == 0) {
      norms[row] = static_cast<float>(sqrt(FoldSums(sums->of_lanes)));
    }
  }
};

// GateGradient: rows of `both` have the gradients at gates, then those at ups.
struct GateGradientTask {
  const float* gate;      // [n_rows, n_cols]
  const float* up;        // likewise
  const float* gradient;  // likewise, at act(gate) * up
  row_threads::Gate kind;
  int64_t n_rows;
  int64_t n_cols;
  float* both;  // [n_rows, 2 n_cols]

  NARROW_ROW_FUNCTION int64_t n() const { return n_rows * n_cols; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    constexpr float kTwice = 2 * 0.7978845608028654f;
    constexpr float kCubic = 0.044715f;
    const int64_t row = i / n_cols;
    const int64_t col = i - row * n_cols;
    const float x = gate[i];
    const bool gelu = kind == row_threads::Gate::kGelu;
    const float z = gelu ? (x + x * x * x * kCubic) * kTwice : x;
    const float clamped = 88.0f < -z ? 88.0f : -z;
    const float s =
        1.0f / (1.0f + row_threads::ExpTerm(clamped, 0.0f, col, n_cols));
    const float slope = gelu ? (1.0f + x * x * (3 * kCubic)) * kTwice : 1.0f;
    float* const to = both + row * 2 * n_cols + col;
    to[n_cols] = gradient[i] * (x * s);
    to[0] = gradient[i] * up[i] * (s + x * s * (1.0f - s) * slope);
  }
};

// sums[j] += scale * x[r, j]^2 over some rows, one after the other.
struct ColumnSquaresTask {
  const float* x;       // rows `stride` apart
  const int64_t* rows;  // [n_rows], of x
  int64_t n_rows;
  int64_t n_cols;
  int64_t stride;
  double scale;
  double* sums;

  NARROW_ROW_FUNCTION int64_t n() const { return n_cols; }
  NARROW_ROW_FUNCTION void Run(int64_t j) const {
    double sum = sums[j];
    for (int64_t r = 0; r < n_rows; ++r) {
      const double value = static_cast<double>(x[rows[r] * stride + j]);
      sum += scale * (value * value);
    }
    sums[j] = sum;
  }
};

// out[r] = x[rows[r]] * scales[r or rows[r]], side by side.
struct PickScaledTask {
  const float* x;  // rows `stride` apart
  const int64_t* rows;
  int64_t n_rows;
  int64_t n_cols;
  int64_t stride;
  const float* scales;  // or null: 1
  bool by_place;        // scales are of the picked rows, else of those of x
  float* out;           // [n_rows, n_cols]

  NARROW_ROW_FUNCTION int64_t n() const { return n_rows * n_cols; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const int64_t r = i / n_cols;
    const float value = x[rows[r] * stride + (i - r * n_cols)];
    out[i] = scales == nullptr ? value : value * scales[by_place ? r : rows[r]];
  }
};

// out[rows[r]] += x[r] * scales[r]. REQUIRES: rows that are different.
struct ScatterTask {
  const float* x;  // [n_rows, n_cols]
  const int64_t* rows;
  int64_t n_rows;
  int64_t n_cols;
  const float* scales;  // or null: 1
  float* out;           // rows of n_cols

  NARROW_ROW_FUNCTION int64_t n() const { return n_rows * n_cols; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const int64_t r = i / n_cols;
    float* const to = out + rows[r] * n_cols + (i - r * n_cols);
    const float part = scales == nullptr ? x[i] : x[i] * scales[r];
    *to = *to + part;
  }
};

// dots[r] = sum of left[rows[r], j] * right[r, j], one chain in double.
struct DotTask {
  const float* left;  // rows of n_cols
  const int64_t* rows;
  const float* right;  // [n_rows, n_cols]
  int64_t n_rows;
  int64_t n_cols;
  float* dots;

  NARROW_ROW_FUNCTION int64_t n() const { return n_rows; }
  NARROW_ROW_FUNCTION void Run(int64_t r) const {
    double sum = 0;
    for (int64_t j = 0; j < n_cols; ++j) {
      sum += static_cast<double>(left[rows[r] * n_cols + j]) *
             static_cast<double>(right[r * n_cols + j]);
    }
    dots[r] = static_cast<float>(sum);
  }
};

}  // namespace gradient_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_GRADIENTS_DEVICE_GRADIENT_THREADS_H_
