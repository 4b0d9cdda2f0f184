// Products whose every bit is fixed, as the work of a block of threads: each
// element is the chain of kernels/linalg/gemm.h, so a card and the processor
// give the same bits, whatever the tiles.
//
//   out(i, j) = fma(left(i, k), right(j, k), out(i, j)),   k rising
//
// A block has a tile of the result. Stripes of both operands, kDepth deep, go
// to shared memory, the next ones while these are multiplied; a thread keeps
// its elements in registers. The phases of a step: all threads finish
// fetching stripes before any adds them, and adding before any fetches others
// into the same place. (In CUDA copies to shared memory are asynchronous:
// what fences them is in chain_cuda.cu.)
//
// Depth is never filled up with zeros: fma(0, 0, -0) is +0.
//
// Tested by device_chains_test.

#ifndef NARROW_KERNELS_LINALG_DEVICE_CHAIN_THREADS_H_
#define NARROW_KERNELS_LINALG_DEVICE_CHAIN_THREADS_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/device_fma.h"
#include "kernels/linalg/update.h"

#if defined(__CUDACC__)
#define NARROW_CHAIN_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_CHAIN_FUNCTION inline
#endif

#if defined(__CUDA_ARCH__)
#define NARROW_CHAIN_UNROLL _Pragma("unroll")
#define NARROW_CHAIN_NO_UNROLL _Pragma("unroll 1")
#else
#define NARROW_CHAIN_UNROLL
#define NARROW_CHAIN_NO_UNROLL
#endif

namespace narrow {
namespace chain {

// A matrix of which element (i, k) is at data[i * row + k * column].
template <typename T>
struct Operand {
  const T* data = nullptr;
  int64_t row = 0;
  int64_t column = 0;
};

// Plain data for a kernel. `n_batch` products of one shape, whose operands
// and results lie so many elements apart.
template <typename T>
struct Product {
  Update update = Update::kSet;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  Operand<T> left;   // [m, k]
  Operand<T> right;  // [n, k]
  T* out = nullptr;  // [m, n], neither of them
  int64_t out_row = 0;
  int64_t n_batch = 1;
  int64_t left_step = 0;
  int64_t right_step = 0;
  int64_t out_step = 0;
};

// C[m, n] from A[m, k] and B[k, n], as Gemm of gemm.h.
template <typename T>
Product<T> Gemm(Update update, int64_t m, int64_t n, int64_t k, const T* a,
                int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc) {
  return {update, m, n, k, {a, lda, 1}, {b, 1, ldb}, c, ldc};
}

// C[m, n] from A[m, k] and B[n, k].
template <typename T>
Product<T> GemmNT(Update update, int64_t m, int64_t n, int64_t k, const T* a,
                  int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc) {
  return {update, m, n, k, {a, lda, 1}, {b, ldb, 1}, c, ldc};
}

// Rows of a Gram matrix that are one chain in float32: kGramBlockRows.
inline constexpr int kGramRows = 256;

// sums(i, j) += sum over rows of weight * left[row, i] * right[row, j]: what
// AddGram and AddCross of gram.h compute. With `offsets` (of the device,
// [n_batch + 1]) batch b has the rows from offsets[b] to offsets[b + 1] and
// the sums at b * sums_step: the experts of a layer at once.
struct GramTask {
  const float* left = nullptr;
  const float* right = nullptr;
  int64_t left_stride = 0;  // between rows
  int64_t right_stride = 0;
  const float* weights = nullptr;  // of rows; null: 1
  int64_t m = 0;                   // columns of left
  int64_t n = 0;                   // columns of right
  int64_t n_rows = 0;
  bool upper = false;  // j >= i alone
  double* sums = nullptr;
  int64_t sums_stride = 0;
  int64_t n_batch = 1;
  const int64_t* offsets = nullptr;
  int64_t sums_step = 0;
};

inline constexpr int kDepth = 16;

// How a block's threads share a tile. A thread has kRowGroups x kColGroups
// squares of kVector: 16 bytes are one read of shared memory.
template <typename T>
struct Shape;
template <>
struct Shape<float> {
  static constexpr int kVector = 4;
  static constexpr int kRowGroups = 2;
  static constexpr int kColGroups = 2;
  static constexpr int kThreadRows = 16;
  // Blocks that share a multiprocessor: at least so many.
  static constexpr int kBlocks = 2;
  static constexpr int kThreadCols = 16;
};
// Smaller tiles: factors have few columns at a time.
template <>
struct Shape<double> {
  static constexpr int kVector = 2;
  static constexpr int kRowGroups = 4;
  static constexpr int kColGroups = 2;
  static constexpr int kThreadRows = 8;
  static constexpr int kBlocks = 3;
  static constexpr int kThreadCols = 16;
};

template <typename T>
struct Tile : Shape<T> {
  using S = Shape<T>;
  static constexpr int kThreads = S::kThreadRows * S::kThreadCols;
  static constexpr int kRows = S::kThreadRows * S::kRowGroups * S::kVector;
  static constexpr int kCols = S::kThreadCols * S::kColGroups * S::kVector;
  static constexpr int kThreadTall = S::kRowGroups * S::kVector;
  static constexpr int kThreadWide = S::kColGroups * S::kVector;
};

// Columns of a stripe are 16 bytes longer than a tile: neighbours in depth,
// which neighbouring threads write, lie in different banks.
template <typename T>
struct Stripes {
  alignas(16) T left[kDepth][Tile<T>::kRows + Shape<T>::kVector];
  alignas(16) T right[kDepth][Tile<T>::kCols + Shape<T>::kVector];
};

template <typename T>
struct Sums {
  T at[Tile<T>::kThreadTall][Tile<T>::kThreadWide];
};

// Where a tile begins.
struct Place {
  int64_t row;
  int64_t col;
};

// Tiles in the order of blocks: eight rows of tiles go together through all
// columns, so that blocks that run at once share operands in the cache.
template <typename T>
NARROW_CHAIN_FUNCTION Place PlaceOf(int64_t m, int64_t n, int64_t block) {
  constexpr int64_t kGroup = 8;
  const int64_t tall = (m + Tile<T>::kRows - 1) / Tile<T>::kRows;
  const int64_t wide = (n + Tile<T>::kCols - 1) / Tile<T>::kCols;
  const int64_t first = block / (kGroup * wide) * kGroup;
  const int64_t height = tall - first < kGroup ? tall - first : kGroup;
  const int64_t in_group = block % (kGroup * wide);
  return {(first + in_group % height) * Tile<T>::kRows,
          in_group / height * Tile<T>::kCols};
}
template <typename T>
NARROW_CHAIN_FUNCTION int64_t TilesOf(int64_t m, int64_t n) {
  return (m + Tile<T>::kRows - 1) / Tile<T>::kRows *
         ((n + Tile<T>::kCols - 1) / Tile<T>::kCols);
}

// kBytes bytes to shared memory, of which the first n_used are read and the
// others zeros.
template <int kBytes>
NARROW_CHAIN_FUNCTION void CopyAsync(const void* from, int n_used, void* to) {
#if defined(__CUDA_ARCH__)
  const uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (kBytes == 16) {
    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared),
        "l"(from), "r"(n_used));
  } else {
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], %3, %2;\n" ::"r"(shared),
        "l"(from), "r"(n_used), "n"(kBytes));
  }
