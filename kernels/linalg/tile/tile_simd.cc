// Operands are packed into slabs in the order in which registers want them
// (Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication", 2008, sections 4 and 5): a slab of B, all of a block's
// depth and as many columns as two registers have lanes, stays in the first
// cache while slabs of A, as many rows as there are registers for sums, pass
// by. Between two blocks of depth the sums wait in C, exactly, so neither
// blocks nor slabs show in the result. Tested by gemm_test and gram_test.

#include "kernels/linalg/tile/tile_simd.h"

#include "kernels/simd/doubles.h"

namespace narrow {
namespace NARROW_SIMD {
namespace {

// Registers: kSlabRows * kVectors sums, kVectors of B and one of A.
#if defined(__AVX512F__)
constexpr int kSlabRows = 14;
#else
constexpr int kSlabRows = 6;
#endif
constexpr int kVectors = 2;
// Elements from one depth to the next in a slab of A packed by depth, so that
// whole vectors can be stored.
constexpr int kRowsStride = kSlabRows <= 8 ? 8 : 16;

constexpr int64_t kLineBytes = 64;
// Rows of A asked for before they are packed.
constexpr int64_t kRowsAhead = 4;

template <typename T>
using Vector = typename VectorOf<T>::Type;
template <typename T>
constexpr int kCount = VectorOf<T>::kCount;
template <typename T>
constexpr int kSlabCols = kVectors* kCount<T>;
// Depth of a block of a product: a slab of B and one of A fill no more than
// the first cache.
template <typename T>
constexpr int64_t kDepth = kTileDepth;
template <>
constexpr int64_t kDepth<double> = kTileDepth / 2;

constexpr int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t Max(int64_t a, int64_t b) { return a > b ? a : b; }

// Rows are shared out evenly among slabs: a slab of two or three rows would
// wait for its own sums.
struct Slabs {
  explicit Slabs(int64_t m)
      : n((m + kSlabRows - 1) / kSlabRows), rows(m / n), n_larger(m % n) {}
  int64_t first(int64_t slab) const {
    return slab * rows + Min(slab, n_larger);
  }
  int64_t n_rows(int64_t slab) const { return rows + (slab < n_larger); }

  const int64_t n, rows, n_larger;
};

// c[kRows, kSlabCols] (+)= slab of A times slab of B.
template <typename T, bool kByDepth, int kRows>
void MultiplySlabs(const T* a, const T* b, int64_t depth, bool accumulate, T* c,
                   int64_t ldc) {
  constexpr int64_t kRowStride = kByDepth ? 1 : kDepth<T>;
  constexpr int64_t kDepthStride = kByDepth ? kRowsStride : 1;
  Vector<T> sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = accumulate ? Load(c + r * ldc + v * kCount<T>) : Vector<T>{};
    }
  }
  for (int64_t p = 0; p < depth; ++p) {
    Vector<T> columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = Load(b + v * kCount<T>);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vector<T> row = Spread(a + r * kRowStride);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = Fma(row, columns[v], sums[r][v]);
      }
    }
    a += kDepthStride;
    b += kSlabCols<T>;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Store(sums[r][v], c + r * ldc + v * kCount<T>);
    }
  }
}

template <typename T>
using SlabFunction = void (*)(const T*, const T*, int64_t, bool, T*, int64_t);

template <typename T, bool kByDepth, int... kLess>
SlabFunction<T> FunctionOfRows(std::integer_sequence<int, kLess...>,
                               int64_t n_rows) {
  static constexpr SlabFunction<T> kFunctions[] = {
      &MultiplySlabs<T, kByDepth, kLess + 1>...};
  return kFunctions[n_rows - 1];
}
template <typename T, bool kByDepth>
SlabFunction<T> FunctionOfRows(int64_t n_rows) {
  return FunctionOfRows<T, kByDepth>(
      std::make_integer_sequence<int, kSlabRows>(), n_rows);
}

