// The arithmetic of kernels/rows/lanes.inc, a number at a time: the same
// operations in the same order, so a card's threads give the processor's bits.

#ifndef NARROW_KERNELS_ROWS_DEVICE_ROW_MATH_H_
#define NARROW_KERNELS_ROWS_DEVICE_ROW_MATH_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define NARROW_ROW_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_ROW_FUNCTION inline
#endif

namespace narrow {
namespace row_threads {

// Running sums of a row; element i belongs to lane i % kLanes.
inline constexpr int kLanes = 16;

// e^x, clamped below at -87. REQUIRES: x <= 88, or NaN.
NARROW_ROW_FUNCTION float Exp(float x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRoundToInt = 12582912.0f;  // 1.5 * 2^23
  x = x < -87.0f ? -87.0f : x;
  const float k = (x * kLog2E + kRoundToInt) - kRoundToInt;
  const float r = (x - k * kLn2High) - k * kLn2Low;
  float p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  if (!(x == x)) {
    return p;  // NaN has no exponent
  }
  uint32_t bits;
  memcpy(&bits, &p, sizeof(bits));
  bits += static_cast<uint32_t>(static_cast<int32_t>(k)) << 23;
  float result;
  memcpy(&result, &bits, sizeof(result));
  return result;
}

NARROW_ROW_FUNCTION float Sigmoid(float x) {
  return 1.0f / (1.0f + Exp(-(x < -88.0f ? -88.0f : x)));
}

NARROW_ROW_FUNCTION float SiluTimes(float gate, float up) {
  return (gate * Sigmoid(gate)) * up;
}

NARROW_ROW_FUNCTION float GeluTimes(float gate, float up) {
  const float z = (gate + (gate * gate) * gate * 0.044715f) *
                  static_cast<float>(2 * 0.7978845608028654f);
  return (gate * Sigmoid(z)) * up;
}

NARROW_ROW_FUNCTION float SoftCap(float cap, float x) {
  const float z = x / cap;
  const float t = Exp((z < 0.0f ? z : -z) * 2.0f);
  const float magnitude = (1.0f - t) / (1.0f + t) * cap;
  return z < 0.0f ? -magnitude : magnitude;
}

// The sum of the lanes' sums.
NARROW_ROW_FUNCTION double FoldLanes(const double* lanes) {
  double s[kLanes / 2];
  for (int i = 0; i < kLanes / 2; ++i) {
    s[i] = lanes[i] + lanes[i + kLanes / 2];
  }
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

// exp(value - shift) of element i of n. Of the last n % kLanes ones, minus
// infinity gives 0.
NARROW_ROW_FUNCTION float ExpTerm(float value, float shift, int64_t i,
                                  int64_t n) {
  return i >= n - n % kLanes && value == -INFINITY ? 0.0f : Exp(value - shift);
}

// A lane's share of the sum of exp(x - shift) over n numbers.
NARROW_ROW_FUNCTION double LaneExpSum(const float* x, int64_t n, float shift,
                                      int lane) {
  double sum = 0;
  for (int64_t i = lane; i < n; i += kLanes) {
    sum += static_cast<double>(ExpTerm(x[i], shift, i, n));
  }
  return sum;
}

NARROW_ROW_FUNCTION uint16_t ToBf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7fffffff) > 0x7f800000) {
    return static_cast<uint16_t>((bits >> 16) | 0x40);
  }
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace row_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_ROWS_DEVICE_ROW_MATH_H_
