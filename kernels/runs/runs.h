// Runs: consecutive weights that share a scale, in the formats whose codes
// stand for fixed numbers: bytes, FP8, FP4 and tables of 16.
//
//   const RunKernels& kernels = RunKernelsForCpu();
//   const float top = kernels.max_abs(x, n);
//   RunSums sums = kernels.measure(grid, x, weights, n, top / 6);
//   kernels.round(grid, x, n, 6 / top, RunDivision::kMultiply, codes);
//
// Pure functions on memory without alignment demands, safe from any thread.
// All variants give the same bits: one source in vectors without
// contraction, sums kept by place modulo 16 in float32 and folded in one order
// in double.
// Variants against plain loops: runs_test.

#ifndef NARROW_KERNELS_RUNS_RUNS_H_
#define NARROW_KERNELS_RUNS_RUNS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/cpu.h"

namespace narrow {

// What a weight divided by its scale, y, becomes: the nearest number of the
// grid, and the code that stands for it.
struct RunGrid {
  enum class Kind {
    kInteger,  // round(y), ties to even, in low ... high; code: + 128
    kE4M3,     // nearest, ties to even, at most 448
    kE2M1,     // nearest, ties to even, at most 6
    kTable,    // the place after all bounds below y
  };
  Kind kind = Kind::kInteger;
  float low = -127;
  float high = 127;
  // kTable: rising; what a place stands for, and its code.
  float values[16] = {};
  float bounds[15] = {};
  uint8_t codes[16] = {};
};

// Whether y is x times the scale's reciprocal or x over the scale: clients
// differ, and so do the last bits.
enum class RunDivision { kMultiply, kDivide };

// Over a run, v the number that stands for y = x * (1 / scale):
struct RunSums {
  double error = 0;    // sum of w (x - v * scale)^2
  double product = 0;  // sum of w x v
  double square = 0;   // sum of w v^2

  void Add(const RunSums& other) {
    error += other.error;
    product += other.product;
    square += other.square;
  }
};

// Runs longer than this are measured piece by piece, for sums in float32.
inline constexpr int64_t kMaxRun = 4096;
inline constexpr int64_t kRunsAside = 16;

struct RunKernels {
  const char* name;
  Isa isa;  // what the processor must have

  // The largest magnitude; a NaN counts as infinity.
  float (*max_abs)(const float* x, int64_t n);
  // `factor`: the scale's reciprocal, or with kDivide the scale.
  void (*round)(const RunGrid& grid, const float* x, int64_t n, float factor,
                RunDivision division, uint8_t* codes);
  // `weights` [n], or nullptr for 1. REQUIRES: n <= kMaxRun, scale > 0.
  RunSums (*measure)(const RunGrid& grid, const float* x, const float* weights,
                     int64_t n, float scale);

  // Sixteen runs side by side, for short ones: element i of run k at
  // [i * kRunsAside + k] of `x` and `weights` (or nullptr). Sums of a run are
  // in float32, in the order of its elements.

  // from[k * stride + i] to out[i * kRunsAside + k]; runs beyond `n_runs`
  // repeat the first.
  void (*put_aside)(const float* from, int64_t stride, int64_t n_runs,
                    int64_t n, float* out);
  // Of `n_scales` scales for each run, [n_scales, kRunsAside] and positive,
  // that with the least error, the first of equal ones.
  void (*choose_scales)(const RunGrid& grid, const float* x,
                        const float* weights, int64_t n, const float* scales,
                        int64_t n_scales, float* best, float* best_error);
  // `n_rounds` times the least-squares scale of the present numbers, where
  // that lowers a run's error.
  void (*refit_scales)(const RunGrid& grid, const float* x,
                       const float* weights, int64_t n, int n_rounds,
                       float* scales, float* errors);
};

// Every variant this build has, best first.
absl::Span<const RunKernels* const> AllRunKernels();
// The best that this processor runs.
const RunKernels& RunKernelsForCpu();
// The definition, in plain loops.
const RunKernels& RunKernelsReference();

}  // namespace narrow

#endif  // NARROW_KERNELS_RUNS_RUNS_H_
