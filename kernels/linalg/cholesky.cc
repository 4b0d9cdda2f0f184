// Left-looking, by columns in blocks, from the last block to the first: a
// block first takes in all that is right of it in one product (gemm.h), then
// its own columns, kMaxTriangle at a time, in the same way; only triangles of
// that size are left to substitution. So nearly all work is products of tiles
// and nothing is needed beside the matrix.
//
// An element's chain is therefore: columns right of its block, rising; columns
// right of its triangle inside the block, rising; columns of its triangle,
// falling; the division. It depends on n alone. Tested by cholesky_test.

#include "kernels/linalg/cholesky.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/linalg/gemm.h"
#include "kernels/linalg/triangle.h"

namespace narrow {
namespace {

// Part of the definition of the chains, as is kMaxTriangle. Wider blocks
// leave more to products of few columns, narrower ones read the matrix more
// often.
constexpr int64_t kBlock = 128;
// Rows that a task substitutes.
constexpr int64_t kRowsPerTask = 64;

// Columns [begin, end).
struct Columns {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Calls body for the parts of `columns`, which begin at multiples of `size`
// from its start on, the last first or the first first.
template <typename Body>
void ForParts(const Columns& columns, int64_t size, bool from_last,
              const Body& body) {
  const int64_t n = (columns.size() + size - 1) / size;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t begin = columns.begin + (from_last ? n - 1 - i : i) * size;
    body(Columns{begin, std::min(columns.end, begin + size)});
  }
}

// Calls body(first, n) for parts of n rows.
template <typename Body>
void ForRows(ThreadPool* pool, int64_t n_rows, const Body& body) {
  const int64_t n_tasks = (n_rows + kRowsPerTask - 1) / kRowsPerTask;
  const auto run = [&](int64_t task) {
    const int64_t first = task * kRowsPerTask;
    body(first, std::min(kRowsPerTask, n_rows - first));
  };
  if (pool != nullptr) {
    pool->ParallelFor(n_tasks, run);
  } else {
    for (int64_t task = 0; task < n_tasks; ++task) {
      run(task);
    }
  }
}

// A factor R [n, n] and rows to which it is applied.
class Substitution {
 public:
  Substitution(const double* r, int64_t n, double* rows)
      : r_(r), n_(n), rows_(rows) {}

  // rows[:, part] -= rows[:, from] R[part, from]^T.
  void SubtractTransposed(ThreadPool* pool, int64_t n_rows, const Columns& part,
                          const Columns& from) const {
    GemmNT(pool, Update::kSubtract, n_rows, part.size(), from.size(),
           rows_ + from.begin, n_, r_ + part.begin * n_ + from.begin, n_,
           rows_ + part.begin, n_);
  }
  // rows[:, part] -= rows[:, from] R[from, part].
  void Subtract(ThreadPool* pool, int64_t n_rows, const Columns& part,
                const Columns& from) const {
    Gemm(pool, Update::kSubtract, n_rows, part.size(), from.size(),
         rows_ + from.begin, n_, r_ + from.begin * n_ + part.begin, n_,
         rows_ + part.begin, n_);
  }
  // rows[first …, part] times the inverse of R[part, part], or of its
  // transpose.
  void Triangle(int64_t first, int64_t n_rows, const Columns& part,
                bool transposed) const {
    TriangleSolve solve;
    solve.r = r_ + part.begin * n_ + part.begin;
    solve.r_stride = n_;
    solve.n = static_cast<int>(part.size());
    solve.transposed = transposed;
    solve.rows = rows_ + first * n_ + part.begin;
    solve.rows_stride = n_;
    solve.n_rows = n_rows;
    SolveTriangle(solve);
  }
  // A block's own columns, after the products with all others.
  void Block(int64_t first, int64_t n_rows, const Columns& block,
             bool transposed) const {
    const Substitution rows(r_, n_, rows_ + first * n_);
    ForParts(block, kMaxTriangle, transposed, [&](const Columns& part) {
      if (transposed) {
        rows.SubtractTransposed(nullptr, n_rows, part, {part.end, block.end});
      } else {
        rows.Subtract(nullptr, n_rows, part, {block.begin, part.begin});
      }
      rows.Triangle(0, n_rows, part, transposed);
    });
  }

 private:
  const double* const r_;
  const int64_t n_;
  double* const rows_;
};

// Factors the triangle h[part, part]; false on failure.
bool FactorTriangle(double* h, int64_t n, const Columns& part,
                    FactorResult* result) {
  for (int64_t j = part.end - 1; j >= part.begin; --j) {
    const double pivot = h[j * n + j];
    if (!(pivot > 0) || !std::isfinite(pivot)) {
      result->failed_at = j;
      result->failed_pivot = pivot;
      return false;
    }
    result->smallest_pivot = std::min(result->smallest_pivot, pivot);
    result->largest_pivot = std::max(result->largest_pivot, pivot);
    const double root = std::sqrt(pivot);
    h[j * n + j] = root;
    for (int64_t i = part.begin; i < j; ++i) {
      h[i * n + j] /= root;
    }
    for (int64_t i = part.begin; i < j; ++i) {
      for (int64_t k = i; k < j; ++k) {
        h[i * n + k] = std::fma(-h[i * n + j], h[k * n + j], h[i * n + k]);
      }
    }
  }
  return true;
}

// Factors the diagonal block and zeroes what is below it.
bool FactorBlock(double* h, int64_t n, const Columns& block,
                 FactorResult* result) {
  const Substitution rows(h, n, h + block.begin * n);
  bool positive = true;
  ForParts(block, kMaxTriangle, /*from_last=*/true, [&](const Columns& part) {
    if (!positive) {
      return;
    }
    rows.SubtractTransposed(nullptr, part.end - block.begin, part,
                            {part.end, block.end});
    positive = FactorTriangle(h, n, part, result);
    rows.Triangle(0, part.begin - block.begin, part, /*transposed=*/true);
  });
  return positive;
}

}  // namespace

FactorResult FactorUpper(ThreadPool* pool, int64_t n, double* h) {
  FactorResult result;
  result.smallest_pivot = n > 0 ? std::numeric_limits<double>::infinity() : 0;
  const Substitution rows(h, n, h);
  bool positive = true;
  ForParts({0, n}, kBlock, /*from_last=*/true, [&](const Columns& block) {
    if (!positive) {
      return;
    }
    rows.SubtractTransposed(pool, block.end, block, {block.end, n});
    positive = FactorBlock(h, n, block, &result);
    if (!positive) {
      return;
    }
    ForRows(pool, block.begin, [&](int64_t first, int64_t n_rows) {
      rows.Block(first, n_rows, block, /*transposed=*/true);
    });
    for (int64_t i = block.begin; i < n; ++i) {
      std::fill(h + i * n + block.begin, h + i * n + std::min(i, block.end),
                0.0);
    }
  });
  return result;
}

void SolveRows(ThreadPool* pool, const double* r, int64_t n, double* b,
               int64_t n_rows) {
  const Substitution rows(r, n, b);
  // Y R^T = B, then X R = Y.
  for (const bool transposed : {true, false}) {
    ForParts({0, n}, kBlock, transposed, [&](const Columns& block) {
      if (transposed) {
        rows.SubtractTransposed(pool, n_rows, block, {block.end, n});
      } else {
        rows.Subtract(pool, n_rows, block, {0, block.begin});
      }
      ForRows(pool, n_rows, [&](int64_t first, int64_t n) {
        rows.Block(first, n, block, transposed);
      });
    });
  }
}

}  // namespace narrow
