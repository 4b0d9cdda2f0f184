#include "kernels/linalg/fma_peak.h"

#include "kernels/simd/doubles.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

// Chains in flight: two units of four cycles' latency need eight.
constexpr int kChains = 12;

template <typename T>
int64_t Rounds(int64_t n, T* value) {
  typename VectorOf<T>::Type sums[kChains];
  for (int c = 0; c < kChains; ++c) {
    sums[c] = Spread(value) + static_cast<T>(c);
  }
  const auto factor = Spread(value);
  for (int64_t i = 0; i < n; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) {
      sums[c] = Fma(sums[c], factor, factor);
    }
  }
  for (int c = 0; c < kChains; ++c) {
    *value += sums[c][0];
  }
  return kChains * VectorOf<T>::kCount;
}

}  // namespace

int64_t FmaRounds(int64_t n, float* value) { return Rounds(n, value); }
int64_t FmaRounds(int64_t n, double* value) { return Rounds(n, value); }

}  // namespace NARROW_SIMD
}  // namespace narrow
