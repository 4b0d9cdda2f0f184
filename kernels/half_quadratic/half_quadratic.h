// One step of half-quadratic quantization (Badri, Shaji, 2023) for groups of
// weights under a scale and a zero point of their own, and the errors and
// least-squares sums that judge and improve a step's result.
//
//   const HalfQuadratic& kernels = HalfQuadraticForCpu();
//   kernels.step(params, x, n, inverses, zeros, errors);   // zeros become new
//
// Sixteen groups stand side by side: element i of group k at
// [i * kGroupsAside + k]; [kGroupsAside] numbers are one a group. Sums of a
// group are in float32, in the order of its elements; no contraction: all
// variants give the same bits. Pure functions; variants against plain loops:
// half_quadratic_test.

#ifndef NARROW_KERNELS_HALF_QUADRATIC_HALF_QUADRATIC_H_
#define NARROW_KERNELS_HALF_QUADRATIC_HALF_QUADRATIC_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/cpu.h"

namespace narrow {

inline constexpr int64_t kGroupsAside = 16;

struct HalfQuadraticParams {
  float high = 15;  // the largest code
  // The shrinkage of an error d: sign(d) max(|d| - |d|^(power - 1) / beta, 0).
  float power = 0.7f;
  float beta = 10;
};

// Of a group, w the importance, q the codes:
struct HalfQuadraticSums {
  float w[kGroupsAside];    // sum of w
  float wq[kGroupsAside];   // sum of w q
  float wqq[kGroupsAside];  // sum of w q^2
  float wx[kGroupsAside];   // sum of w x
  float wqx[kGroupsAside];  // sum of w q x
};

struct HalfQuadratic {
  const char* name;
  Isa isa;  // what the processor must have

  // The least and the largest element of each group. REQUIRES: n > 0.
  void (*range)(const float* x, int64_t n, float* low, float* high);
  // With codes q = round(x * inverse + zero) and errors
  // d = x - (q - zero) / inverse, the mean of q - (x - shrunk(d)) * inverse
  // takes the zero's place; `errors` gets the sum of |d|.
  void (*step)(const HalfQuadraticParams& params, const float* x, int64_t n,
               const float* inverses, float* zeros, float* errors);
  // Sum of w (x - (q - zero) scale)^2 with q = round(x * (1 / scale) + zero).
  // `weights`: as x, or nullptr for 1.
  void (*measure)(float high, const float* x, const float* weights, int64_t n,
                  const float* scales, const float* zeros, float* errors);
  // The sums for these codes.
  void (*sum)(float high, const float* x, const float* weights, int64_t n,
              const float* scales, const float* zeros, HalfQuadraticSums* sums);
  // Codes of one group that is not side by side: round(x * inverse + zero).
  void (*round)(float high, const float* x, int64_t n, float inverse,
                float zero, uint8_t* codes);
};

// Every variant this build has, best first.
absl::Span<const HalfQuadratic* const> AllHalfQuadratic();
// The best that this processor runs.
const HalfQuadratic& HalfQuadraticForCpu();
// The definition, in plain loops.
const HalfQuadratic& HalfQuadraticReference();

}  // namespace narrow

#endif  // NARROW_KERNELS_HALF_QUADRATIC_HALF_QUADRATIC_H_
