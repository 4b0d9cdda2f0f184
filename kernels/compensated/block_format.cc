#include "kernels/compensated/block_format.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <numeric>
#include <vector>

#include "kernels/compensated/block_kernels.h"
#include "kernels/compensated/compensated.h"
#include "kernels/compensated/parts/block_panel.h"
#include "kernels/compensated/parts/fit_block.h"
#include "kernels/compensated/parts/improve_block.h"

namespace narrow {
namespace {

// Some rows on their way.
class CodecPanel final : public FormatPanel {
 public:
  CodecPanel(const BlockCodec& codec, const BlockRules& rules,
             const UnitRuleSet& units, int64_t n_cols, const RowPanel& rows,
             const uint8_t* from, bool fresh, uint8_t* to)
      : codec_(codec),
        rules_(rules),
        units_(units),
        n_cols_(n_cols),
        n_rows_(rows.n_rows),
        lanes_(rows.n_lanes),
        to_(to),
        is_empty_(from == nullptr),
        panel_(codec, rules, n_cols, rows),
        improver_(codec, rules, units, rows.n_lanes) {
    if (from != nullptr && !fresh) {
      panel_.Load(from);
    }
  }

  void Fit(int64_t block, const float* columns, const float* weights) override {
    FitBlock(codec_, rules_, n_rows_, columns, weights, block, &panel_);
  }

  void Round(const FeedPiece& piece) override {
    codes_.resize(static_cast<size_t>(piece.n * lanes_));
    codec_.unit == 1 ? RoundColumns(piece) : RoundUnits(piece);
    for (int64_t k = 0; k < piece.n; ++k) {
      const int8_t* const from = codes_.data() + k * lanes_;
      std::copy(from, from + lanes_, panel_.Codes(piece.columns[k]));
    }
  }

  void Improve(int64_t block, const BlockForm& form, bool refit, bool sweep,
               float* values, float* gradient) override {
    improver_.Improve(form, refit, sweep, n_rows_, block, values, gradient,
                      &panel_);
  }

  void Decode(float* values) override {
    if (is_empty_) {
      std::fill(values, values + n_cols_ * lanes_, 0.0f);
      return;
    }
    panel_.Decode(values);
  }

  void Store(int64_t lane) override { panel_.StoreRow(lane, to_); }

 private:
  void RoundColumns(const FeedPiece& piece) {
    // Sub-blocks of the whole row: fields of blocks follow one another.
    const FieldLanes fields = panel_.Fields(0);
    subs_.resize(static_cast<size_t>(piece.n));
    for (int64_t k = 0; k < piece.n; ++k) {
      subs_[static_cast<size_t>(k)] =
          static_cast<int32_t>(piece.columns[k] / rules_.sub);
    }
    FeedBlock feed;
    feed.n = piece.n;
    feed.ld = lanes_;
    feed.compensated = piece.compensated;
    feed.originals = piece.originals;
    feed.m = piece.m;
    feed.m_stride = piece.m_stride;
    feed.subs = subs_.data();
    feed.steps = fields.steps;
    feed.lows = fields.lows;
    feed.errors = piece.errors;
    feed.codes = codes_.data();
    BlockKernelsForCpu().feed(rules_, feed);
  }

  void RoundUnits(const FeedPiece& piece) {
    const UnitRules& rules = units_.rules();
    const FieldLanes fields = panel_.Fields(0);
    std::vector<float> values(static_cast<size_t>(rules.unit * lanes_));
    std::vector<float> downs(static_cast<size_t>(lanes_));
    int32_t numbers[kMaxUnit];
    UnitBlock unit;
    unit.ld = lanes_;
    unit.values = values.data();
    unit.downs = downs.data();
    for (int64_t at = 0; at < piece.n; at += rules.unit) {
      const int64_t column = piece.columns[at];
      units_.Downs(panel_, column / codec_.block,
                   static_cast<int>(column % codec_.block), n_rows_,
                   downs.data());
      unit.targets = piece.compensated + at * lanes_;
      unit.metric = piece.metric + at * rules.unit;
      unit.steps = fields.steps + column / rules_.sub * lanes_;
      unit.codes = codes_.data() + at * lanes_;
      BlockKernelsForCpu().round_unit(rules, unit);
      float* const errors = piece.errors + at * lanes_;
      const float* const originals = piece.originals + at * lanes_;
      for (int64_t i = 0; i < rules.unit * lanes_; ++i) {
        errors[i] = originals[i] - values[static_cast<size_t>(i)];
      }
      std::iota(numbers, numbers + rules.unit, static_cast<int32_t>(at));
      BlockKernelsForCpu().add_products(piece.m, piece.m_stride, numbers,
                                        rules.unit, errors, at + rules.unit,
                                        piece.n, piece.compensated, lanes_);
    }
  }

  const BlockCodec& codec_;
  const BlockRules& rules_;
  const UnitRuleSet& units_;
  const int64_t n_cols_;
  const int64_t n_rows_;
  const int64_t lanes_;
  uint8_t* const to_;
  const bool is_empty_;
  BlockPanel panel_;
  BlockImprover improver_;
  // Of a piece.
  std::vector<int8_t> codes_;
  std::vector<int32_t> subs_;
};

}  // namespace

BlockFormat::BlockFormat(const BlockCodec& codec, int64_t n_cols,
                         const uint8_t* from, uint8_t* to)
    : codec_(codec),
      rules_(codec),
      units_(codec),
      n_cols_(n_cols),
      from_(from),
      to_(to) {
  assert(SupportsCompensation(codec) && n_cols % codec.block == 0);
}

BlockForm BlockFormat::MakeForm(int64_t /*block*/, const float* h,
                                int64_t h_stride) const {
  return MakeBlockForm(codec_, rules_.rules(), h, h_stride);
}

std::unique_ptr<FormatPanel> BlockFormat::Open(const RowPanel& rows,
                                               bool fresh) const {
  return std::make_unique<CodecPanel>(codec_, rules_.rules(), units_, n_cols_,
                                      rows, from_, fresh, to_);
}

AddProductsFn BlockFormat::add_products() const {
  return BlockKernelsForCpu().add_products;
}

}  // namespace narrow
