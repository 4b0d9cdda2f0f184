// Half-quadratic quantization of groups as the work of threads: what hqq.cc
// of converter/solvers does to a batch of sixteen groups where the best step
// is kept, a thread a group. The sixteen are a team: they stop together, once
// a step leaves all their zeros as they were. Phases as in kernels/quant/team:
// all of a team finish Step before any begins Judge.
//
// The arithmetic is steps.inc with a single lane; every group has the
// operations of the processor in their order. Tested by device_hqq_test.

#ifndef NARROW_KERNELS_HALF_QUADRATIC_DEVICE_HQQ_THREADS_H_
#define NARROW_KERNELS_HALF_QUADRATIC_DEVICE_HQQ_THREADS_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/half_quadratic/half_quadratic.h"
#include "kernels/simd/one_lane.h"

namespace narrow {
namespace hqq_threads {

#define NARROW_INLINE NARROW_LANE_FUNCTION
using Number = float;
using Integer = int32_t;

NARROW_INLINE Number Load(const float* p) { return *p; }
NARROW_INLINE void Store(Number v, float* p) { *p = v; }
NARROW_INLINE Integer ToBits(Number v) { return one_lane::AsInt(v).v; }
NARROW_INLINE Number FromBits(Integer v) { return one_lane::AsFloat(v).v; }
NARROW_INLINE Number ToNumber(Integer v) { return static_cast<Number>(v); }
NARROW_INLINE Integer ToInteger(Number v) { return static_cast<Integer>(v); }
NARROW_INLINE Number Splat(float x) { return x; }
NARROW_INLINE Number Abs(Number v) { return FromBits(ToBits(v) & 0x7fffffff); }
NARROW_INLINE Number Min(Number a, Number b) { return a < b ? a : b; }
NARROW_INLINE Number Max(Number a, Number b) { return a > b ? a : b; }
NARROW_INLINE bool Any(bool mask) { return mask; }

#include "kernels/half_quadratic/power.inc"
//
#include "kernels/half_quadratic/steps.inc"

// How scales are stored.
enum class Stored : int { kF32, kF16, kBF16 };

// Sixteen groups of equal length at equal distances, or fewer.
struct Batch {
  int64_t first;   // weight
  int64_t stride;  // from a group to the next
  int64_t n_groups;
  int64_t n;            // weights of a group
  int64_t first_scale;  // and its distance
  int64_t scale_stride;
  int64_t aside;  // where its weights stand side by side
};

// A group's sum of squared errors: of zeros, of the first grid, of the last.
struct GroupErrors {
  float energy;
  float before;
  float after;
};

struct Grid {
  float scale;
  float zero;
  float error;
};

// Plain data for a kernel. Pointers are the device's.
struct Task {
  const Batch* batches;
  int64_t n_batches;
  const float* weights;
  const float* importance;  // [n_cols], or null
  int64_t n_cols;
  float* x;  // weights side by side
  float* w;  // importances; null without
  Stored stored;
  bool whole_zeros;
  float zero_low;
  float high;
  float power;
  float beta;
  float beta_growth;
  int iterations;
  bool refit;
  // Results.
  float* scales;
  float* zeros;
  uint8_t* codes;
  GroupErrors* errors;  // [n_batches, kGroupsAside]
};

NARROW_INLINE bool IsFinite(float x) { return x - x == 0; }

NARROW_INLINE float Round(Stored stored, float x) {
  if (stored == Stored::kF16) {
    return one_lane::FloatFromF16(one_lane::F16FromFloat(x)).v;
  }
  if (stored == Stored::kBF16 && x == x) {
    const uint32_t bits = static_cast<uint32_t>(ToBits(x));
    const uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return FromBits(static_cast<Integer>(rounded & 0xffff0000));
  }
  return x;
}

// LegalScale of converter/solvers/runs/run_scales.h.
NARROW_INLINE float LegalScale(Stored stored, float scale) {
  const float rounded = Round(stored, scale);
  if (rounded == rounded && !IsFinite(rounded)) {
    return stored == Stored::kF16 ? 65504.0f : 3.3895314e38f;
  }
  if (rounded > 0) {
    return rounded;
  }
  return stored == Stored::kF16 ? 0x1p-14f : 0x1p-126f;
}

// A thread's group on its way.
struct Thread {
  const Task* task;
  Batch batch;
  int lane;
  const float* x;
  const float* w;
  float inverse;  // codes a unit, and the zero under it
  float zero;
  float beta;
  Grid start;
  Grid best;

  // Copies its group aside and tries the range's own grid. Lanes without a
  // group do what the first one does.
  NARROW_INLINE void Begin(const Task& t, int64_t index, int its_lane) {
    task = &t;
    batch = t.batches[index];
    lane = its_lane;
    const int64_t at =
        batch.first + (lane < batch.n_groups ? lane * batch.stride : 0);
    float* const to = t.x + batch.aside + lane;
    for (int64_t i = 0; i < batch.n; ++i) {
      to[i * kGroupsAside] = t.weights[at + i];
    }
    x = to;
    w = nullptr;
    if (t.importance != nullptr) {
      float* const prices = t.w + batch.aside + lane;
      for (int64_t i = 0; i < batch.n; ++i) {
        prices[i * kGroupsAside] = t.importance[(at + i) % t.n_cols];
      }
      w = prices;
    }
    beta = t.beta;
    StartGrid();
    best = {LegalScale(t.stored, 1.0f / inverse), StoredZero(zero),
            FromBits(0x7f800000)};
    Judge(best.scale, best.zero, &best);
    start = best;
  }

