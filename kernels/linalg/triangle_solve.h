// What triangle.h computes, as plain data, and its variants.

#ifndef NARROW_KERNELS_LINALG_TRIANGLE_SOLVE_H_
#define NARROW_KERNELS_LINALG_TRIANGLE_SOLVE_H_

#include <cstdint>

namespace narrow {

inline constexpr int kMaxTriangle = 32;

// In place for each row x of `rows` [n_rows, n]:
//   transposed:  y R^T = x:  for j from n - 1 to 0, y_j = x_j / R_jj, then
//                x_i = fma(-y_j, R[i, j], x_i) for i < j;
//   otherwise:   y R = x:    for j from 0 to n - 1, y_j = x_j / R_jj, then
//                x_i = fma(-y_j, R[j, i], x_i) for i > j.
struct TriangleSolve {
  const double* r = nullptr;  // upper triangular
  int64_t r_stride = 0;
  int n = 0;  // <= kMaxTriangle
  bool transposed = false;
  double* rows = nullptr;
  int64_t rows_stride = 0;
  int64_t n_rows = 0;
};

namespace avx2 {
void SolveTriangle(const TriangleSolve& solve);
}
namespace avx512 {
void SolveTriangle(const TriangleSolve& solve);
}

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_TRIANGLE_SOLVE_H_
