// Error feedback over blocks whose fields are found on the way.
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
// Our deviations. Fields are the file's own, integers and halves, from the
// type's encoder with the pivots as importance; natural order of columns, for
// a super-block's 256 columns share their fields. Units of a lattice type are
// searched in all points under all of R[s, s] R[s, s]^T (units.inc).
//
// Tested by compensated_test.cc.

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <numeric>
#include <vector>

#include "kernels/compensated/block_kernels.h"
#include "kernels/compensated/block_panel.h"
#include "kernels/compensated/block_rules.h"
#include "kernels/compensated/compensated.h"
#include "kernels/compensated/fit_block.h"
#include "kernels/compensated/improve_block.h"
#include "kernels/compensated/unit_rules.h"
#include "kernels/grid/panel.h"

namespace narrow {
namespace {

// Columns rounded before those outside hear of it; every block is a multiple
// of 32, and units are of 1, 4 or 8. No bit depends on it: every element is
// one chain of multiply-adds in the order of columns.
constexpr int64_t kPiece = 32;

// What all panels share.
struct Feeding {
  const BlockCodec& codec;
  const BlockRules& rules;
  const UnitRuleSet& units;
  const FeedFactor& factor;
  FeedOptions options;
  std::vector<int32_t> numbers;  // 0, 1, 2 ...
  std::vector<int32_t> subs;     // of a block's columns
  std::vector<BlockForm> forms;  // what errors in a block cost
};

class PanelFeed {
 public:
  PanelFeed(const Feeding& feeding, const RowPanel& rows, const float* targets)
      : f_(feeding),
        n_rows_(rows.n_rows),
        lanes_(rows.n_lanes),
        panel_(f_.codec, f_.rules, f_.factor.n, rows),
        originals_(static_cast<size_t>(f_.factor.n * lanes_)),
        entry_(static_cast<size_t>(f_.codec.block * lanes_)),
        errors_(entry_.size()),
        improver_(f_.codec, f_.rules, f_.units, lanes_) {
    rows.Gather(targets, f_.factor.n, 0, f_.factor.n, originals_.data());
    compensated_ = originals_;
  }

  void Run(uint8_t* bytes) {
    const int64_t size = f_.codec.block;
    for (int64_t block = 0; block < panel_.n_blocks(); ++block) {
      const int64_t begin = block * size;
      float* const compensated = compensated_.data() + begin * lanes_;
      FitBlock(f_.codec, f_.rules, n_rows_, compensated,
               f_.factor.pivots.data() + begin, block, &panel_);
      std::copy(compensated, compensated + size * lanes_, entry_.data());
      for (int64_t j = begin; j < begin + size; j += kPiece) {
        const int64_t n = std::min(kPiece, begin + size - j);
        float* const errors = errors_.data() + (j - begin) * lanes_;
        f_.factor.unit == 1 ? RoundColumns(block, j, n, errors)
                            : RoundUnits(block, j, n, errors);
        Spread(j, n, errors, j + n, begin + size);
      }
      if (f_.options.block_rounds > 0) {
        ImproveBlock(block);
      }
      Spread(begin, size, errors_.data(), begin + size, f_.factor.n);
    }
    for (int64_t lane = 0; lane < n_rows_; ++lane) {
      panel_.StoreRow(lane, bytes);
    }
  }

 private:
  // Adds errors of columns j ... j + n - 1 to the targets of others.
  void Spread(int64_t j, int64_t n, const float* errors, int64_t begin,
              int64_t end) {
    BlockKernelsForCpu().add_products(f_.factor.m.data(), f_.factor.n,
                                      f_.numbers.data() + j, n, errors, begin,
                                      end, compensated_.data(), lanes_);
  }

  // Descends from a block's codes under its own price P = R[b, b] R[b, b]^T:
  // (q - t) P (q - t)^T with t = w + y, y M[b, b] = what was added to w by the
  // blocks before.
  void ImproveBlock(int64_t block) {
    const int64_t size = f_.codec.block;
    const int64_t begin = block * size;
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
      BlockKernelsForCpu().add_products(
          f_.factor.m.data() + (begin + j) * f_.factor.n + begin, f_.factor.n,
          &row, 1, minus_y.data(), j + 1, size, y.data(), lanes_);
    }
    std::vector<float> values(y.size());
    std::vector<float> gradient(y.size(), 0.0f);
    std::vector<float> misses(y.size());
    for (size_t i = 0; i < y.size(); ++i) {
      values[i] = originals[i] - errors_[i];
      misses[i] = -errors_[i] - y[i];
    }
    const BlockForm& form = f_.forms[static_cast<size_t>(block)];
    BlockKernelsForCpu().add_products(form.h, form.h_stride, f_.numbers.data(),
                                      size, misses.data(), 0, size,
                                      gradient.data(), lanes_);
    for (int round = 0; round < f_.options.block_rounds; ++round) {
      improver_.Improve(form, f_.options.refit, f_.options.sweep, n_rows_,
                        block, values.data(), gradient.data(), &panel_);
    }
    for (size_t i = 0; i < y.size(); ++i) {
      errors_[i] = originals[i] - values[i];
    }
  }

