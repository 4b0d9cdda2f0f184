// The arithmetic of grids for one row, as a thread of a card has it: fit.inc,
// lanes.inc and refit.inc of kernels/grid with a single lane.
//
//   const grid_lanes::Rounded q =
//       grid_lanes::Nearest<kRounding>(rules, target / step, zero);
//
// Pure functions.

#ifndef NARROW_KERNELS_GRID_DEVICE_GRID_LANES_H_
#define NARROW_KERNELS_GRID_DEVICE_GRID_LANES_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/grid/grid_kernels.h"

namespace narrow {
namespace grid_lanes {

#include "kernels/simd/row_one_lane.inc"
//
#include "kernels/grid/lanes.inc"
//
#include "kernels/grid/fit.inc"
//
#include "kernels/grid/refit.inc"

#undef NARROW_INLINE
#undef NARROW_LANES_FUNCTION
#undef NARROW_UNROLL_LEVELS

}  // namespace grid_lanes
}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_DEVICE_GRID_LANES_H_
