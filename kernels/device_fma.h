// One fused multiply-add, in code that a card's threads and their emulation on
// the processor share.
//
// The library's fmaf is a call, and products of chains are nothing but these:
// where the processor has the instruction, which it is asked for at run time,
// it is used. All three give the one correctly rounded number.

#ifndef NARROW_KERNELS_DEVICE_FMA_H_
#define NARROW_KERNELS_DEVICE_FMA_H_

#include <cmath>

#if defined(__CUDACC__)
#define NARROW_FMA_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_FMA_FUNCTION inline
#endif

namespace narrow {

// a * b + c, rounded once.
NARROW_FMA_FUNCTION float Fma(float a, float b, float c) {
#if defined(__x86_64__) && !defined(__CUDA_ARCH__)
  if (__builtin_cpu_supports("fma")) {
    asm("vfmadd231ss %2, %1, %0" : "+x"(c) : "x"(a), "x"(b));
    return c;
  }
#endif
  return fmaf(a, b, c);
}
NARROW_FMA_FUNCTION double Fma(double a, double b, double c) {
#if defined(__x86_64__) && !defined(__CUDA_ARCH__)
  if (__builtin_cpu_supports("fma")) {
    asm("vfmadd231sd %2, %1, %0" : "+x"(c) : "x"(a), "x"(b));
    return c;
  }
#endif
  return fma(a, b, c);
}

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_FMA_H_