#else
  memset(to, 0, kBytes);
  if (n_used > 0) {
    memcpy(to, from, static_cast<size_t>(n_used));
  }
#endif
}

// One operand's part of a tile: rows first ... of `n`, of the depths below
// `k`, on the way to shared memory.
template <typename T>
struct Source {
  Operand<T> operand;
  int64_t first;
  int64_t n;
  int64_t k;

  // Whether 16 bytes may be read at once: neighbours in i lie side by side.
  NARROW_CHAIN_FUNCTION bool IsWide() const {
    return operand.row == 1 && operand.column % Shape<T>::kVector == 0 &&
           reinterpret_cast<uintptr_t>(operand.data) % 16 == 0;
  }
};

// A thread's share of `kWidth` rows at depths `depth` ... Neighbouring threads
// read neighbouring memory, whichever way it runs.
template <typename T, int kWidth>
NARROW_CHAIN_FUNCTION void FetchStripe(
    const Source<T>& source, int64_t depth, int thread,
    T (*stripe)[kWidth + Shape<T>::kVector]) {
  constexpr int kThreads = Tile<T>::kThreads;
  constexpr int kVector = Shape<T>::kVector;
  const T* const data = source.operand.data;
  if (source.IsWide()) {
    constexpr int kVectors = kWidth / kVector;
    NARROW_CHAIN_UNROLL
    for (int e = thread; e < kDepth * kVectors; e += kThreads) {
      const int at_k = e / kVectors;
      const int at_i = e % kVectors * kVector;
      const int64_t i = source.first + at_i;
      const int64_t left = source.n - i;
      const bool inside = depth + at_k < source.k && left > 0;
      const int n_used =
          inside ? static_cast<int>(left < kVector ? left : kVector) : 0;
      CopyAsync<16>(
          inside ? data + i + (depth + at_k) * source.operand.column : data,
          n_used * static_cast<int>(sizeof(T)), &stripe[at_k][at_i]);
    }
    return;
  }
  const bool by_depth = source.operand.column == 1;
  NARROW_CHAIN_UNROLL
  for (int e = thread; e < kDepth * kWidth; e += kThreads) {
    const int at_k = by_depth ? e % kDepth : e / kWidth;
    const int at_i = by_depth ? e / kDepth : e % kWidth;
    const int64_t i = source.first + at_i;
    const bool inside = depth + at_k < source.k && i < source.n;
    CopyAsync<static_cast<int>(sizeof(T))>(
        inside ? data + i * source.operand.row +
                     (depth + at_k) * source.operand.column
               : data,
        inside ? static_cast<int>(sizeof(T)) : 0, &stripe[at_k][at_i]);
  }
}

