// Left-looking, by columns in blocks, from the last block to the first: a
// block first takes in all that is right of it in one product (gemm.h), then
// its own columns, kMaxTriangle at a time, in the same way; only triangles of
// that size are left to substitution. So nearly all work is products of tiles.
// What happens inside a block happens in copies, as rows of large matrices
// contend for the same places of the caches.
//
// An element's chain is therefore: columns right of its block, rising; columns
// right of its triangle inside the block, rising; columns of its triangle,
// falling; the division. It depends on n alone. Tested by cholesky_test.

#include "kernels/linalg/cholesky.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/linalg/gemm.h"
#include "kernels/linalg/triangle.h"

namespace narrow {
namespace {

// Part of the definition of the chains, as is kMaxTriangle. Wider blocks
// leave more to products of few columns, narrower ones read the matrix more
// often.
constexpr int64_t kBlock = 128;
// Rows that a task substitutes.
constexpr int64_t kRowsPerTask = 128;

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

// Rows to which a factor R is applied, both part of something larger.
struct Substitution {
  const double* r;
  int64_t r_stride;
  double* rows;
  int64_t rows_stride;
  int64_t n_rows;

  // rows[:, part] -= rows[:, from] R[part, from]^T.
  void SubtractTransposed(ThreadPool* pool, const Columns& part,
                          const Columns& from) const {
    GemmNT(pool, Update::kSubtract, n_rows, part.size(), from.size(),
           rows + from.begin, rows_stride,
           r + part.begin * r_stride + from.begin, r_stride, rows + part.begin,
           rows_stride);
  }
  // rows[:, part] -= rows[:, from] R[from, part].
  void Subtract(ThreadPool* pool, const Columns& part,
                const Columns& from) const {
    Gemm(pool, Update::kSubtract, n_rows, part.size(), from.size(),
         rows + from.begin, rows_stride, r + from.begin * r_stride + part.begin,
         r_stride, rows + part.begin, rows_stride);
  }
  // rows[:, part] times the inverse of R[part, part], or of its transpose.
  void Triangle(const Columns& part, bool transposed) const {
    TriangleSolve solve;
    solve.r = r + part.begin * r_stride + part.begin;
    solve.r_stride = r_stride;
    solve.n = static_cast<int>(part.size());
    solve.transposed = transposed;
    solve.rows = rows + part.begin;
    solve.rows_stride = rows_stride;
    solve.n_rows = n_rows;
    SolveTriangle(solve);
  }
  // The first n columns, a part at a time.
  void Parts(int64_t n, bool transposed) const {
    ForParts({0, n}, kMaxTriangle, transposed, [&](const Columns& part) {
      if (transposed) {
        SubtractTransposed(nullptr, part, {part.end, n});
      } else {
        Subtract(nullptr, part, {0, part.begin});
      }
      Triangle(part, transposed);
    });
  }
};

// A copy of up to kBlock columns of a matrix.
class BlockCopy {
 public:
  BlockCopy(double* from, int64_t stride, int64_t n_rows, int64_t n_cols)
      : from_(from),
        stride_(stride),
        n_rows_(n_rows),
        n_cols_(n_cols),
        values_(static_cast<size_t>(n_rows * kBlock)) {
    for (int64_t i = 0; i < n_rows_; ++i) {
      std::copy_n(from_ + i * stride_, n_cols_, values() + i * kBlock);
    }
  }
  double* values() { return values_.data(); }
  const double* values() const { return values_.data(); }
  void CopyBack() const {
    for (int64_t i = 0; i < n_rows_; ++i) {
      std::copy_n(values() + i * kBlock, n_cols_, from_ + i * stride_);
    }
  }

