#include "kernels/simd/lanes.h"
#include "kernels/simd/lanes_test_ops.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

void CopyBlocks(const float* in, ptrdiff_t in_stride, int n_blocks,
                uint8_t* out, ptrdiff_t out_stride) {
  F32 x[kTestSize];
  LoadBlocks<kTestSize>(in, in_stride, n_blocks, x);
  I32 words[kTestSize];
  for (int i = 0; i < kTestSize; ++i) {
    words[i] = AsInt(x[i]);
  }
  StoreBlocks<kTestSize>(words, n_blocks, out, out_stride);
}

}  // namespace

LaneOps TestedLaneOps() {
  LaneOps ops;
  ops.n_lanes = kLanes;
  ops.truncate = [](const float* in, int32_t* out) {
    StoreInts(Truncate(Load(in)), out);
  };
  ops.round_to_int = [](const float* in, int32_t* out) {
    StoreInts(RoundToInt(Load(in)), out);
  };
  ops.round_to_float = [](const float* in, float* out) {
    Store(RoundToFloat(Load(in)), out);
  };
  ops.f16_from_float = [](const float* in, int32_t* out) {
    StoreInts(F16FromFloat(Load(in)), out);
  };
  ops.float_from_f16 = [](const int32_t* in, float* out) {
    Store(FloatFromF16(LoadInts(in)), out);
  };
  ops.sqrt = [](const float* in, float* out) { Store(Sqrt(Load(in)), out); };
  ops.minimum = [](const float* a, const float* b, float* out) {
    Store(Min(Load(a), Load(b)), out);
  };
  ops.maximum = [](const float* a, const float* b, float* out) {
    Store(Max(Load(a), Load(b)), out);
  };
  ops.signed_bytes = [](const uint8_t* in, int32_t* out) {
    StoreInts(LoadSignedBytes(in), out);
  };
  ops.round_trip_bytes = [](const uint8_t* in, uint8_t* out) {
    StoreBytes(LoadBytes(in), out);
  };
  ops.any = [](const int32_t* mask) { return Any(LoadInts(mask)); };
  ops.lane_bits = [](const int32_t* mask) { return LaneBits(LoadInts(mask)); };
  ops.lookup8 = [](const float* table, const int32_t* index, float* out) {
    Store(Lookup8(Load(table), LoadInts(index)), out);
  };
  ops.copy_blocks = &CopyBlocks;
  return ops;
}

}  // namespace NARROW_SIMD
}  // namespace narrow
