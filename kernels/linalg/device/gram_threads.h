// One tile of a Gram matrix as the work of a block of threads, over the
// stripes of chain_threads.h: chains of kGramRows rows in float32, added in
// double, which is what AddGram of kernels/linalg/gram.h does.
//
// A thread keeps its sums in double too until the last row: beside 64 times
// 256 multiply-adds their 64 additions are nothing.
//
// Tested by device_chains_test.

#ifndef NARROW_KERNELS_LINALG_DEVICE_GRAM_THREADS_H_
#define NARROW_KERNELS_LINALG_DEVICE_GRAM_THREADS_H_

#include "kernels/linalg/device/chain_threads.h"

namespace narrow {
namespace chain {

struct WideSums {
  double at[Tile<float>::kThreadTall][Tile<float>::kThreadWide];
};

struct GramTile {
  Source<float> left;
  Source<float> right;
  const float* weights;
  double* sums;
  int64_t stride;
  bool upper;

  NARROW_CHAIN_FUNCTION GramTile(const GramTask& t, int64_t batch,
                                 const Place& place)
      : left{{t.left, 1, t.left_stride}, place.row, t.m, t.n_rows},
        right{{t.right, 1, t.right_stride}, place.col, t.n, t.n_rows},
        weights(t.weights),
        sums(t.sums + batch * t.sums_step),
        stride(t.sums_stride),
        upper(t.upper) {
    if (t.offsets != nullptr) {
      const int64_t first = t.offsets[batch];
      left.operand.data += first * t.left_stride;
      right.operand.data += first * t.right_stride;
      weights = weights == nullptr ? nullptr : weights + first;
      left.k = right.k = t.offsets[batch + 1] - first;
    }
  }

  // Of tiles below the diagonal nothing is wanted.
  NARROW_CHAIN_FUNCTION bool IsWanted() const {
    return left.k > 0 &&
           !(upper && left.first >= right.first + Tile<float>::kCols);
  }
  NARROW_CHAIN_FUNCTION int64_t n_steps() const {
    return (left.k + kDepth - 1) / kDepth;
  }

  NARROW_CHAIN_FUNCTION void Fetch(int64_t step, int thread,
                                   Stripes<float>* to) const {
    const int64_t depth = step * kDepth;
    if (weights != nullptr) {
      FetchWeighted<Tile<float>::kRows>(left, depth, thread, true, to->left);
      FetchWeighted<Tile<float>::kCols>(right, depth, thread, false, to->right);
      return;
    }
    FetchStripe<float, Tile<float>::kRows>(left, depth, thread, to->left);
    FetchStripe<float, Tile<float>::kCols>(right, depth, thread, to->right);
  }

  // The left one times the row's weight; a row of weight 0 is zeros,
  // whatever it holds.
  template <int kWidth>
  NARROW_CHAIN_FUNCTION void FetchWeighted(
      const Source<float>& source, int64_t depth, int thread, bool scaled,
      float (*stripe)[kWidth + Shape<float>::kVector]) const {
    for (int e = thread; e < kDepth * kWidth; e += Tile<float>::kThreads) {
      const int64_t row = depth + e / kWidth;
      const int64_t i = source.first + e % kWidth;
      float value = 0;
      if (row < source.k && i < source.n && weights[row] != 0) {
        value = source.operand.data[i + row * source.operand.column];
        value = scaled ? value * weights[row] : value;
      }
      stripe[e / kWidth][e % kWidth] = value;
    }
  }

  NARROW_CHAIN_FUNCTION bool Counts(int thread, int i, int j) const {
    const int64_t row = left.first + RowOf<float>(thread, i);
    const int64_t col = right.first + ColOf<float>(thread, j);
    return row < left.n && col < right.n && (!upper || col >= row);
  }
  NARROW_CHAIN_FUNCTION double* At(int thread, int i, int j) const {
    return sums + (left.first + RowOf<float>(thread, i)) * stride +
           right.first + ColOf<float>(thread, j);
  }
  NARROW_CHAIN_FUNCTION void Begin(int thread, WideSums* wide) const {
    for (int i = 0; i < Tile<float>::kThreadTall; ++i) {
      for (int j = 0; j < Tile<float>::kThreadWide; ++j) {
        wide->at[i][j] = Counts(thread, i, j) ? *At(thread, i, j) : 0.0;
      }
    }
  }

  // One step of the chain; the first of kGramRows begins it and the last adds
  // it to the wide sums.
  NARROW_CHAIN_FUNCTION void Add(int64_t step, const Stripes<float>& stripes,
                                 int thread, Sums<float>* chain,
                                 WideSums* wide) const {
    constexpr int64_t kSteps = kGramRows / kDepth;
    if (step % kSteps == 0) {
      *chain = Sums<float>{};
    }
    AddStripes<float, false>(stripes, left.k - step * kDepth, thread, chain);
    if (step % kSteps == kSteps - 1 || step == n_steps() - 1) {
      for (int i = 0; i < Tile<float>::kThreadTall; ++i) {
        for (int j = 0; j < Tile<float>::kThreadWide; ++j) {
          wide->at[i][j] += static_cast<double>(chain->at[i][j]);
        }
      }
    }
  }
  NARROW_CHAIN_FUNCTION void End(int thread, const WideSums& wide) const {
    for (int i = 0; i < Tile<float>::kThreadTall; ++i) {
      for (int j = 0; j < Tile<float>::kThreadWide; ++j) {
        if (Counts(thread, i, j)) {
          *At(thread, i, j) = wide.at[i][j];
        }
      }
    }
  }
};

}  // namespace chain
}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_DEVICE_GRAM_THREADS_H_