// Asks for n_rows pieces of memory that will soon be read, `stride` elements
// apart: rows of C and of A begin where the processor does not expect it.
template <typename T>
NARROW_LANE_FUNCTION void Prefetch(const T* from, int64_t stride,
                                   int64_t n_rows, int64_t n_bytes) {
  for (int64_t r = 0; r < n_rows; ++r) {
    const char* row = reinterpret_cast<const char*>(from + r * stride);
    for (int64_t at = 0; at < n_bytes; at += kLineBytes) {
      __builtin_prefetch(row + at);
    }
  }
}

// The part of the next block of A, [n_rows, depth], that is asked for while
// column slab `part` of `n_parts` is computed; for the second cache.
template <typename T>
NARROW_LANE_FUNCTION void PrefetchPart(const T* a, int64_t lda, int64_t n_rows,
                                       int64_t depth, int64_t part,
                                       int64_t n_parts) {
  constexpr int64_t kLine = kLineBytes / int64_t{sizeof(T)};
  const int64_t n_lines = (depth + kLine - 1) / kLine;
  const int64_t first = part * n_lines / n_parts;
  const int64_t end = (part + 1) * n_lines / n_parts;
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t line = first; line < end; ++line) {
      __builtin_prefetch(a + r * lda + line * kLine, 0, 2);
    }
  }
}

// A block of A, [m, depth] by index: each slab's rows one after the other.
template <typename T>
void PackRows(const T* a, int64_t lda, int64_t m, int64_t depth, bool negate,
              T* out) {
  for (int64_t i = 0; i < m; ++i, a += lda, out += kDepth<T>) {
    Prefetch(a + kRowsAhead * lda, 0, i + kRowsAhead < m,
             depth * static_cast<int64_t>(sizeof(T)));
    int64_t p = 0;
    if (negate) {
      for (; p + kCount<T> <= depth; p += kCount<T>) {
        Store(-Load(a + p), out + p);
      }
    } else {
      for (; p + kCount<T> <= depth; p += kCount<T>) {
        Store(Load(a + p), out + p);
      }
    }
    for (; p < depth; ++p) {
      out[p] = negate ? -a[p] : a[p];
    }
  }
}

// A block of rows [depth, m] that are to be A's columns: element (i, p) of a
// slab at p * kRowsStride + i. Rows of weight 0 become 0.
void PackDepths(const float* a, int64_t lda, const Slabs& slabs, int64_t m,
                int64_t depth, const float* weights, float* out) {
  static_assert(kRowsStride == kLanes, "a slab's rows are a vector");
  for (int64_t s = 0; s < slabs.n; ++s) {
    const int64_t first = slabs.first(s), n = slabs.n_rows(s);
    for (int64_t p = 0; p < depth; ++p, out += kRowsStride) {
      const float* from = a + p * lda + first;
      F32 rows = {};
      if ((depth - 1 - p) * lda + m - first >= kLanes) {
        rows = Load(from);  // with some that nobody looks at
      } else {
        for (int64_t i = 0; i < n; ++i) {
          rows[i] = from[i];
        }
      }
      if (weights != nullptr) {
        rows = weights[p] != 0 ? rows * weights[p] : F32{};
      }
      Store(rows, out);
    }
  }
}

// Columns [j, j + n) of B by index, n <= kSlabCols: a transposition.
template <typename T>
void PackColumnsOfSlab(const T* b, int64_t ldb, int64_t n, int64_t depth,
                       T* out) {
  constexpr int kSquare = kCount<T>;
  for (int64_t j = 0; j < kSlabCols<T>; j += kSquare) {
    const int64_t n_here = Max(0, Min(kSquare, n - j));
    int64_t p = 0;
    if (n_here > 0) {
      for (; p + kSquare <= depth; p += kSquare) {
        Vector<T> square[kSquare];
#pragma GCC unroll 16
        for (int64_t i = 0; i < kSquare; ++i) {
          square[i] = i < n_here ? Load(b + (j + i) * ldb + p) : Vector<T>{};
        }
        Transpose(square);
#pragma GCC unroll 16
        for (int i = 0; i < kSquare; ++i) {
          Store(square[i], out + (p + i) * kSlabCols<T> + j);
        }
      }
    }
    for (; p < depth; ++p) {
      for (int64_t i = 0; i < kSquare; ++i) {
        out[p * kSlabCols<T> + j + i] = i < n_here ? b[(j + i) * ldb + p] : 0;
      }
    }
  }
}

