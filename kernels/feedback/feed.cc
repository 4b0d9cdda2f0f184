// Error feedback over the columns of a matrix, whose fields are known or found
// on the way.
//
// The idea. Rounding a row w to q costs (w - q) H (w - q)^T at the layer's
// output, H the Gram matrix of its inputs. With H = R R^T, R upper
// triangular, this is |(w - q) R|^2, and unit s of columns (one column, or
// the 4 or 8 that a lattice type rounds together) adds
//
//   |(t_s - q_s) R[s, s]|^2,   t_s = w_s + sum over units k < s of
//                                    (w_k - q_k) R[k, s] R[s, s]^-1,
//
// so taking columns in rising order, what is best for the present unit is a
// legal value near t_s: the errors so far are known, and those that come can
// still be made up for. An error's own price is R[s, s] R[s, s]^T, not H[s,
// s]: the price after the columns behind it did what they could. That is
// also the right weight for fitting scales, and scales are fitted when a
// block's first column comes, on t as it then is, because compensation has
// by then moved the weights by as much as a code. Example: two columns with
// equal inputs and codes 0 and 1 of step 1, w = (0.4, 0.4): rounding gives
// (0, 0) and misses 0.8 x; here t_2 = 0.8, and (0, 1) misses 0.2 x.
// Counterexample: with uncorrelated inputs R is diagonal and nothing is fed
// back.
//
// Sources. Frantar, Ashkboos, Hoefler, Alistarh: "GPTQ" (2023), section 3;
// Chee, Cai, Kuleshov, De Sa: "QuIP" (2023), section 3.1 (LDLQ: the form
// without an inverse, and why no other linear feedback is better); Tseng et
// al.: "QuIP#" (2024), section 4.2 (blocks of columns for lattices).
//
// Our deviations. Fields are the file's own, from the format's fit under the
// pivots. Where they are fitted on the way in the natural order, a block is
// improved under its own price before its errors are fed on (ImproveBlock);
// under known fields any order of columns will do. Units of a lattice type are
// searched in all points under all of R[s, s] R[s, s]^T
// (kernels/compensated/units.inc).
//
// Tested by kernels/compensated/compensated_test.cc and
// kernels/grid/feedback_test.cc.

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <memory>
#include <numeric>
#include <vector>

#include "kernels/feedback/feedback.h"

namespace narrow {
namespace {

// Places rounded before those behind them hear of it; units are of 1, 4 or 8.
// No bit depends on it: every element is one chain of multiply-adds in the
// order of places.
constexpr int64_t kPiece = 32;

// What all panels share.
struct Feeding {
  const MatrixFormat& format;
  const FeedProblem& p;
  int64_t n;
  std::vector<int32_t> numbers;  // 0, 1, 2 ...
  std::vector<int32_t> columns;  // at places
  std::vector<int32_t> places;   // of columns
  // Whether a block is fitted at a place, as its first column comes.
  std::vector<uint8_t> enters;
  std::vector<BlockForm> forms;  // what errors in a block cost

