// Factors of symmetric matrices, and rows to which they are applied, as the
// work of threads: the chains of kernels/linalg/cholesky.h.
//
// As there, a block of kBlock columns first takes in all that is right of it
// in one product (chain_threads.h); what is here is the block itself. A thread
// has one row, and keeps kPart of its columns in registers at a time. It takes
// in what other columns of the block give, kPart of them at a time from shared
// memory, then its own columns one by one. Phases are functions; all threads
// of a block finish one before any begins the next.
//
// Tested by device_factor_test.

#ifndef NARROW_KERNELS_LINALG_DEVICE_FACTOR_THREADS_H_
#define NARROW_KERNELS_LINALG_DEVICE_FACTOR_THREADS_H_

#include <cmath>
#include <cstdint>

#include "kernels/device_fma.h"
#include "kernels/linalg/device/chain_threads.h"

namespace narrow {
namespace factor {

// Parts of the chains' definition: kBlock of cholesky.cc and kMaxTriangle.
inline constexpr int kBlock = 128;
inline constexpr int kPart = 32;

// What is known of a factor; FactorResult of cholesky.h in memory.
struct Outcome {
  int64_t failed_at;
  double failed_pivot;
  double smallest_pivot;
  double largest_pivot;
};

// Columns [begin, end) of a block.
struct Part {
  int begin;
  int end;
};

NARROW_CHAIN_FUNCTION int PartsOf(int n) { return (n + kPart - 1) / kPart; }
NARROW_CHAIN_FUNCTION Part PartAt(int n, int index) {
  const int begin = index * kPart;
  return {begin, begin + kPart < n ? begin + kPart : n};
}

// In shared memory: what a column of a part gives to those of another,
// values[k][c].
struct Factors {
  alignas(16) double values[kPart][kPart];
};

// A thread's columns of the present part.
struct RowPart {
  double x[kPart];
};

// R's square of a block, [n, n] at `r`, applied to rows of the block's columns
// in place: y R^T = x (transposed) or y R = x.
struct Block {
  const double* r;
  int64_t r_stride;
  double* rows;
  int64_t rows_stride;
  int64_t n_rows;
  int n;  // <= kBlock
  bool transposed;

  NARROW_CHAIN_FUNCTION void Load(const Part& part, int64_t row,
                                  RowPart* mine) const {
    NARROW_CHAIN_UNROLL
    for (int c = 0; c < kPart; ++c) {
      mine->x[c] = row < n_rows && part.begin + c < part.end
                       ? rows[row * rows_stride + part.begin + c]
                       : 0;
    }
  }
  NARROW_CHAIN_FUNCTION void Store(const Part& part, int64_t row,
                                   const RowPart& mine) const {
    NARROW_CHAIN_UNROLL
    for (int c = 0; c < kPart; ++c) {
      if (row < n_rows && part.begin + c < part.end) {
        rows[row * rows_stride + part.begin + c] = mine.x[c];
      }
    }
  }

  // What columns `from` give to those of `part`; diagonal ones where both are
  // one, of which 1 stands where there is no column.
  NARROW_CHAIN_FUNCTION void Stage(const Part& part, const Part& from,
                                   int thread, int n_threads,
                                   Factors* factors) const {
    for (int e = thread; e < kPart * kPart; e += n_threads) {
      // Neighbouring threads read along R's rows.
      const int k = transposed ? e % kPart : e / kPart;
      const int c = transposed ? e / kPart : e % kPart;
      const int64_t at_k = from.begin + k;
      const int64_t at_c = part.begin + c;
      double value = k == c ? 1 : 0;
      if (at_k < from.end && at_c < part.end) {
        value =
            transposed ? r[at_c * r_stride + at_k] : r[at_k * r_stride + at_c];
      }
      factors->values[k][c] = value;
    }
  }
  // They are solved already.
  NARROW_CHAIN_FUNCTION void TakeIn(const Part& from, const Factors& factors,
                                    int64_t row, RowPart* mine) const {
    if (row >= n_rows) {
      return;
    }
    const double* const solved = rows + row * rows_stride + from.begin;
    for (int k = 0; k < from.end - from.begin; ++k) {
      const double y = -solved[k];
      NARROW_CHAIN_UNROLL
      for (int c = 0; c < kPart; ++c) {
        mine->x[c] = Fma(y, factors.values[k][c], mine->x[c]);
      }
    }
  }
  // The part's own triangle.
  template <bool kTransposed>
  NARROW_CHAIN_FUNCTION static void Solve(const Factors& factors,
                                          RowPart* mine) {
    NARROW_CHAIN_UNROLL
    for (int step = 0; step < kPart; ++step) {
      const int j = kTransposed ? kPart - 1 - step : step;
      mine->x[j] /= factors.values[j][j];
      NARROW_CHAIN_UNROLL
      for (int i = 0; i < kPart; ++i) {
        if (kTransposed ? i < j : i > j) {
          mine->x[i] = Fma(-mine->x[j], factors.values[j][i], mine->x[i]);
        }
      }
    }
  }
};

// What a square's threads tell each other while it is factored.
struct SquareShared {
  Factors factors;
  double column[kPart];
  double pivot;
  bool failed;
};

// The square of a block [n, n] at h, which begins at row `first` of the
// matrix. Thread i has row i.
struct Square {
  double* h;
  int64_t stride;
  int n;
  int64_t first;
  Outcome* outcome;