// A block of B, [depth, n], into slabs `slab_stride` elements apart. By depth,
// rows p of weight 0 become 0.
template <typename T>
void PackBlock(const T* b, int64_t ldb, OperandLayout layout, int64_t n,
               int64_t depth, const T* weights, int64_t slab_stride, T* out) {
  if (layout == OperandLayout::kByIndex) {
    for (int64_t j = 0; j < n; j += kSlabCols<T>, out += slab_stride) {
      PackColumnsOfSlab(b + j * ldb, ldb, Min(kSlabCols<T>, n - j), depth, out);
    }
    return;
  }
  for (int64_t p = 0; p < depth; ++p) {
    const T* from = b + p * ldb;
    const bool counts = weights == nullptr || weights[p] != 0;
    T* to = out + p * kSlabCols<T>;
    for (int64_t j = 0; j < n; j += kSlabCols<T>, to += slab_stride) {
      if (counts && j + kSlabCols<T> <= n) {
        for (int v = 0; v < kVectors; ++v) {
          Store(Load(from + j + v * kCount<T>), to + v * kCount<T>);
        }
      } else {
        for (int64_t i = 0; i < kSlabCols<T>; ++i) {
          to[i] = counts && j + i < n ? from[j + i] : 0;
        }
      }
    }
  }
}

// A tile of C where only its first n columns are ours.
template <typename T>
void MultiplyEdge(SlabFunction<T> multiply, const T* a, const T* b,
                  int64_t depth, bool accumulate, int64_t n_rows, int64_t n,
                  T* c, int64_t ldc) {
  alignas(64) T edge[kSlabRows * kSlabCols<T>];
  for (int64_t r = 0; accumulate && r < n_rows; ++r) {
    for (int64_t j = 0; j < kSlabCols<T>; ++j) {
      edge[r * kSlabCols<T> + j] = j < n ? c[r * ldc + j] : 0;
    }
  }
  multiply(a, b, depth, accumulate, edge, kSlabCols<T>);
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t j = 0; j < n; ++j) {
      c[r * ldc + j] = edge[r * kSlabCols<T> + j];
    }
  }
}

template <typename T>
void Product(const TileProduct<T>& t) {
  const Slabs slabs(t.m);
  const bool packed = t.b_layout == OperandLayout::kPacked;
  for (int64_t first = 0; first == 0 || first < t.k; first += kDepth<T>) {
    const int64_t depth = Min(kDepth<T>, t.k - first);
    const bool accumulate = t.accumulate || first > 0;
    PackRows(t.a + first, t.lda, t.m, depth, t.negate, t.a_scratch);
    const T* b = t.b_scratch;
    int64_t slab_stride = depth * kSlabCols<T>;
    if (packed) {
      b = t.b + first * kSlabCols<T>;
      slab_stride = t.k * kSlabCols<T>;
    } else {
      const int64_t at =
          t.b_layout == OperandLayout::kByIndex ? first : first * t.ldb;
      PackBlock<T>(t.b + at, t.ldb, t.b_layout, t.n, depth, nullptr,
                   slab_stride, t.b_scratch);
    }
    const int64_t next = first + depth;
    const int64_t next_depth = Min(kDepth<T>, t.k - next);
    const int64_t n_col_slabs = (t.n + kSlabCols<T> - 1) / kSlabCols<T>;
    for (int64_t j = 0; j < t.n; j += kSlabCols<T>, b += slab_stride) {
      const int64_t n = Min(kSlabCols<T>, t.n - j);
      const T* a = t.a_scratch;
      for (int64_t s = 0; s < slabs.n; ++s) {
        const int64_t n_rows = slabs.n_rows(s);
        T* c = t.c + slabs.first(s) * t.ldc + j;
        if (accumulate && s + 1 < slabs.n) {
          Prefetch(c + n_rows * t.ldc, t.ldc, slabs.n_rows(s + 1),
                   kVectors * int64_t{sizeof(Vector<T>)});
        }
        PrefetchPart(t.a + slabs.first(s) * t.lda + next, t.lda, n_rows,
                     next_depth, j / kSlabCols<T>, n_col_slabs);
        const SlabFunction<T> multiply = FunctionOfRows<T, false>(n_rows);
        if (n == kSlabCols<T>) {
          multiply(a, b, depth, accumulate, c, t.ldc);
        } else {
          MultiplyEdge(multiply, a, b, depth, accumulate, n_rows, n, c, t.ldc);
        }
        a += n_rows * kDepth<T>;
      }
    }
  }
}

