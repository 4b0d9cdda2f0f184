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

// Vectors of rows that go together: while one waits for its division, the
// others go on.
constexpr int kGroups = 2;
constexpr int kGroupRows = kGroups * kDoubleLanes;

// A group's columns one by one, and what each next takes from them:
// factors[j * kMaxTriangle + i] is R[i, j] or R[j, i].
void SolveGroups(const double* factors, int n, bool transposed,
                 F64 (*columns)[kMaxColumns]) {
  for (int step = 0; step < n; ++step) {
    const int j = transposed ? n - 1 - step : step;
    const double* of_column = factors + j * kMaxTriangle;
    F64 y[kGroups];
    for (int g = 0; g < kGroups; ++g) {
      y[g] = columns[g][j] / Spread(of_column + j);
      columns[g][j] = y[g];
      y[g] = -y[g];
    }
    const int first = transposed ? 0 : j + 1;
    const int end = transposed ? j : n;
    for (int i = first; i < end; ++i) {
      const F64 factor = Spread(of_column + i);
      for (int g = 0; g < kGroups; ++g) {
        columns[g][i] = Fma(y[g], factor, columns[g][i]);
      }
    }
  }
}

template <bool kStore>
void MoveGroups(const TriangleSolve& s, int64_t first_row,
                F64 (*columns)[kMaxColumns]) {
  for (int g = 0; g < kGroups; ++g) {
    const int64_t row = first_row + g * kDoubleLanes;
    const int64_t left = s.n_rows - row;
    const int n_rows =
        left < kDoubleLanes ? static_cast<int>(left) : kDoubleLanes;
    for (int j = 0; n_rows > 0 && j < s.n; j += kDoubleLanes) {
      MoveSquare<kStore>(s.rows + row * s.rows_stride, s.rows_stride, n_rows, j,
                         s.n, columns[g]);
    }
  }
}

}  // namespace

void SolveTriangle(const TriangleSolve& s) {
  // A copy side by side: rows of large matrices contend for the same places
  // of the cache.
  double factors[kMaxTriangle * kMaxTriangle];
  for (int j = 0; j < s.n; ++j) {
    for (int i = 0; i < s.n; ++i) {
      factors[j * kMaxTriangle + i] =
          s.transposed ? s.r[i * s.r_stride + j] : s.r[j * s.r_stride + i];
    }
  }
  for (int64_t row = 0; row < s.n_rows; row += kGroupRows) {
    F64 columns[kGroups][kMaxColumns] = {};
    MoveGroups<false>(s, row, columns);
    SolveGroups(factors, s.n, s.transposed, columns);
    MoveGroups<true>(s, row, columns);
  }
}

}  // namespace NARROW_SIMD
}  // namespace narrow
