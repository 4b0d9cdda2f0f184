// The nearest of all legal codes, for a solver's rounding: unlike ggml's
// encoders, which look near the levels alone.

#ifndef NARROW_KERNELS_QUANT_IQ3_NEAREST_POINT_H_
#define NARROW_KERNELS_QUANT_IQ3_NEAREST_POINT_H_

#include <cstdint>

#include "kernels/quant/lattice/grid.h"

namespace narrow {
namespace iq3 {

// Codes for 4 weights of any signs that make the sum of metric * (unit * code
// - target)^2 least. `magnitudes`, one a level; `metric` nullptr: all 1.
void NearestPoint(const Grid& grid, const uint8_t* magnitudes, float unit,
                  const float* target, const float* metric, int8_t* codes);

// The same for two points with an even number of minus signs: 8 weights.
void NearestPointPair(const Grid& grid, const uint8_t* magnitudes, float unit,
                      const float* target, const float* metric, int8_t* codes);

}  // namespace iq3
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ3_NEAREST_POINT_H_