// sums[n_rows, n] += block, from column i + diagonal on in row i.
void AddBlock(const float* block, int64_t n_rows, int64_t n, int64_t diagonal,
              double* sums, int64_t stride) {
  for (int64_t i = 0; i < n_rows; ++i) {
    const float* from = block + i * kSlabCols<float>;
    double* to = sums + i * stride;
    int64_t j = Max(0, i + diagonal);
    for (; j + kDoubleLanes <= n; j += kDoubleLanes) {
      Store(Load(to + j) + LoadWide(from + j), to + j);
    }
    for (; j < n; ++j) {
      to[j] += static_cast<double>(from[j]);
    }
  }
}

}  // namespace

extern const int64_t kSlabColsF32 = kSlabCols<float>;

void ProductF32(const TileProduct<float>& tile) { Product(tile); }
void ProductF64(const TileProduct<double>& tile) { Product(tile); }

void Gram(const TileGram& t) {
  constexpr int64_t kCols = kSlabCols<float>;
  const Slabs slabs(t.m);
  for (int64_t first = 0; first < t.n_rows; first += kTileDepth) {
    const int64_t depth = Min(kTileDepth, t.n_rows - first);
    const float* weights = t.weights == nullptr ? nullptr : t.weights + first;
    PackDepths(t.left + first * t.left_stride, t.left_stride, slabs, t.m, depth,
               weights, t.left_scratch);
    PackBlock<float>(t.right + first * t.right_stride, t.right_stride,
                     OperandLayout::kByDepth, t.n, depth, weights,
                     depth * kCols, t.right_scratch);
    for (int64_t j = 0; j < t.n; j += kCols) {
      for (int64_t s = 0; s < slabs.n; ++s) {
        const int64_t row = slabs.first(s), n_rows = slabs.n_rows(s);
        const int64_t diagonal = row + t.diagonal - j;
        if (diagonal >= kCols) {
          break;  // all of this slab and of those after it
        }
        double* sums = t.sums + row * t.sums_stride + j;
        Prefetch(sums, t.sums_stride, n_rows, kCols * int64_t{sizeof(double)});
        alignas(64) float block[kSlabRows * kCols];
        FunctionOfRows<float, true>(n_rows)(
            t.left_scratch + s * depth * kRowsStride,
            t.right_scratch + j * depth, depth, false, block, kCols);
        AddBlock(block, n_rows, Min(kCols, t.n - j), diagonal, sums,
                 t.sums_stride);
      }
    }
  }
}

void PackF32(const float* b, int64_t ldb, OperandLayout layout, int64_t n,
             int64_t k, float* out) {
  PackBlock<float>(b, ldb, layout, n, k, nullptr, k * kSlabCols<float>, out);
}

}  // namespace NARROW_SIMD
}  // namespace narrow
