// The element-wise and reducing passes of a transformer over single rows:
// norms, gates, rotations, exponentials.
//
//   const RowKernels& rows = RowKernelsForCpu();
//   rows.rms_norm(x, weight, n, eps, out);
//
// Pure functions on float32 memory without alignment demands, safe from any
// thread. All variants give the same bits: one source in vector types of 16
// lanes, without contraction, sums kept per lane in double and folded in a
// fixed order. Variants against reference.cc: rows_test.

#ifndef NARROW_KERNELS_ROWS_ROWS_H_
#define NARROW_KERNELS_ROWS_ROWS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/cpu.h"

namespace narrow {

// Of each of some columns.
struct ColumnMagnitudes {
  double* squares = nullptr;
  double* magnitudes = nullptr;
  float* most = nullptr;
  float* least = nullptr;
};

struct RowKernels {
  const char* name;
  Isa isa;  // what the processor must have

  // out = x / sqrt(mean(x^2) + eps) * weight. `out` may be `x`.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps,
                   float* out);
  // out = act(gate) * up; act is x * sigmoid(x), or the tanh form of GELU.
  void (*gate_silu)(const float* gate, const float* up, int64_t n, float* out);
  void (*gate_gelu)(const float* gate, const float* up, int64_t n, float* out);
  // y += scale * x.
  void (*add_scaled)(const float* x, float scale, int64_t n, float* y);
  // y = scale * x; `y` may be `x`.
  void (*scale)(const float* x, float scale, int64_t n, float* y);
  // x = cap * tanh(x / cap).
  void (*soft_cap)(float cap, int64_t n, float* x);
  // The largest value; NaN elements are passed over. REQUIRES: n > 0.
  float (*max)(const float* x, int64_t n);
  // Sum of exp(x - shift); relative error of each term below 2e-7. Terms with
  // x - shift below -87 count as e^-87. REQUIRES: x - shift <= 88.
  double (*exp_sum)(const float* x, float shift, int64_t n);
  // The same, and x becomes exp(x - shift).
  double (*exp_in_place)(float shift, int64_t n, float* x);
  // Rotates the first 2 * n_pairs elements of x by angles given as cosines
  // and sines: pairs (i, i + n_pairs), or (2i, 2i + 1).
  void (*rotate_halves)(const float* cosines, const float* sines,
                        int64_t n_pairs, float* x);
  void (*rotate_pairs)(const float* cosines, const float* sines,
                       int64_t n_pairs, float* x);
  // Bit patterns of bfloat16, to nearest even; as Bf16FromFloat.
  void (*to_bf16)(const float* x, int64_t n, uint16_t* out);
  bool (*all_finite)(const float* x, int64_t n);
  // sums[j] += x[r, j] and squares[j] += x[r, j]^2, in double, row after row:
  // the same bits however the rows are shared out among calls. Row r begins
  // at x + r * stride.
  void (*add_columns)(const float* x, int64_t stride, int64_t n_rows,
                      int64_t n_cols, double* sums, double* squares);
  // Likewise, of n_cols columns: squares += weights[r] * x^2, magnitudes +=
  // weights[r] * |x|, in double, most and least become no less and no more
  // than x. `weights` may be null: 1.
  void (*add_magnitudes)(const float* x, int64_t stride, int64_t n_rows,
                         int64_t n_cols, const float* weights,
                         const ColumnMagnitudes& sums);
};

// Every variant this build has, best first; the plain definition is not one.
absl::Span<const RowKernels* const> AllRowKernels();
// The best that this processor runs.
const RowKernels& RowKernelsForCpu();
// The definition: plain loops, in double where it matters.
const RowKernels& RowKernelsReference();

}  // namespace narrow

#endif  // NARROW_KERNELS_ROWS_ROWS_H_
