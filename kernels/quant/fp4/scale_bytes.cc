#include "kernels/quant/fp4/scale_bytes.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "formats/base/float16.h"

namespace narrow {
namespace fp4 {

float HalfE8M0(uint8_t byte) {
  // 2^-128 and 2^-127 are subnormal.
  const uint32_t bits = byte < 2 ? uint32_t{0x00200000} << byte
                                 : static_cast<uint32_t>(byte - 1) << 23;
  return FloatFromBits(bits);
}

int FloorOfRoundedLog2(float x) {
  // x = mantissa * 2^k, 0.5 <= mantissa < 1, is `below` * 2^(k - 24) less
  // than 2^k, so its logarithm is below * 2^-24 / ln 2 less than k. That
  // rounds to k if it is less than half the distance to the float before k,
  // 2^(j - 24) for 2^j <= |k| < 2^(j + 1). (A positive power of two has
  // neighbours half as far below.) The rounding never meets a tie.
  int k;
  const float mantissa = std::frexp(x, &k);
  if (k == 0) {
    return -1;
  }
  const float below = (1.0f - mantissa) * 0x1p24f;
  const int size = k > 0 ? k - 1 : -k;
  constexpr float kLn2 = 0.693147181f;
  const float half_step =
      size == 0 ? 0.5f : std::exp2(static_cast<float>(std::ilogb(size)));
  return below < kLn2 * half_step ? k : k - 1;
}

uint8_t E8M0For(float magnitude) {
  if (!(magnitude > 0) || std::isinf(magnitude)) {
    return 0;
  }
  return static_cast<uint8_t>(FloorOfRoundedLog2(magnitude) - 2 + 127);
}

float UE4M3Value(uint8_t byte) {
  if (byte == kUE4M3NaN) {
    return 0;
  }
  const int exponent = (byte >> 3) & 15;
  const int mantissa = byte & 7;
  return exponent == 0
             ? static_cast<float>(mantissa) * 0x1p-9f
             : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
}

uint8_t UE4M3Of(float x) {
  if (!(x > 0)) {
    return 0;
  }
  if (x < 0x1p-6f) {
    return static_cast<uint8_t>(
        std::min(7, static_cast<int>(x * 512.0f + 0.5f)));
  }
  // Exponent and mantissa are neighbours in a float as they are here, so
  // half of the last bit added carries where it should.
  constexpr uint32_t kBiases = (127 - 7) << 3;
  const uint32_t byte =
      ((FloatBits(std::min(x, 448.0f)) + 0x80000) >> 20) - kBiases;
  constexpr uint32_t kHighestExponent = 15 << 3;
  return byte >= kHighestExponent ? kUE4M3High : static_cast<uint8_t>(byte);
}

}  // namespace fp4
}  // namespace narrow