  bool improves() const { return !forms.empty(); }
};

Feeding PrepareFeeding(const MatrixFormat& format, const FeedProblem& p) {
  Feeding f = {format, p, format.n_cols(), {}, {}, {}, {}, {}};
  const size_t n = static_cast<size_t>(f.n);
  f.numbers.resize(n);
  std::iota(f.numbers.begin(), f.numbers.end(), 0);
  f.columns = p.order.empty()
                  ? f.numbers
                  : std::vector<int32_t>(p.order.begin(), p.order.end());
  f.places.resize(n);
  f.enters.assign(n, 0);
  std::vector<uint8_t> seen(static_cast<size_t>(format.n_blocks()), 0);
  for (size_t i = 0; i < n; ++i) {
    f.places[static_cast<size_t>(f.columns[i])] = static_cast<int32_t>(i);
    const size_t block = static_cast<size_t>(f.columns[i] / format.block());
    f.enters[i] = p.fit_weights != nullptr && !seen[block];
    seen[block] = 1;
  }
  if (p.block_rounds > 0 && p.fit_weights != nullptr && p.order.empty()) {
    const int64_t size = format.block();
    for (int64_t block = 0; block < format.n_blocks(); ++block) {
      f.forms.push_back(
          format.MakeForm(block, p.block_metric + block * size * size, size));
    }
  }
  return f;
}

class PanelFeed {
 public:
  PanelFeed(const Feeding& feeding, const RowPanel& rows)
      : f_(feeding),
        pool_(rows.pool),
        n_rows_(rows.n_rows),
        lanes_(rows.n_lanes),
        panel_(f_.format.Open(rows, /*fresh=*/f_.p.fit_weights != nullptr)),
        originals_(static_cast<size_t>(f_.n * lanes_)) {
    if (f_.p.order.empty()) {
      rows.Gather(f_.p.targets, f_.n, 0, f_.n, originals_.data());
    } else {
      std::vector<float> columns(originals_.size());
      rows.Gather(f_.p.targets, f_.n, 0, f_.n, columns.data());
      for (int64_t i = 0; i < f_.n; ++i) {
        const float* const from =
            columns.data() + f_.columns[static_cast<size_t>(i)] * lanes_;
        std::copy(from, from + lanes_, originals_.data() + i * lanes_);
      }
    }
    compensated_ = originals_;
  }

  void Run() {
    for (int64_t begin = 0; begin < f_.n;) {
      if (f_.enters[static_cast<size_t>(begin)]) {
        FitAt(begin);
      }
      const int64_t end = EndOfRun(begin);
      errors_.resize(static_cast<size_t>((end - begin) * lanes_));
      for (int64_t j = begin; j < end; j += kPiece) {
        const int64_t n = std::min(kPiece, end - j);
        float* const errors = errors_.data() + (j - begin) * lanes_;
        Round(j, n, errors);
        Spread(j, n, errors, j + n, end);
      }
      if (f_.improves()) {
        ImproveBlock(begin / f_.format.block(), begin, end - begin);
      }
      Spread(begin, end - begin, errors_.data(), end, f_.n);
      begin = end;
    }
    for (int64_t lane = 0; lane < n_rows_; ++lane) {
      panel_->Store(lane);
    }
  }

 private:
  // Places up to the next fit; no more than a piece unless the block waits for
  // its improvement.
  int64_t EndOfRun(int64_t begin) const {
    const int64_t most =
        std::min(f_.n, begin + (f_.improves() ? f_.format.block() : kPiece));
    int64_t end = begin + 1;
    while (end < most && !f_.enters[static_cast<size_t>(end)]) {
      ++end;
    }
    return end;
  }

  // The block of a place, on what its columns have become.
  void FitAt(int64_t place) {
    const int64_t size = f_.format.block();
    const int64_t block = f_.columns[static_cast<size_t>(place)] / size;
    const int64_t first = block * size;
    const int64_t n = std::min(size, f_.n - first);
    entry_.resize(static_cast<size_t>(n * lanes_));
    for (int64_t j = 0; j < n; ++j) {
      const float* const from =
          compensated_.data() +
          f_.places[static_cast<size_t>(first + j)] * lanes_;
      std::copy(from, from + lanes_, entry_.data() + j * lanes_);
    }
    panel_->Fit(block, entry_.data(), f_.p.fit_weights + first);
  }

  void Round(int64_t j, int64_t n, float* errors) {
    FeedPiece piece;
    piece.n = n;
    piece.columns = f_.columns.data() + j;
    piece.compensated = compensated_.data() + j * lanes_;
    piece.originals = originals_.data() + j * lanes_;
    piece.m = f_.p.m + j * f_.n + j;
    piece.m_stride = f_.n;
    piece.metric =
        f_.p.metric == nullptr ? nullptr : f_.p.metric + j * f_.p.unit;
    piece.errors = errors;
    panel_->Round(piece);
  }

