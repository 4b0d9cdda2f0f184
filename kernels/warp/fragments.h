// How the 32 lanes of a warp hold matrices for tensor cores: the registers of
// mma.sync.m16n8k16 with bfloat16 factors and float32 sums (PTX ISA, "Matrix
// Fragments for mma.m16n8k16"), the same on every card from sm_80 on.
//
//   sums[16, 8] += left[16, 16] right[16, 8]
//
// A register of a factor is two bfloat16, the first in its low half. Below,
// `depth` is the index that is summed over.

#ifndef NARROW_KERNELS_WARP_FRAGMENTS_H_
#define NARROW_KERNELS_WARP_FRAGMENTS_H_

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define NARROW_WARP_FUNCTION __host__ __device__ __forceinline__
// Of code that a block of threads runs on a card and a loop on the CPU.
#define NARROW_BLOCK_FUNCTION __device__ __forceinline__
#define NARROW_UNROLL _Pragma("unroll")
#else
#define NARROW_WARP_FUNCTION inline
#define NARROW_BLOCK_FUNCTION inline
#define NARROW_UNROLL
#endif

namespace narrow {
namespace warp {

inline constexpr int kLanes = 32;

// A lane's registers.
inline constexpr int kLeftRegisters = 4;
inline constexpr int kRightRegisters = 2;
inline constexpr int kSumRegisters = 4;

// Register r of the left factor: row, and depth of its first half.
NARROW_WARP_FUNCTION int LeftRow(int lane, int r) {
  return lane / 4 + r % 2 * 8;
}
NARROW_WARP_FUNCTION int LeftDepth(int lane, int r) {
  return lane % 4 * 2 + r / 2 * 8;
}
// Of the right one: column, and depth of its first half.
NARROW_WARP_FUNCTION int RightCol(int lane) { return lane / 4; }
NARROW_WARP_FUNCTION int RightDepth(int lane, int r) {
  return lane % 4 * 2 + r * 8;
}
// Of the sums.
NARROW_WARP_FUNCTION int SumRow(int lane, int r) {
  return lane / 4 + r / 2 * 8;
}
NARROW_WARP_FUNCTION int SumCol(int lane, int r) {
  return lane % 4 * 2 + r % 2;
}

NARROW_WARP_FUNCTION float WidenBf16(uint32_t bits) {
  const uint32_t wide = bits << 16;
  float value;
  memcpy(&value, &wide, sizeof(value));
  return value;
}

// To the nearest, even; NaN stays one.
NARROW_WARP_FUNCTION uint32_t RoundToBf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7fffffff) > 0x7f800000) {
    return (bits >> 16) | 0x40;
  }
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

// A register of two numbers.
NARROW_WARP_FUNCTION uint32_t PairOfBf16(float first, float second) {
  return RoundToBf16(first) | RoundToBf16(second) << 16;
}

// Sixteen bytes: what a thread copies at once.
struct alignas(16) Chunk {
  uint16_t numbers[8];
};

}  // namespace warp
}  // namespace narrow

#endif  // NARROW_KERNELS_WARP_FRAGMENTS_H_