 private:
  double* const from_;
  const int64_t stride_, n_rows_, n_cols_;
  std::vector<double> values_;
};

// A block's own columns in rows that have taken in all others; `r` is the
// block's square of the factor.
void SolveBlock(ThreadPool* pool, const BlockCopy& r, int64_t n_cols,
                double* rows, int64_t stride, int64_t n_rows, bool transposed) {
  ForRows(pool, n_rows, [&](int64_t first, int64_t n) {
    BlockCopy part(rows + first * stride, stride, n, n_cols);
    const Substitution substitution = {r.values(), kBlock, part.values(),
                                       kBlock, n};
    substitution.Parts(n_cols, transposed);
    part.CopyBack();
  });
}

// Factors the triangle h[part, part]; false on failure.
bool FactorTriangle(double* h, int64_t stride, const Columns& part,
                    FactorResult* result) {
  for (int64_t j = part.end - 1; j >= part.begin; --j) {
    const double pivot = h[j * stride + j];
    if (!(pivot > 0) || !std::isfinite(pivot)) {
      result->failed_at = j;
      result->failed_pivot = pivot;
      return false;
    }
    result->smallest_pivot = std::min(result->smallest_pivot, pivot);
    result->largest_pivot = std::max(result->largest_pivot, pivot);
    const double root = std::sqrt(pivot);
    h[j * stride + j] = root;
    for (int64_t i = part.begin; i < j; ++i) {
      h[i * stride + j] /= root;
    }
    for (int64_t i = part.begin; i < j; ++i) {
      for (int64_t k = i; k < j; ++k) {
        h[i * stride + k] =
            std::fma(-h[i * stride + j], h[k * stride + j], h[i * stride + k]);
      }
    }
  }
  return true;
}

// Factors a square [n, n] of a block, which begins at row `first` of the
// matrix, and zeroes what is below its diagonal.
bool FactorSquare(double* square, int64_t n, int64_t first,
                  FactorResult* result) {
  bool positive = true;
  ForParts({0, n}, kMaxTriangle, /*from_last=*/true, [&](const Columns& part) {
    if (!positive) {
      return;
    }
    Substitution rows = {square, kBlock, square, kBlock, part.end};
    rows.SubtractTransposed(nullptr, part, {part.end, n});
    positive = FactorTriangle(square, kBlock, part, result);
    rows.n_rows = part.begin;
    rows.Triangle(part, /*transposed=*/true);
  });
  if (!positive) {
    result->failed_at += first;
    return false;
  }
  for (int64_t i = 0; i < n; ++i) {
    std::fill_n(square + i * kBlock, i, 0.0);
  }
  return true;
}

}  // namespace

FactorResult FactorUpper(ThreadPool* pool, int64_t n, double* h) {
  FactorResult result;
  result.smallest_pivot = n > 0 ? std::numeric_limits<double>::infinity() : 0;
  bool positive = true;
  ForParts({0, n}, kBlock, /*from_last=*/true, [&](const Columns& block) {
    if (!positive) {
      return;
    }
    const Substitution rows = {h, n, h, n, block.end};
    rows.SubtractTransposed(pool, block, {block.end, n});
    BlockCopy square(h + block.begin * n + block.begin, n, block.size(),
                     block.size());
    positive =
        FactorSquare(square.values(), block.size(), block.begin, &result);
    if (!positive) {
      return;
    }
    square.CopyBack();
    SolveBlock(pool, square, block.size(), h + block.begin, n, block.begin,
               /*transposed=*/true);
    for (int64_t i = block.end; i < n; ++i) {
      std::fill_n(h + i * n + block.begin, block.size(), 0.0);
    }
  });
  return result;
}

void SolveRows(ThreadPool* pool, const double* r, int64_t n, double* b,
               int64_t n_rows) {
  const Substitution rows = {r, n, b, n, n_rows};
  // Y R^T = B, then X R = Y.
  for (const bool transposed : {true, false}) {
    ForParts({0, n}, kBlock, transposed, [&](const Columns& block) {
      if (transposed) {
        rows.SubtractTransposed(pool, block, {block.end, n});
      } else {
        rows.Subtract(pool, block, {0, block.begin});
      }
      const BlockCopy square(
          const_cast<double*>(r) + block.begin * n + block.begin, n,
          block.size(), block.size());
      SolveBlock(pool, square, block.size(), b + block.begin, n, n_rows,
                 transposed);
    });
  }
}

}  // namespace narrow
