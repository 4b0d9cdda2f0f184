// Error feedback under fields that are known: any order of columns then. What
// feed_rows.cc explains, column by column (unit by unit) in the factor's order.

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <numeric>
#include <vector>

#include "kernels/compensated/block_kernels.h"
#include "kernels/compensated/block_panel.h"
#include "kernels/compensated/block_rules.h"
#include "kernels/compensated/compensated.h"
#include "kernels/compensated/unit_rules.h"
#include "kernels/grid/panel.h"

namespace narrow {
namespace {

// Places rounded before those behind them hear of it; no bit depends on it.
constexpr int64_t kPiece = 32;

// What all panels share.
struct Refeeding {
  const BlockCodec& codec;
  const BlockRules& rules;
  const UnitRuleSet& units;
  const FeedFactor& factor;
  std::vector<int32_t> numbers;  // 0, 1, 2 ...
  std::vector<int32_t> columns;  // at places
  std::vector<int32_t> subs;     // their sub-blocks, of the whole row
};

class PanelRefeed {
 public:
  PanelRefeed(const Refeeding& refeeding, const RowPanel& rows,
              const float* targets, const uint8_t* bytes)
      : f_(refeeding),
        n_rows_(rows.n_rows),
        lanes_(rows.n_lanes),
        panel_(f_.codec, f_.rules, f_.factor.n, rows),
        originals_(static_cast<size_t>(f_.factor.n * lanes_)),
        errors_(static_cast<size_t>(kPiece * lanes_)),
        codes_(errors_.size()) {
    std::vector<float> columns(originals_.size());
    rows.Gather(targets, f_.factor.n, 0, f_.factor.n, columns.data());
    for (int64_t i = 0; i < f_.factor.n; ++i) {
      const float* const from = columns.data() + Column(i) * lanes_;
      std::copy(from, from + lanes_, originals_.data() + i * lanes_);
    }
    compensated_ = originals_;
    panel_.Load(bytes);
  }

  void Run(uint8_t* bytes) {
    const int64_t n = f_.factor.n;
    for (int64_t i = 0; i < n; i += kPiece) {
      const int64_t size = std::min(kPiece, n - i);
      f_.factor.unit == 1 ? RoundColumns(i, size) : RoundUnits(i, size);
      for (int64_t k = 0; k < size; ++k) {
        const int8_t* const from = codes_.data() + k * lanes_;
        std::copy(from, from + lanes_, panel_.Codes(Column(i + k)));
      }
      Spread(i, size, errors_.data(), i + size, n);
    }
    for (int64_t lane = 0; lane < n_rows_; ++lane) {
      panel_.StoreRow(lane, bytes);
    }
  }

 private:
  int64_t Column(int64_t place) const {
    return f_.columns[static_cast<size_t>(place)];
  }

  void Spread(int64_t i, int64_t n, const float* errors, int64_t begin,
              int64_t end) {
    BlockKernelsForCpu().add_products(f_.factor.m.data(), f_.factor.n,
                                      f_.numbers.data() + i, n, errors, begin,
                                      end, compensated_.data(), lanes_);
  }

  void RoundColumns(int64_t i, int64_t n) {
    const FieldLanes fields = panel_.Fields(0);
    FeedBlock feed;
    feed.n = n;
    feed.ld = lanes_;
    feed.compensated = compensated_.data() + i * lanes_;
    feed.originals = originals_.data() + i * lanes_;
    feed.m = f_.factor.m.data() + i * f_.factor.n + i;
    feed.m_stride = f_.factor.n;
    feed.subs = f_.subs.data() + i;
    feed.steps = fields.steps;
    feed.lows = fields.lows;
    feed.errors = errors_.data();
    feed.codes = codes_.data();
    BlockKernelsForCpu().feed(f_.rules, feed);
  }

  void RoundUnits(int64_t i, int64_t n) {
    const UnitRules& rules = f_.units.rules();
    std::vector<float> values(static_cast<size_t>(rules.unit * lanes_));
    std::vector<float> downs(static_cast<size_t>(lanes_));
    UnitBlock unit;
    unit.ld = lanes_;
    unit.values = values.data();
    unit.downs = downs.data();
    for (int64_t at = i; at < i + n; at += rules.unit) {
      const int64_t block = Column(at) / f_.codec.block;
      f_.units.Downs(panel_, block,
                     static_cast<int>(Column(at) % f_.codec.block), n_rows_,
                     downs.data());
      unit.targets = compensated_.data() + at * lanes_;
      unit.metric = f_.factor.metric.data() + at * rules.unit;
      unit.steps =
          panel_.Fields(0).steps + f_.subs[static_cast<size_t>(at)] * lanes_;
      unit.codes = codes_.data() + (at - i) * lanes_;
      BlockKernelsForCpu().round_unit(rules, unit);
      float* const errors = errors_.data() + (at - i) * lanes_;
      const float* const originals = originals_.data() + at * lanes_;
      for (int64_t k = 0; k < rules.unit * lanes_; ++k) {
        errors[k] = originals[k] - values[static_cast<size_t>(k)];
      }
      Spread(at, rules.unit, errors, at + rules.unit, i + n);
    }
  }

  const Refeeding& f_;
  const int64_t n_rows_;
  const int64_t lanes_;
  BlockPanel panel_;
  // [place, lane]
  std::vector<float> originals_;
  std::vector<float> compensated_;
  // [place of a piece, lane]
  std::vector<float> errors_;
  std::vector<int8_t> codes_;
};

}  // namespace

void RefeedRows(const BlockCodec& codec, const float* targets, int64_t n_rows,
                const FeedFactor& factor, uint8_t* bytes, ThreadPool* pool) {
  assert(SupportsCompensation(codec) && factor.n % codec.block == 0 &&
         factor.unit == codec.unit);
  const BlockRuleSet rules(codec);
  const UnitRuleSet units(codec);
  Refeeding refeeding = {codec, rules.rules(), units, factor, {}, {}, {}};
  refeeding.numbers.resize(static_cast<size_t>(factor.n));
  std::iota(refeeding.numbers.begin(), refeeding.numbers.end(), 0);
  refeeding.columns = factor.order.empty() ? refeeding.numbers : factor.order;
  for (const int32_t column : refeeding.columns) {
    refeeding.subs.push_back(
        static_cast<int32_t>(column / refeeding.rules.sub));
  }
  const int n_threads = pool == nullptr ? 1 : pool->n_threads();
  ForEachPanel(n_rows, PanelWidth(n_rows, n_threads), pool,
               [&](const RowPanel& rows) {
                 PanelRefeed(refeeding, rows, targets, bytes).Run(bytes);
               });
}

}  // namespace narrow
