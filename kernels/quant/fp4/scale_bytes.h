// The scales of MXFP4 and NVFP4, a byte each.
//
//   E8M0   byte e stands for 2^(e - 127); 255 for a NaN
//   UE4M3  bits 0-2 mantissa m, bits 3-6 exponent e (bias 7):
//          (8 + m) * 2^(e - 10), m * 2^-9 for e = 0; 0x7f stands for a NaN
//
// ggml's decoders read E8M0's NaN as 2^128, UE4M3's as 0, and leave UE4M3's
// eighth bit out. Its functions give half of these numbers, for codes that
// are doubled.
//
// Not inline: the SIMD sources call them.

#ifndef NARROW_KERNELS_QUANT_FP4_SCALE_BYTES_H_
#define NARROW_KERNELS_QUANT_FP4_SCALE_BYTES_H_

#include <cstdint>

namespace narrow {
namespace fp4 {

inline constexpr uint8_t kE8M0NaN = 255;
inline constexpr uint8_t kUE4M3NaN = 0x7f;
// The largest that a scale can be: 448.
inline constexpr uint8_t kUE4M3High = 0x7e;

// Half of the scale that ggml's decoder reads.
float HalfE8M0(uint8_t byte);
// The scale for weights whose largest magnitude is `magnitude`: 6 is the
// largest E2M1 number, so they end between 4 and 8 and some are cut. Beyond
// what E8M0 can hold the low byte remains; for an infinity, 0.
uint8_t E8M0For(float magnitude);
// floor(log2(x)) where the logarithm is rounded to a float first: just below
// a large power of two that gives the next integer. REQUIRES: 0 < x, finite.
int FloorOfRoundedLog2(float x);

// What the byte stands for, as ggml's decoder reads it.
float UE4M3Value(uint8_t byte);
// The nearest, but that everything from 248 up becomes 448 and a rest that
// would round up to the least normal number the last subnormal one. 0 for a
// NaN and for what is not positive.
uint8_t UE4M3Of(float x);

}  // namespace fp4
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_FP4_SCALE_BYTES_H_