  void RoundColumns(int64_t block, int64_t j, int64_t n, float* errors) {
    const FieldLanes fields = panel_.Fields(block);
    FeedBlock feed;
    feed.n = n;
    feed.ld = lanes_;
    feed.subs = f_.subs.data() + (j - block * f_.codec.block);
    feed.compensated = compensated_.data() + j * lanes_;
    feed.originals = originals_.data() + j * lanes_;
    feed.m = f_.factor.m.data() + j * f_.factor.n + j;
    feed.m_stride = f_.factor.n;
    feed.steps = fields.steps;
    feed.lows = fields.lows;
    feed.errors = errors;
    feed.codes = panel_.Codes(j);
    BlockKernelsForCpu().feed(f_.rules, feed);
  }

  void RoundUnits(int64_t block, int64_t j, int64_t n, float* piece_errors) {
    const UnitRules& rules = f_.units.rules();
    const FieldLanes fields = panel_.Fields(block);
    std::vector<float> values(static_cast<size_t>(rules.unit * lanes_));
    std::vector<float> downs(static_cast<size_t>(lanes_));
    UnitBlock unit;
    unit.ld = lanes_;
    unit.values = values.data();
    unit.downs = downs.data();
    for (int64_t at = j; at < j + n; at += rules.unit) {
      const int64_t first = at - block * f_.codec.block;
      f_.units.Downs(panel_, block, static_cast<int>(first), n_rows_,
                     downs.data());
      unit.targets = compensated_.data() + at * lanes_;
      unit.metric = f_.factor.metric.data() + at * rules.unit;
      unit.steps = fields.steps + first / f_.rules.sub * lanes_;
      unit.codes = panel_.Codes(at);
      BlockKernelsForCpu().round_unit(rules, unit);
      float* const errors = piece_errors + (at - j) * lanes_;
      const float* const originals = originals_.data() + at * lanes_;
      for (int64_t i = 0; i < rules.unit * lanes_; ++i) {
        errors[i] = originals[i] - values[static_cast<size_t>(i)];
      }
      Spread(at, rules.unit, errors, at + rules.unit, j + n);
    }
  }

  const Feeding& f_;
  const int64_t n_rows_;
  const int64_t lanes_;
  BlockPanel panel_;
  // [column, lane]
  std::vector<float> originals_;
  std::vector<float> compensated_;  // by the columns before
  // [column of a block, lane]
  std::vector<float> entry_;   // targets when its first column came
  std::vector<float> errors_;  // originals less values
  BlockImprover improver_;
};

}  // namespace

void FeedRows(const BlockCodec& codec, const float* targets, int64_t n_rows,
              const FeedFactor& factor, const FeedOptions& options,
              uint8_t* bytes, ThreadPool* pool) {
  assert(SupportsCompensation(codec) && factor.n % codec.block == 0 &&
         factor.unit == codec.unit);
  const BlockRuleSet rules(codec);
  const UnitRuleSet units(codec);
  Feeding feeding = {codec, rules.rules(), units, factor, options, {}, {}, {}};
  feeding.numbers.resize(static_cast<size_t>(factor.n));
  std::iota(feeding.numbers.begin(), feeding.numbers.end(), 0);
  for (int64_t j = 0; j < codec.block; ++j) {
    feeding.subs.push_back(static_cast<int32_t>(j / feeding.rules.sub));
  }
  for (int64_t j = 0; j < factor.n; j += codec.block) {
    feeding.forms.push_back(MakeBlockForm(
        codec, feeding.rules, factor.block_metric.data() + j * codec.block,
        codec.block));
  }
  const int n_threads = pool == nullptr ? 1 : pool->n_threads();
  ForEachPanel(n_rows, PanelWidth(n_rows, n_threads), pool,
               [&](const RowPanel& rows) {
                 PanelFeed(feeding, rows, targets).Run(bytes);
               });
}

}  // namespace narrow
