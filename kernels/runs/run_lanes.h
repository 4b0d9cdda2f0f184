// The arithmetic of runs for one number at a time, as a thread of a card has
// it: arithmetic.inc with a single lane. The host's compiler takes it too.
//
//   const run_lanes::E4M3Grid grid(run_grid);
//   const int32_t code = grid.Code(x / scale);
//
// Pure functions, with the bits of runs.h.

#ifndef NARROW_KERNELS_RUNS_RUN_LANES_H_
#define NARROW_KERNELS_RUNS_RUN_LANES_H_

#include <cmath>
#include <cstdint>

#include "kernels/runs/runs.h"
#include "kernels/simd/one_lane.h"

namespace narrow {
namespace run_lanes {

#define NARROW_INLINE NARROW_LANE_FUNCTION
#if defined(__CUDA_ARCH__)
#define NARROW_UNROLL_TABLE _Pragma("unroll")
#else
#define NARROW_UNROLL_TABLE
#endif

using Floats = float;
using Ints = int32_t;

NARROW_INLINE Floats Load(const float* p) { return *p; }
NARROW_INLINE void Store(Floats v, float* p) { *p = v; }
NARROW_INLINE Floats Splat(float x) { return x; }
NARROW_INLINE Ints AsInts(Floats v) { return one_lane::AsInt(v).v; }
NARROW_INLINE Floats AsFloats(Ints v) { return one_lane::AsFloat(v).v; }
NARROW_INLINE Ints ToInts(Floats v) { return static_cast<Ints>(v); }
NARROW_INLINE Floats Abs(Floats v) { return AsFloats(AsInts(v) & 0x7fffffff); }
NARROW_INLINE Floats Min(Floats a, Floats b) { return a < b ? a : b; }
NARROW_INLINE Floats Max(Floats a, Floats b) { return a > b ? a : b; }

#include "kernels/runs/arithmetic.inc"

using TableGrid = ComparedTable;

#undef NARROW_UNROLL_TABLE
#undef NARROW_INLINE

}  // namespace run_lanes
}  // namespace narrow

#endif  // NARROW_KERNELS_RUNS_RUN_LANES_H_