  // Whether its zero moved.
  NARROW_INLINE bool Step() {
    const HalfQuadraticParams params = {task->high, task->power, beta};
    const float old = zero;
    float error;
    StepLanes(params, x, batch.n, &inverse, &zero, &error);
    return !(old == zero);
  }
  NARROW_INLINE void JudgeStep() {
    Judge(LegalScale(task->stored, 1.0f / inverse), StoredZero(zero), &best);
    beta *= task->beta_growth;
  }

  NARROW_INLINE void End(int64_t index) {
    if (task->refit) {
      Refit(&best);
      constexpr float kShrunkRanges[] = {0.92f, 0.82f, 0.68f};
      for (const float factor : kShrunkRanges) {
        Grid other = ShrunkGrid(factor);
        Refit(&other);
        if (other.error < best.error) {
          best = other;
        }
      }
    }
    GroupErrors& errors = task->errors[index * kGroupsAside + lane];
    errors = {Measured(0, 1, 0), start.error, best.error};
    if (lane < batch.n_groups) {
      StoreGroup();
    }
  }

 private:
  NARROW_INLINE void StartGrid() {
    float low;
    float top;
    RangeLanes(x, batch.n, &low, &top);
    if (task->whole_zeros) {
      low = low > 0 ? 0 : low;
      top = top < 0 ? 0 : top;
    }
    const float range = top - low;
    // A group of one number: one code stands for it, another for 0.
    const float size = fabsf(low);
    const float scale = range > 0 ? range / task->high : size > 0 ? size : 1.0f;
    inverse = 1.0f / LegalScale(task->stored, scale);
    zero = -low * inverse;
  }

  NARROW_INLINE float StoredZero(float of) const {
    if (task->whole_zeros) {
      const float whole = rintf(of);
      return whole < task->zero_low ? task->zero_low
             : task->high < whole   ? task->high
                                    : whole;
    }
    const float rounded = Round(task->stored, of);
    return IsFinite(rounded) ? rounded : 0.0f;
  }

  NARROW_INLINE float Measured(float high, float scale, float of) const {
    float error;
    if (w != nullptr) {
      MeasureLanes<true>(high, x, w, batch.n, &scale, &of, &error);
    } else {
      MeasureLanes<false>(high, x, nullptr, batch.n, &scale, &of, &error);
    }
    return error;
  }

  NARROW_INLINE void Judge(float scale, float of, Grid* grid) const {
    const float error = Measured(task->high, scale, of);
    if (error < grid->error) {
      *grid = {scale, of, error};
    }
  }

  // The same middle of the range, from which fewer units are seen.
  NARROW_INLINE Grid ShrunkGrid(float factor) const {
    const float high = task->high;
    const float middle = (high / 2 - start.zero) * start.scale;
    const float scale = LegalScale(task->stored, start.scale * factor);
    return {scale, StoredZero(high / 2 - middle / scale), FromBits(0x7f800000)};
  }

  // The least-squares scale, and zero where it need not be whole.
  NARROW_INLINE void Refit(Grid* grid) const {
    constexpr int kRefits = 3;
    for (int round = 0; round < kRefits; ++round) {
      HalfQuadraticSums sums;
      SumLanes(task->high, x, w, batch.n, &grid->scale, &grid->zero, 0, &sums);
      const double all = double{sums.w[0]};
      const double q = double{sums.wq[0]};
      const double qq = double{sums.wqq[0]};
      const double v = double{sums.wx[0]};
      const double qx = double{sums.wqx[0]};
      double of = double{grid->zero};
      double scale;
      if (task->whole_zeros) {
        scale = (qx - of * v) / (qq - 2 * of * q + of * of * all);
      } else {
        scale = (qx - q * v / all) / (qq - q * q / all);
        of = q / all - v / all / scale;
      }
      Grid trial = *grid;
      if (scale > 0 && scale - scale == 0 && of - of == 0) {
        trial.scale = LegalScale(task->stored, static_cast<float>(scale));
        trial.zero = StoredZero(static_cast<float>(of));
      }
      Judge(trial.scale, trial.zero, grid);
    }
  }

  NARROW_INLINE void StoreGroup() const {
    const int64_t scale_at = batch.first_scale + lane * batch.scale_stride;
    task->scales[scale_at] = best.scale;
    task->zeros[scale_at] = best.zero;
    const float over = 1.0f / best.scale;
    uint8_t* const codes = task->codes + batch.first + lane * batch.stride;
    for (int64_t i = 0; i < batch.n; ++i) {
      codes[i] = static_cast<uint8_t>(
          Code(x[i * kGroupsAside] * over + best.zero, task->high));
    }
  }
};

#undef NARROW_INLINE

}  // namespace hqq_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_HALF_QUADRATIC_DEVICE_HQQ_THREADS_H_
