// e^x in double as elementary.h has it, for both compilers: a card's threads
// and the processor's give the same bits.

#ifndef NARROW_FORMATS_BASE_ELEMENTARY_EXP_H_
#define NARROW_FORMATS_BASE_ELEMENTARY_EXP_H_

#include <cmath>

#if defined(__CUDACC__)
#define NARROW_ELEMENTARY_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_ELEMENTARY_FUNCTION inline
#endif

namespace narrow {

NARROW_ELEMENTARY_FUNCTION double ElementaryExp(double x) {
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kMaxExp = 709.782712893384;
  constexpr double kMinExp = -708.0;
  if (!(x >= kMinExp)) {
    return x < kMinExp ? 0 : static_cast<double>(NAN);
  }
  if (x > kMaxExp) {
    return static_cast<double>(INFINITY);
  }
  // k * kLn2High is exact, as the latter has 32 bits. The constant rounds to
  // nearest for |x| < 2^51: the integer is what 1.5 * 2^52 leaves room for.
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr double kRound = 0x1.8p+52;
  const double k = (x * kLog2E + kRound) - kRound;
  const double high = x - k * kLn2High, low = k * kLn2Low;
  const double r = high - low;
  const double lost = (high - r) - low;
  // (e^r - 1 - r) / r^2; |r| <= 0.35, so r^14 / 14! is below 2^-57.
  constexpr double kTerms[] = {1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0,
                               1 / 362880.0,    1 / 40320.0,    1 / 5040.0,
                               1 / 720.0,       1 / 120.0,      1 / 24.0,
                               1 / 6.0,         1 / 2.0};
  double p = 1 / 6227020800.0;
  for (const double term : kTerms) {
    p = p * r + term;
  }
  return ldexp(1 + (r + (r * r * p + lost)), static_cast<int>(k));
}

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_ELEMENTARY_EXP_H_
