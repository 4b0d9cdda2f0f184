// The definition of the half-quadratic kernels.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/half_quadratic/half_quadratic.h"

namespace narrow {
namespace {

#define NARROW_INLINE inline
using Number = float;
using Integer = int32_t;

Integer ToBits(float value) {
  Integer bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
float FromBits(Integer bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
float ToNumber(Integer value) { return static_cast<float>(value); }
Integer ToInteger(float value) { return static_cast<Integer>(value); }

#include "kernels/half_quadratic/power.inc"

float Code(float y, float high) {
  return std::nearbyint(std::min(std::max(y, 0.0f), high));
}

// body(k, i): element i of group k.
template <typename Body>
void ForAll(int64_t n, const Body& body) {
  for (int64_t k = 0; k < kGroupsAside; ++k) {
    for (int64_t i = 0; i < n; ++i) {
      body(k, i * kGroupsAside + k);
    }
  }
}

void Range(const float* x, int64_t n, float* low, float* high) {
  std::copy(x, x + kGroupsAside, low);
  std::copy(x, x + kGroupsAside, high);
  ForAll(n, [&](int64_t k, int64_t at) {
    low[k] = std::min(low[k], x[at]);
    high[k] = std::max(high[k], x[at]);
  });
}

float Shrunk(float miss, const HalfQuadraticParams& params) {
  const float size = std::fabs(miss);
  const float rest = size - Power(std::max(size, 1e-30f), params.power - 1) *
                                (1.0f / params.beta);
  return std::copysign(std::max(rest, 0.0f), miss);
}

void Step(const HalfQuadraticParams& params, const float* x, int64_t n,
          const float* inverses, float* zeros, float* errors) {
  float sums[kGroupsAside] = {};
  std::fill(errors, errors + kGroupsAside, 0.0f);
  ForAll(n, [&](int64_t k, int64_t at) {
    const float q = Code(x[at] * inverses[k] + zeros[k], params.high);
    const float miss = x[at] - (q - zeros[k]) / inverses[k];
    sums[k] += q - (x[at] - Shrunk(miss, params)) * inverses[k];
    errors[k] += std::fabs(miss);
  });
  for (int64_t k = 0; k < kGroupsAside; ++k) {
    zeros[k] = sums[k] / static_cast<float>(n);
  }
}

void Measure(float high, const float* x, const float* weights, int64_t n,
             const float* scales, const float* zeros, float* errors) {
  std::fill(errors, errors + kGroupsAside, 0.0f);
  ForAll(n, [&](int64_t k, int64_t at) {
    const float q = Code(x[at] * (1.0f / scales[k]) + zeros[k], high);
    const float miss = x[at] - (q - zeros[k]) * scales[k];
    errors[k] += weights != nullptr ? weights[at] * miss * miss : miss * miss;
  });
}

void Sum(float high, const float* x, const float* weights, int64_t n,
         const float* scales, const float* zeros, HalfQuadraticSums* sums) {
  *sums = {};
  ForAll(n, [&](int64_t k, int64_t at) {
    const float q = Code(x[at] * (1.0f / scales[k]) + zeros[k], high);
    const float w = weights != nullptr ? weights[at] : 1.0f;
    sums->w[k] += w;
    sums->wq[k] += w * q;
    sums->wqq[k] += w * q * q;
    sums->wx[k] += w * x[at];
    sums->wqx[k] += w * q * x[at];
  });
}

void Round(float high, const float* x, int64_t n, float inverse, float zero,
           uint8_t* codes) {
  for (int64_t i = 0; i < n; ++i) {
    codes[i] = static_cast<uint8_t>(Code(x[i] * inverse + zero, high));
  }
}

constexpr HalfQuadratic kReference = {"reference", Isa::kScalar, Range, Step,
                                      Measure,     Sum,          Round};

}  // namespace

const HalfQuadratic& HalfQuadraticReference() { return kReference; }

}  // namespace narrow
