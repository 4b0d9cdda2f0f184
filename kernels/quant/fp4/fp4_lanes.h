// The scales of MXFP4 and NVFP4, a group of weights in every lane, for
// fp4_simd.cc and for a card's threads (kernels/quant/team); the definitions
// are in scale_bytes.h.

#ifndef NARROW_KERNELS_QUANT_FP4_FP4_LANES_H_
#define NARROW_KERNELS_QUANT_FP4_FP4_LANES_H_

#include "kernels/quant/fp4/fp4_blocks.h"
#include "kernels/simd/lanes.h"

namespace narrow {
namespace NARROW_SIMD {
namespace fp4_lanes {

// Of kLanes groups.
struct Scales {
  I32 bytes;
  F32 step;     // what a code is worth; infinite where all are 0
  F32 inverse;  // 1 / step, about
  I32 failed;   // lanes for the plain encoder
};

// FloorOfRoundedLog2 of scale_bytes.h, of normal numbers' bits.
NARROW_LANE_FUNCTION I32 FloorOfRoundedLog2(I32 bits) {
  const I32 above = (bits >> 23) - 126;  // the number is below 2^above
  const F32 below = ToFloat(0x800000 - (bits & 0x7fffff));
  const I32 size = SelectInt(above > 0, above - 1, -above);
  const F32 half_step = AsFloat(AsInt(ToFloat(size)) & 0x7f800000);
  return above - 1 - (below < half_step * 0.693147181f);
}

struct Mx {
  static constexpr int kSize = fp4::kMxBlock;

  NARROW_LANE_FUNCTION static Scales ScalesOf(I32 magnitude) {
    const I32 exponent = FloorOfRoundedLog2(magnitude);
    const I32 zero = magnitude == 0;
    Scales scales;
    scales.bytes = SelectInt(zero, I32{}, exponent - 2 + 127);
    scales.step = AsFloat(
        SelectInt(zero, SplatInt(0x7f800000), (exponent - 3 + 127) << 23));
    scales.inverse =
        AsFloat(SelectInt(zero, I32{}, (3 - exponent + 127) << 23));
    // Far from where any of these numbers would not be a normal one.
    scales.failed =
        ~zero & ((magnitude < 0x10000000) | (magnitude > 0x70000000));
    return scales;
  }
};

struct Nv {
  static constexpr int kSize = fp4::kNvSubBlock;

  NARROW_LANE_FUNCTION static Scales ScalesOf(I32 magnitude) {
    const F32 scale = AsFloat(magnitude) / 6.0f;
    // UE4M3Of of scale_bytes.h.
    const I32 subnormal = MinInt(Truncate(scale * 512.0f + 0.5f), SplatInt(7));
    const I32 normal = ((AsInt(scale) + 0x80000) >> 20) - ((127 - 7) << 3);
    Scales scales;
    scales.bytes =
        SelectInt(scale < 0x1p-6f, subnormal,
                  SelectInt(normal >= (15 << 3), SplatInt(0x7e), normal));
    const F32 value = Select(scales.bytes < 8, ToFloat(scales.bytes) * 0x1p-9f,
                             AsFloat((scales.bytes << 20) + ((127 - 7) << 23)));
    const I32 zero = scales.bytes == 0;
    scales.step = Select(zero, AsFloat(SplatInt(0x7f800000)), value * 0.5f);
    scales.inverse = Select(zero, F32{}, 1.0f / scales.step);
    // Beyond 6 times the largest scale the codes are too small.
    scales.failed = magnitude > AsInt(Splat(6 * 448.0f));
    return scales;
  }
};

}  // namespace fp4_lanes
}  // namespace NARROW_SIMD
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_FP4_FP4_LANES_H_
