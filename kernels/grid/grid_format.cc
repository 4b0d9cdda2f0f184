#include "kernels/grid/grid_format.h"

#include <algorithm>
#include <cstddef>

#include "kernels/grid/grid_kernels.h"
#include "kernels/grid/panel.h"

namespace narrow {
namespace {

// Some rows on their way.
class GridPanel final : public FormatPanel {
 public:
  GridPanel(const GridRules& rules, const FitPlan& plan, const RowPanel& panel,
            bool fresh, GridRows* rows)
      : rules_(rules),
        plan_(plan),
        panel_(panel),
        rows_(*rows),
        lanes_(panel.n_lanes),
        codes_(static_cast<size_t>(rows->n_cols * lanes_)),
        scales_(static_cast<size_t>(rows->n_groups * lanes_)),
        zeros_(scales_.size()) {
    for (int64_t group = 0; group < rows_.n_groups; ++group) {
      GatherGroup(panel_, rows_, group, Scales(group), Zeros(group));
    }
    if (!fresh) {
      panel_.Gather(rows_.codes.data(), rows_.n_cols, 0, rows_.n_cols,
                    codes_.data());
    }
  }

  void Fit(int64_t group, const float* columns, const float* weights) override {
    GridKernelsForCpu().fit(rules_, plan_, columns, lanes_,
                            rows_.GroupEnd(group) - rows_.GroupBegin(group),
                            weights, Scales(group), Zeros(group));
  }

  void Round(const FeedPiece& piece) override {
    piece_codes_.resize(static_cast<size_t>(piece.n * lanes_));
    groups_.resize(static_cast<size_t>(piece.n));
    for (int64_t k = 0; k < piece.n; ++k) {
      groups_[static_cast<size_t>(k)] = rows_.GroupOf(piece.columns[k]);
    }
    GridFeed feed;
    feed.n = piece.n;
    feed.ld = lanes_;
    feed.compensated = piece.compensated;
    feed.originals = piece.originals;
    feed.m = piece.m;
    feed.m_stride = piece.m_stride;
    feed.groups = groups_.data();
    feed.scales = scales_.data();
    feed.zeros = zeros_.data();
    feed.errors = piece.errors;
    feed.codes = piece_codes_.data();
    GridKernelsForCpu().feed(rules_, feed);
    for (int64_t k = 0; k < piece.n; ++k) {
      const uint8_t* const from = piece_codes_.data() + k * lanes_;
      std::copy(from, from + lanes_, codes_.data() + piece.columns[k] * lanes_);
    }
  }

  void Improve(int64_t group, const BlockForm& form, bool refit, bool sweep,
               float* values, float* gradient) override {
    const int64_t begin = rows_.GroupBegin(group);
    GroupBlock block;
    block.n = rows_.GroupEnd(group) - begin;
    block.ld = lanes_;
    block.h = form.h;
    block.h_stride = form.h_stride;
    block.ones = form.sums.data();
    block.scales = Scales(group);
    block.zeros = Zeros(group);
    block.codes = codes_.data() + begin * lanes_;
    block.values = values;
    block.gradient = gradient;
    levels_.resize(static_cast<size_t>(block.n * lanes_));
    curvature_.resize(levels_.size());
    block.levels = levels_.data();
    block.curvature = curvature_.data();
    if (refit) {
      GridKernelsForCpu().refit(rules_, block);
    }
    if (sweep) {
      GridKernelsForCpu().sweep(rules_, block);
    }
  }

  void Decode(float* values) override {
    for (int64_t group = 0; group < rows_.n_groups; ++group) {
      const int64_t begin = rows_.GroupBegin(group);
      GridKernelsForCpu().decode(rules_, codes_.data() + begin * lanes_, lanes_,
                                 rows_.GroupEnd(group) - begin, Scales(group),
                                 Zeros(group), values + begin * lanes_);
    }
  }

  void Store(int64_t lane) override {
    const int64_t row = panel_.first_row + lane;
    uint8_t* const codes = rows_.codes.data() + row * rows_.n_cols;
    for (int64_t j = 0; j < rows_.n_cols; ++j) {
      codes[j] = codes_[static_cast<size_t>(j * lanes_ + lane)];
    }
    for (int64_t group = 0; group < rows_.n_groups; ++group) {
      const size_t at = static_cast<size_t>(row * rows_.n_groups + group);
      rows_.scales[at] = Scales(group)[lane];
      if (!rows_.zeros.empty()) {
        rows_.zeros[at] = Zeros(group)[lane];
      }
    }
  }

 private:
  float* Scales(int64_t group) { return scales_.data() + group * lanes_; }
  float* Zeros(int64_t group) { return zeros_.data() + group * lanes_; }

  const GridRules& rules_;
  const FitPlan& plan_;
  const RowPanel panel_;
  GridRows& rows_;
  const int64_t lanes_;
  std::vector<uint8_t> codes_;  // [column, lane]
  std::vector<float> scales_;   // [group, lane]
  std::vector<float> zeros_;
  // Of a piece.
  std::vector<uint8_t> piece_codes_;
  std::vector<int32_t> groups_;
  // [column of a group, lane]
  std::vector<float> levels_;
  std::vector<float> curvature_;
};

}  // namespace

GridFormat::GridFormat(const FitOptions& fit, GridRows* rows)
    : rows_(*rows),
      rules_(MakeGridRules(rows->spec)),
      plan_(MakeFitPlan(rows->spec, fit, &starts_)) {}

BlockForm GridFormat::MakeForm(int64_t block, const float* h,
                               int64_t h_stride) const {
  BlockForm form;
  form.h = h;
  form.h_stride = h_stride;
  const int64_t n = rows_.GroupEnd(block) - rows_.GroupBegin(block);
  for (int64_t j = 0; j < n; ++j) {
    double sum = 0;
    for (int64_t k = 0; k < n; ++k) {
      sum += static_cast<double>(h[j * h_stride + k]);
    }
    form.sums.push_back(static_cast<float>(sum));
  }
  return form;
}

std::unique_ptr<FormatPanel> GridFormat::Open(const RowPanel& rows,
                                              bool fresh) const {
  return std::make_unique<GridPanel>(rules_, plan_, rows, fresh, &rows_);
}

AddProductsFn GridFormat::add_products() const {
  return GridKernelsForCpu().add_products;
}

}  // namespace narrow
