// The arithmetic of block types for one row, as a thread of a card has it:
// lanes.inc, refit.inc and units.inc of kernels/compensated with a single
// lane.
//
//   const float code = block_lanes::NearestCode<kTable>(rules, t, step, low);
//
// Pure functions.

#ifndef NARROW_KERNELS_COMPENSATED_DEVICE_BLOCK_LANES_H_
#define NARROW_KERNELS_COMPENSATED_DEVICE_BLOCK_LANES_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/compensated/block_kernels.h"

namespace narrow {
namespace block_lanes {

#include "kernels/simd/row_one_lane.inc"
//
#include "kernels/compensated/lanes.inc"
//
#include "kernels/compensated/refit.inc"
//
#include "kernels/compensated/units.inc"

#undef NARROW_INLINE
#undef NARROW_LANES_FUNCTION
#undef NARROW_UNROLL_LEVELS

}  // namespace block_lanes
}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_DEVICE_BLOCK_LANES_H_
