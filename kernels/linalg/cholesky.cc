// Left-looking, by columns in blocks, from the last block to the first: a
// block first takes in all that is right of it in one product (gemm.h), then
// its own columns, kMaxTriangle at a time, in the same way; only triangles of
// that size are left to substitution. So nearly all work is products of tiles.
// A block is worked on in a copy, as rows of large matrices contend for the
// same places of the caches; that is all the memory beside the matrix.
//
// An element's chain is therefore: columns right of its block, rising; columns
// right of its triangle inside the block, rising; columns of its triangle,
// falling; the division. It depends on n alone. Tested by cholesky_test.

#include "kernels/linalg/cholesky.h"

#include <algorithm>
#include <cmath>
#include <cstring>
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
  void SubtractTransposed(const Columns& part, const Columns& from) const {
    GemmNT(nullptr, Update::kSubtract, n_rows, part.size(), from.size(),
           rows + from.begin, rows_stride,
           r + part.begin * r_stride + from.begin, r_stride, rows + part.begin,
           rows_stride);
  }
  // rows[:, part] -= rows[:, from] R[from, part].
  void Subtract(const Columns& part, const Columns& from) const {
    Gemm(nullptr, Update::kSubtract, n_rows, part.size(), from.size(),
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
        SubtractTransposed(part, {part.end, n});
      } else {
        Subtract(part, {0, part.begin});
      }
      Triangle(part, transposed);
    });
  }
};

// A copy of a block's columns, kBlock apart from row to row.
class BlockCopy {
 public:
  BlockCopy(ThreadPool* pool, const double* from, int64_t stride,
            int64_t n_rows, int64_t n_cols)
      : n_rows_(n_rows),
        n_cols_(n_cols),
        values_(static_cast<size_t>(n_rows * kBlock)) {
    ForRows(pool, n_rows, [&](int64_t first, int64_t n) {
      for (int64_t i = first; i < first + n; ++i) {
        std::copy_n(from + i * stride, n_cols_, row(i));
      }
    });
  }
  double* row(int64_t i) { return values_.data() + i * kBlock; }
  const double* row(int64_t i) const { return values_.data() + i * kBlock; }

  // The block's own columns in n_rows rows that have taken in all others;
  // `square` is the factor's.
  void Solve(ThreadPool* pool, const double* square, int64_t n_rows,
             bool transposed) {
    ForRows(pool, n_rows, [&](int64_t first, int64_t n) {
      const Substitution part = {square, kBlock, row(first), kBlock, n};
      part.Parts(n_cols_, transposed);
    });
  }
  void CopyTo(ThreadPool* pool, double* to, int64_t stride) const {
    ForRows(pool, n_rows_, [&](int64_t first, int64_t n) {
      for (int64_t i = first; i < first + n; ++i) {
        std::copy_n(row(i), n_cols_, to + i * stride);
      }
    });
  }

 private:
  const int64_t n_rows_, n_cols_;
  std::vector<double> values_;
};

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
    rows.SubtractTransposed(part, {part.end, n});
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
    BlockCopy copy(pool, h + block.begin, n, block.end, block.size());
    GemmNT(pool, Update::kSubtract, block.end, block.size(), n - block.end,
           h + block.end, n, h + block.begin * n + block.end, n, copy.row(0),
           kBlock);
    double* square = copy.row(block.begin);
    positive = FactorSquare(square, block.size(), block.begin, &result);
    if (!positive) {
      return;
    }
    copy.Solve(pool, square, block.begin, /*transposed=*/true);
    copy.CopyTo(pool, h + block.begin, n);
    for (int64_t i = block.end; i < n; ++i) {
      std::fill_n(h + i * n + block.begin, block.size(), 0.0);
    }
  });
  return result;
}

float* UnitFactorInPlace(ThreadPool* pool, int64_t n, double* r) {
  std::vector<double> inverse(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    inverse[static_cast<size_t>(i)] = 1 / r[i * n + i];
  }
  // Memory that changes its type is moved as bytes. Column j of row 0 lies in
  // column j / 2 of what it is made of, which has been read by then.
  char* const bytes = reinterpret_cast<char*>(r);
  const auto convert = [&](int64_t i) {
    for (int64_t j = 0; j < n; ++j) {
      double from = 0;
      std::memcpy(&from, bytes + (i * n + j) * int64_t{sizeof(double)},
                  sizeof(from));
      const float to =
          j < i ? 0.0f
                : static_cast<float>(from * inverse[static_cast<size_t>(j)]);
      std::memcpy(bytes + (i * n + j) * int64_t{sizeof(float)}, &to,
                  sizeof(to));
    }
  };
  convert(0);
  // Rows [first, 2 first) go where rows below `first` were.
  for (int64_t first = 1; first < n; first *= 2) {
    const int64_t n_rows = std::min(first, n - first);
    if (pool == nullptr) {
      for (int64_t i = first; i < first + n_rows; ++i) {
        convert(i);
      }
    } else {
      pool->ParallelFor(n_rows, [&](int64_t i) { convert(first + i); });
    }
  }
  return reinterpret_cast<float*>(r);
}

void SolveRows(ThreadPool* pool, const double* r, int64_t n, double* b,
               int64_t n_rows) {
  // Y R^T = B, then X R = Y.
  for (const bool transposed : {true, false}) {
    ForParts({0, n}, kBlock, transposed, [&](const Columns& block) {
      const BlockCopy square(nullptr, r + block.begin * n + block.begin, n,
                             block.size(), block.size());
      BlockCopy copy(pool, b + block.begin, n, n_rows, block.size());
      if (transposed) {
        GemmNT(pool, Update::kSubtract, n_rows, block.size(), n - block.end,
               b + block.end, n, r + block.begin * n + block.end, n,
               copy.row(0), kBlock);
      } else {
        Gemm(pool, Update::kSubtract, n_rows, block.size(), block.begin, b, n,
             r + block.begin, n, copy.row(0), kBlock);
      }
      copy.Solve(pool, square.row(0), n_rows, transposed);
      copy.CopyTo(pool, b + block.begin, n);
    });
  }
}

}  // namespace narrow
