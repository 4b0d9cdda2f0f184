#include "kernels/linalg/triangle_solve.h"
#include "kernels/simd/doubles.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

// Columns of as many rows as there are lanes, in whole squares.
constexpr int kMaxColumns =
    (kMaxTriangle + kDoubleLanes - 1) / kDoubleLanes * kDoubleLanes;

// A square of a group's rows and columns from `first` on, to or from memory.
template <bool kStore>
void MoveSquare(double* rows, int64_t stride, int n_rows, int first, int n,
                F64* columns) {
  if (n_rows == kDoubleLanes && first + kDoubleLanes <= n) {
    F64 square[kDoubleLanes];
    for (int i = 0; i < kDoubleLanes; ++i) {
      square[i] = kStore ? columns[first + i] : Load(rows + i * stride + first);
    }
    Transpose(square);
    for (int i = 0; i < kDoubleLanes; ++i) {
      if (kStore) {
        Store(square[i], rows + i * stride + first);
      } else {
        columns[first + i] = square[i];
      }
    }
    return;
  }
  for (int j = first; j < n && j < first + kDoubleLanes; ++j) {
    for (int i = 0; i < n_rows; ++i) {
      if (kStore) {
        rows[i * stride + j] = columns[j][i];
      } else {
        columns[j][i] = rows[i * stride + j];
      }
    }
  }
}

}  // namespace

void SolveTriangle(const TriangleSolve& s) {
  for (int64_t row = 0; row < s.n_rows; row += kDoubleLanes) {
    const int n_rows = static_cast<int>(
        s.n_rows - row < kDoubleLanes ? s.n_rows - row : kDoubleLanes);
    double* rows = s.rows + row * s.rows_stride;
    F64 columns[kMaxColumns] = {};
    for (int j = 0; j < s.n; j += kDoubleLanes) {
      MoveSquare<false>(rows, s.rows_stride, n_rows, j, s.n, columns);
    }
    for (int step = 0; step < s.n; ++step) {
      const int j = s.transposed ? s.n - 1 - step : step;
      const double* r = s.r + j * s.r_stride;
      const F64 y = columns[j] / Spread(r + j);
      columns[j] = y;
      if (s.transposed) {
        for (int i = 0; i < j; ++i) {
          columns[i] = Fma(-y, Spread(s.r + i * s.r_stride + j), columns[i]);
        }
      } else {
        for (int i = j + 1; i < s.n; ++i) {
          columns[i] = Fma(-y, Spread(r + i), columns[i]);
        }
      }
    }
    for (int j = 0; j < s.n; j += kDoubleLanes) {
      MoveSquare<true>(rows, s.rows_stride, n_rows, j, s.n, columns);
    }
  }
}

}  // namespace NARROW_SIMD
}  // namespace narrow
