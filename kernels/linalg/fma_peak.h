// Fused multiply-adds with nothing beside them, for linalg_bench.

#ifndef NARROW_KERNELS_LINALG_FMA_PEAK_H_
#define NARROW_KERNELS_LINALG_FMA_PEAK_H_

#include <cstdint>

namespace narrow {

namespace avx2 {
// Runs `n` rounds; returns the multiply-adds of a round and changes `value`.
int64_t FmaRounds(int64_t n, float* value);
int64_t FmaRounds(int64_t n, double* value);
}  // namespace avx2
namespace avx512 {
int64_t FmaRounds(int64_t n, float* value);
int64_t FmaRounds(int64_t n, double* value);
}  // namespace avx512

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_FMA_PEAK_H_
