// The operations of lanes.h that are more than one instruction's worth of
// trust, on arrays, for each instruction set; for lanes_test.cc.

#ifndef NARROW_KERNELS_SIMD_LANES_TEST_OPS_H_
#define NARROW_KERNELS_SIMD_LANES_TEST_OPS_H_

#include <cstddef>
#include <cstdint>

namespace narrow {

// Values a block, blocks at most.
inline constexpr int kTestSize = 32;
inline constexpr int kTestBlocks = 16;

struct LaneOps {
  int n_lanes;
  // One group of n_lanes numbers each.
  void (*truncate)(const float* in, int32_t* out);
  void (*round_to_int)(const float* in, int32_t* out);
  void (*round_to_float)(const float* in, float* out);
  void (*f16_from_float)(const float* in, int32_t* out);
  void (*float_from_f16)(const int32_t* in, float* out);
  void (*sqrt)(const float* in, float* out);
  void (*minimum)(const float* a, const float* b, float* out);
  void (*maximum)(const float* a, const float* b, float* out);
  void (*signed_bytes)(const uint8_t* in, int32_t* out);
  void (*round_trip_bytes)(const uint8_t* in, uint8_t* out);
  bool (*any)(const int32_t* mask);
  uint32_t (*lane_bits)(const int32_t* mask);
  // `table` has n_lanes numbers, of which 8 differ.
  void (*lookup8)(const float* table, const int32_t* index, float* out);
  // LoadBlocks, then StoreBlocks of the same bits: a strided copy.
  void (*copy_blocks)(const float* in, ptrdiff_t in_stride, int n_blocks,
                      uint8_t* out, ptrdiff_t out_stride);
};

namespace avx2 {
LaneOps TestedLaneOps();
}
namespace avx512 {
LaneOps TestedLaneOps();
}

}  // namespace narrow

#endif  // NARROW_KERNELS_SIMD_LANES_TEST_OPS_H_
