// Scales as files store them, for a thread of a card and for the processor:
// RoundToScaleType of formats/packing/scale_type.h, and what solvers make of
// scales that a type does not have.
//
//   const float scale = LegalScale(StoredScale::kF16, top / 127);
//
// Pure functions. Includes one_lane.h, so it comes before any lanes.h.

#ifndef NARROW_KERNELS_SIMD_LEGAL_SCALE_H_
#define NARROW_KERNELS_SIMD_LEGAL_SCALE_H_

#include <cstdint>

#include "kernels/simd/one_lane.h"

namespace narrow {
namespace one_lane {

enum class StoredScale : int { kF32, kF16, kBF16, kE4M3 };

NARROW_LANE_FUNCTION bool IsFinite(float x) { return x - x == 0; }

// Without the last `dropped` bits of the mantissa, ties to even.
NARROW_LANE_FUNCTION float DropBits(float x, int dropped) {
  const uint32_t bits = static_cast<uint32_t>(AsInt(x).v);
  const uint32_t half = (uint32_t{1} << (dropped - 1)) - 1;
  const uint32_t rounded = bits + half + ((bits >> dropped) & 1);
  return AsFloat(static_cast<int32_t>(rounded & ~((2 * half) + 1))).v;
}

// Nearest, ties to even; halves may overflow to infinity, E4M3 stops at 448.
// E4M3's numbers are positive here: REQUIRES x >= 0 for it.
NARROW_LANE_FUNCTION float RoundScale(StoredScale stored, float x) {
  if (stored == StoredScale::kF16) {
    return FloatFromF16(F16FromFloat(x)).v;
  }
  if (stored == StoredScale::kBF16 && x == x) {
    return DropBits(x, 16);
  }
  if (stored == StoredScale::kE4M3) {
    const float size = x < 448.0f ? x : 448.0f;
    // Below 2^-6 multiples of 2^-9, the last place of 2^14.
    return size < 0x1p-6f ? (size + 16384.0f) - 16384.0f : DropBits(size, 20);
  }
  return x;
}

// The nearest positive finite value; LegalScale of
// converter/solvers/runs/run_scales.h.
NARROW_LANE_FUNCTION float LegalScale(StoredScale stored, float scale) {
  const float rounded = RoundScale(stored, scale);
  if (rounded == rounded && !IsFinite(rounded)) {
    return stored == StoredScale::kF16 ? 65504.0f : 3.3895314e38f;
  }
  if (rounded > 0) {
    return rounded;
  }
  return stored == StoredScale::kF16    ? 0x1p-14f
         : stored == StoredScale::kE4M3 ? 0x1p-9f
                                        : 0x1p-126f;
}

}  // namespace one_lane
}  // namespace narrow

#endif  // NARROW_KERNELS_SIMD_LEGAL_SCALE_H_