// Rows and columns of the tile that a thread has.
template <typename T>
NARROW_CHAIN_FUNCTION int RowOf(int thread, int i) {
  using S = Shape<T>;
  return (i / S::kVector * S::kThreadRows + thread / S::kThreadCols) *
             S::kVector +
         i % S::kVector;
}
template <typename T>
NARROW_CHAIN_FUNCTION int ColOf(int thread, int j) {
  using S = Shape<T>;
  return (j / S::kVector * S::kThreadCols + thread % S::kThreadCols) *
             S::kVector +
         j % S::kVector;
}

template <typename T>
struct alignas(16) Vector {
  T at[Shape<T>::kVector];
};

// The chains go on over one depth of the stripes.
template <typename T, bool kNegate>
NARROW_CHAIN_FUNCTION void AddDepth(const Stripes<T>& stripes, int k,
                                    int thread, Sums<T>* sums) {
  using S = Shape<T>;
  T left[Tile<T>::kThreadTall];
  T right[Tile<T>::kThreadWide];
  for (int g = 0; g < S::kRowGroups; ++g) {
    const auto v = *reinterpret_cast<const Vector<T>*>(
        &stripes.left[k][RowOf<T>(thread, g * S::kVector)]);
    for (int i = 0; i < S::kVector; ++i) {
      left[g * S::kVector + i] = kNegate ? -v.at[i] : v.at[i];
    }
  }
  for (int g = 0; g < S::kColGroups; ++g) {
    const auto v = *reinterpret_cast<const Vector<T>*>(
        &stripes.right[k][ColOf<T>(thread, g * S::kVector)]);
    for (int j = 0; j < S::kVector; ++j) {
      right[g * S::kVector + j] = v.at[j];
    }
  }
  for (int i = 0; i < Tile<T>::kThreadTall; ++i) {
    for (int j = 0; j < Tile<T>::kThreadWide; ++j) {
      sums->at[i][j] = Fma(left[i], right[j], sums->at[i][j]);
    }
  }
}

// Over the first `n` depths.
template <typename T, bool kNegate>
NARROW_CHAIN_FUNCTION void AddStripes(const Stripes<T>& stripes, int64_t n,
                                      int thread, Sums<T>* sums) {
  if (n >= kDepth) {
    NARROW_CHAIN_UNROLL
    for (int k = 0; k < kDepth; ++k) {
      AddDepth<T, kNegate>(stripes, k, thread, sums);
    }
    return;
  }
  NARROW_CHAIN_NO_UNROLL
  for (int k = 0; k < n; ++k) {
    AddDepth<T, kNegate>(stripes, k, thread, sums);
  }
}

// What a block does for one tile of a product.
template <typename T>
struct ProductTile {
  Source<T> left;
  Source<T> right;
  T* out;
  int64_t out_row;
  bool accumulate;

  NARROW_CHAIN_FUNCTION ProductTile(const Product<T>& p, int64_t batch,
                                    const Place& place)
      : left{{p.left.data + batch * p.left_step, p.left.row, p.left.column},
             place.row,
             p.m,
             p.k},
        right{
            {p.right.data + batch * p.right_step, p.right.row, p.right.column},
            place.col,
            p.n,
            p.k},
        out(p.out + batch * p.out_step),
        out_row(p.out_row),
        accumulate(p.update != Update::kSet) {}

  NARROW_CHAIN_FUNCTION int64_t n_steps() const {
    return (left.k + kDepth - 1) / kDepth;
  }
  NARROW_CHAIN_FUNCTION void Fetch(int64_t step, int thread,
                                   Stripes<T>* to) const {
    FetchStripe<T, Tile<T>::kRows>(left, step * kDepth, thread, to->left);
    FetchStripe<T, Tile<T>::kCols>(right, step * kDepth, thread, to->right);
  }
  NARROW_CHAIN_FUNCTION bool Inside(int thread, int i, int j) const {
    return left.first + RowOf<T>(thread, i) < left.n &&
           right.first + ColOf<T>(thread, j) < right.n;
  }
  NARROW_CHAIN_FUNCTION T* At(int thread, int i, int j) const {
    return out + (left.first + RowOf<T>(thread, i)) * out_row + right.first +
           ColOf<T>(thread, j);
  }
  NARROW_CHAIN_FUNCTION void Begin(int thread, Sums<T>* sums) const {
    for (int i = 0; i < Tile<T>::kThreadTall; ++i) {
      for (int j = 0; j < Tile<T>::kThreadWide; ++j) {
        sums->at[i][j] =
            accumulate && Inside(thread, i, j) ? *At(thread, i, j) : T{0};
      }
    }
  }
  template <bool kNegate>
  NARROW_CHAIN_FUNCTION void Add(int64_t step, const Stripes<T>& stripes,
                                 int thread, Sums<T>* sums) const {
    AddStripes<T, kNegate>(stripes, left.k - step * kDepth, thread, sums);
  }
  NARROW_CHAIN_FUNCTION void End(int thread, const Sums<T>& sums) const {
    for (int i = 0; i < Tile<T>::kThreadTall; ++i) {
      for (int j = 0; j < Tile<T>::kThreadWide; ++j) {
        if (Inside(thread, i, j)) {
          *At(thread, i, j) = sums.at[i][j];
        }
      }
    }
  }
};

}  // namespace chain
}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_DEVICE_CHAIN_THREADS_H_
