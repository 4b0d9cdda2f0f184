#include "kernels/linalg/triangle.h"

#include <cassert>
#include <cmath>

#include "kernels/cpu.h"

namespace narrow {
namespace {

void SolvePlainly(const TriangleSolve& s) {
  for (int64_t row = 0; row < s.n_rows; ++row) {
    double* x = s.rows + row * s.rows_stride;
    for (int step = 0; step < s.n; ++step) {
      const int j = s.transposed ? s.n - 1 - step : step;
      x[j] /= s.r[j * s.r_stride + j];
      if (s.transposed) {
        for (int i = 0; i < j; ++i) {
          x[i] = std::fma(-x[j], s.r[i * s.r_stride + j], x[i]);
        }
      } else {
        for (int i = j + 1; i < s.n; ++i) {
          x[i] = std::fma(-x[j], s.r[j * s.r_stride + i], x[i]);
        }
      }
    }
  }
}

}  // namespace

void SolveTriangle(const TriangleSolve& solve) {
  assert(solve.n <= kMaxTriangle);
  switch (CpuIsa()) {
    case Isa::kAvx512:
      return avx512::SolveTriangle(solve);
    case Isa::kAvx2:
      return avx2::SolveTriangle(solve);
    case Isa::kScalar:
      return SolvePlainly(solve);
  }
}

}  // namespace narrow