  // The square as rows of itself.
  NARROW_CHAIN_FUNCTION Block Rows(const Part& part) const {
    return {h, stride, h, stride, part.end, n, true};
  }
  // Column j of the part: its pivot first.
  NARROW_CHAIN_FUNCTION void TakePivot(const Part& part, int j, int row,
                                       const RowPart& mine,
                                       SquareShared* shared) const {
    if (row != part.begin + j) {
      return;
    }
    const double pivot = mine.x[j];
    shared->pivot = pivot;
    // (Infinity less itself is no number.)
    shared->failed = !(pivot > 0) || !(pivot - pivot == 0);
    if (shared->failed) {
      outcome->failed_at = first + row;
      outcome->failed_pivot = pivot;
      return;
    }
    if (pivot < outcome->smallest_pivot) {
      outcome->smallest_pivot = pivot;
    }
    if (pivot > outcome->largest_pivot) {
      outcome->largest_pivot = pivot;
    }
  }
  NARROW_CHAIN_FUNCTION void Divide(const Part& part, int j, int row,
                                    RowPart* mine, SquareShared* shared) const {
    const double root = sqrt(shared->pivot);
    if (row == part.begin + j) {
      mine->x[j] = root;
    } else if (row < part.begin + j) {
      mine->x[j] /= root;
    }
    if (row >= part.begin && row < part.end) {
      shared->column[row - part.begin] = mine->x[j];
    }
  }
  // Below the diagonal are numbers that nobody reads.
  NARROW_CHAIN_FUNCTION void Spread(const Part& part, int j, int row,
                                    const SquareShared& shared,
                                    RowPart* mine) const {
    if (row >= part.begin + j) {
      return;
    }
    NARROW_CHAIN_UNROLL
    for (int k = 0; k < kPart; ++k) {
      if (k < j) {
        mine->x[k] = Fma(-mine->x[j], shared.column[k], mine->x[k]);
      }
    }
  }
};

// Passes over elements, one a thread.

// Zeros below the diagonals of n_batch matrices [n, n].
struct ZeroBelowTask {
  int64_t n_matrix;
  int64_t n_batch;
  double* h;
  int64_t step;

  NARROW_CHAIN_FUNCTION int64_t n() const {
    return n_batch * n_matrix * n_matrix;
  }
  NARROW_CHAIN_FUNCTION void Run(int64_t at) const {
    const int64_t square = n_matrix * n_matrix;
    const int64_t element = at % square;
    if (element % n_matrix < element / n_matrix) {
      h[at / square * step + element] = 0;
    }
  }
};

// Element i of n_batch matrices [n, n] changes places with the one as far from
// the end: rows and columns in falling order. What lies above a diagonal is
// then below it.
struct ReverseTask {
  int64_t n_matrix;
  int64_t n_batch;
  double* h;
  int64_t step;

  NARROW_CHAIN_FUNCTION int64_t n_pairs() const {
    return n_matrix * n_matrix / 2;
  }
  NARROW_CHAIN_FUNCTION int64_t n() const { return n_batch * n_pairs(); }
  NARROW_CHAIN_FUNCTION void Run(int64_t at) const {
    const int64_t place = at % n_pairs();
    double* const matrix = h + at / n_pairs() * step;
    double* const other = matrix + n_matrix * n_matrix - 1 - place;
    const double kept = matrix[place];
    matrix[place] = *other;
    *other = kept;
  }
};

// Outcomes of factors R [n, n] that a library made of reversed matrices: its
// infos, 0 or the order of the minor that is not positive, and the pivots
// R_ii^2. A matrix a thread.
struct OutcomeTask {
  int64_t n_matrix;
  int64_t n_batch;
  const double* r;
  int64_t step;
  const int* infos;
  Outcome* outcomes;

  NARROW_CHAIN_FUNCTION int64_t n() const { return n_batch; }
  NARROW_CHAIN_FUNCTION void Run(int64_t at) const {
    Outcome outcome = outcomes[at];
    if (infos[at] != 0) {
      // What the pivot was is not known.
      outcome.failed_at = n_matrix - infos[at];
      outcome.failed_pivot = 0;
      outcomes[at] = outcome;
      return;
    }
    for (int64_t i = n_matrix - 1; i >= 0; --i) {
      const double root = r[at * step + i * n_matrix + i];
      const double pivot = root * root;
      if (!(pivot > 0) || !(pivot - pivot == 0)) {
        outcome.failed_at = i;
        outcome.failed_pivot = pivot;
        break;
      }
      outcome.smallest_pivot =
          pivot < outcome.smallest_pivot ? pivot : outcome.smallest_pivot;
      outcome.largest_pivot =
          pivot > outcome.largest_pivot ? pivot : outcome.largest_pivot;
    }
    outcomes[at] = outcome;
  }
};

// M of H = M D M^T, and D over `units` (one a matrix), both in float32.
struct UnitTask {
  int64_t n_matrix;
  int64_t n_batch;
  const double* r;
  int64_t r_step;
  float* m;
  int64_t m_step;
  float* pivots;        // [n_batch, n], or null
  const double* units;  // [n_batch]