  // Adds errors of places j ... j + n - 1 to the targets of others.
  void Spread(int64_t j, int64_t n, const float* errors, int64_t begin,
              int64_t end) {
    ForColumns(pool_, begin, end, n * (end - begin) * lanes_,
               [&](int64_t first, int64_t last) {
                 f_.format.add_products()(f_.p.m, f_.n, f_.numbers.data() + j,
                                          n, errors, first, last,
                                          compensated_.data(), lanes_);
               });
  }

  // Descends from a block's codes under its own price P = R[b, b] R[b, b]^T:
  // (q - t) P (q - t)^T with t = w + y, y M[b, b] = what was added to w by the
  // blocks before.
  void ImproveBlock(int64_t block, int64_t begin, int64_t size) {
    const AddProductsFn add_products = f_.format.add_products();
    const float* const originals = originals_.data() + begin * lanes_;
    std::vector<float>& y = entry_;
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] -= originals[i];
    }
    std::vector<float> minus_y(static_cast<size_t>(lanes_));
    for (int64_t j = 0; j < size; ++j) {
      for (int64_t lane = 0; lane < lanes_; ++lane) {
        minus_y[static_cast<size_t>(lane)] =
            -y[static_cast<size_t>(j * lanes_ + lane)];
      }
      const int32_t row = 0;
      add_products(f_.p.m + (begin + j) * f_.n + begin, f_.n, &row, 1,
                   minus_y.data(), j + 1, size, y.data(), lanes_);
    }
    std::vector<float> values(y.size());
    std::vector<float> gradient(y.size(), 0.0f);
    std::vector<float> misses(y.size());
    for (size_t i = 0; i < y.size(); ++i) {
      values[i] = originals[i] - errors_[i];
      misses[i] = -errors_[i] - y[i];
    }
    const BlockForm& form = f_.forms[static_cast<size_t>(block)];
    add_products(form.h, form.h_stride, f_.numbers.data(), size, misses.data(),
                 0, size, gradient.data(), lanes_);
    for (int round = 0; round < f_.p.block_rounds; ++round) {
      panel_->Improve(block, form, f_.p.refit, f_.p.sweep, values.data(),
                      gradient.data());
    }
    for (size_t i = 0; i < y.size(); ++i) {
      errors_[i] = originals[i] - values[i];
    }
  }

  const Feeding& f_;
  ThreadPool* const pool_;
  const int64_t n_rows_;
  const int64_t lanes_;
  const std::unique_ptr<FormatPanel> panel_;
  // [place, lane]
  std::vector<float> originals_;
  std::vector<float> compensated_;  // by the places before
  // [column of a block, lane]
  std::vector<float> entry_;   // targets when its first column came
  std::vector<float> errors_;  // originals less values, of a run of places
};

}  // namespace

void Feed(const MatrixFormat& format, const FeedProblem& problem,
          ThreadPool* pool) {
  const Feeding feeding = PrepareFeeding(format, problem);
  const int n_threads = pool == nullptr ? 1 : pool->n_threads();
  ForEachPanel(problem.n_rows, PanelWidth(problem.n_rows, n_threads), pool,
               [&](const RowPanel& rows) { PanelFeed(feeding, rows).Run(); });
}

std::vector<float> BlockPrices(const float* m, const float* pivots, int64_t n,
                               int64_t block, ThreadPool* pool) {
  std::vector<float> prices(static_cast<size_t>(n * block), 0.0f);
  const auto row = [&](int64_t k) {
    const int64_t begin = k / block * block;
    const int64_t end = std::min(n, begin + block);
    for (int64_t i = begin; i < end; ++i) {
      double sum = 0;
      for (int64_t j = std::max(i, k); j < end; ++j) {
        sum += static_cast<double>(m[k * n + j]) *
               static_cast<double>(pivots[j]) *
               static_cast<double>(m[i * n + j]);
      }
      prices[static_cast<size_t>(k * block + i - begin)] =
          static_cast<float>(sum);
    }
  };
  if (pool != nullptr) {
    pool->ParallelFor(n, row);
  } else {
    for (int64_t k = 0; k < n; ++k) {
      row(k);
    }
  }
  return prices;
}

}  // namespace narrow