  NARROW_CHAIN_FUNCTION int64_t n() const {
    return n_batch * n_matrix * n_matrix;
  }
  NARROW_CHAIN_FUNCTION void Run(int64_t at) const {
    const int64_t square = n_matrix * n_matrix;
    const int64_t batch = at / square;
    const int64_t i = at % square / n_matrix;
    const int64_t j = at % n_matrix;
    const double* const from = r + batch * r_step;
    const double root = from[j * n_matrix + j];
    const double inverse = 1 / root;
    m[batch * m_step + i * n_matrix + j] =
        j < i ? 0.0f : static_cast<float>(from[i * n_matrix + j] * inverse);
    if (i == j && pivots != nullptr) {
      pivots[batch * n_matrix + j] =
          static_cast<float>(root * root / units[batch]);
    }
  }
};

// A Gram matrix as a solver sees it: columns in another order, `damping` added
// to the diagonal, all divided by `unit` if it is to be floats.
struct MetricTask {
  int64_t n_matrix;
  const double* gram;    // both halves; null: the identity
  const int32_t* order;  // the column that stands at a place; null: its own
  double damping;
  double unit;
  double* wide;  // one of these two
  float* floats;

  NARROW_CHAIN_FUNCTION int64_t n() const { return n_matrix * n_matrix; }
  NARROW_CHAIN_FUNCTION void Run(int64_t at) const {
    const int64_t i = at / n_matrix;
    const int64_t j = at % n_matrix;
    double value = i == j ? 1 : 0;
    if (gram != nullptr) {
      const int64_t row = order == nullptr ? i : order[i];
      const int64_t col = order == nullptr ? j : order[j];
      value = gram[row * n_matrix + col];
    }
    value = i == j ? value + damping : value;
    if (wide != nullptr) {
      wide[at] = value;
    } else {
      floats[at] = static_cast<float>(value / unit);
    }
  }
};

// What the correction of a drift is but for its products (converter/solvers/
// drift.h): rows in double ...
struct WidenTask {
  const float* from;
  int64_t n_numbers;
  double* to;

  NARROW_CHAIN_FUNCTION int64_t n() const { return n_numbers; }
  NARROW_CHAIN_FUNCTION void Run(int64_t i) const {
    to[i] = static_cast<double>(from[i]);
  }
};

// ... moved = moved * share + other * other_share ...
struct MoveTask {
  double* moved;
  double share;
  const double* other;  // or null
  double other_share;
  int64_t n_numbers;

  NARROW_CHAIN_FUNCTION int64_t n() const { return n_numbers; }
  NARROW_CHAIN_FUNCTION void Run(int64_t i) const {
    double value = moved[i] * share;
    if (other != nullptr) {
      value += other_share * other[i];
    }
    moved[i] = value;
  }
};

// ... energies[r] = sum of rows[r, j] * products[r, j], one chain ...
struct EnergyTask {
  const double* rows;
  const double* products;
  int64_t n_rows;
  int64_t n_cols;
  double* energies;

  NARROW_CHAIN_FUNCTION int64_t n() const { return n_rows; }
  NARROW_CHAIN_FUNCTION void Run(int64_t r) const {
    double sum = 0;
    for (int64_t i = r * n_cols; i < (r + 1) * n_cols; ++i) {
      sum += rows[i] * products[i];
    }
    energies[r] = sum;
  }
};

// ... and rows whose energy is above max_share of another scaled down to it.
struct LimitTask {
  const double* moved;  // [n_rows, n_cols]
  const double* own;    // [n_rows], energies
  const double* much;
  int64_t n_rows;
  int64_t n_cols;
  double max_share;
  float* change;     // [n_rows, n_cols]
  uint8_t* limited;  // [n_rows]

  NARROW_CHAIN_FUNCTION int64_t n() const { return n_rows * n_cols; }
  NARROW_CHAIN_FUNCTION void Run(int64_t i) const {
    const int64_t r = i / n_cols;
    const double limit = max_share * own[r];
    const double is = much[r];
    // (A row without output of its own stays as it is.)
    const double scale = is <= limit ? 1 : limit > 0 ? sqrt(limit / is) : 0;
    change[i] = static_cast<float>(scale * moved[i]);
    if (i == r * n_cols) {
      limited[r] = scale < 1 ? 1 : 0;
    }
  }
};

}  // namespace factor
}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_DEVICE_FACTOR_THREADS_H_
