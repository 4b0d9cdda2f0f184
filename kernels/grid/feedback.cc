#include "kernels/grid/feedback.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/grid/grid_kernels.h"
#include "kernels/grid/grid_rules.h"
#include "kernels/grid/panel.h"

namespace narrow {
namespace {

// Columns rounded before the later ones hear of it. No bit depends on it:
// every element is one chain of multiply-adds in the order of columns.
constexpr int64_t kBlock = 32;

// What all panels share.
struct Feeding {
  FeedbackFactor factor;
  FeedbackOptions options;
  GridRules rules;
  FitPlan plan;
  std::vector<FitStart> starts;
  std::vector<int32_t> order;           // column at a place
  std::vector<int32_t> group_of_place;  // its group
  std::vector<int32_t> place_of_column;
  std::vector<float> column_weights;  // of fits
  std::vector<int32_t> places;        // 0, 1, 2 ...
  // Places where a block must begin, as a group is fitted there.
  std::vector<uint8_t> enters;
};

Feeding PrepareFeeding(const FeedbackFactor& factor,
                       const FeedbackOptions& options, const GridRows& rows) {
  Feeding f;
  f.factor = factor;
  f.options = options;
  f.rules = MakeGridRules(rows.spec);
  f.plan = MakeFitPlan(rows.spec, options.fit, &f.starts);
  const size_t n = static_cast<size_t>(factor.n);
  f.places.resize(n);
  std::iota(f.places.begin(), f.places.end(), 0);
  f.order = factor.order.empty() ? f.places
                                 : std::vector<int32_t>(factor.order.begin(),
                                                        factor.order.end());
  f.place_of_column.resize(n);
  f.group_of_place.resize(n);
  f.column_weights.assign(n, 1.0f);
  f.enters.assign(n, 0);
  std::vector<uint8_t> seen(static_cast<size_t>(rows.n_groups), 0);
  for (size_t i = 0; i < n; ++i) {
    const size_t column = static_cast<size_t>(f.order[i]);
    const int32_t group = rows.GroupOf(f.order[i]);
    f.place_of_column[column] = static_cast<int32_t>(i);
    f.group_of_place[i] = group;
    if (options.weight_by_pivots) {
      f.column_weights[column] = factor.pivots[i];
    } else if (options.column_weights != nullptr) {
      f.column_weights[column] = options.column_weights[column];
    }
    f.enters[i] = options.fit_on_entry && !seen[static_cast<size_t>(group)];
    seen[static_cast<size_t>(group)] = 1;
  }
  return f;
}

// The columns of one panel, at their places.
class PanelFeedback {
 public:
  PanelFeedback(const Feeding& feeding, const RowPanel& panel,
                const float* targets, GridRows* rows)
      : f_(feeding),
        panel_(panel),
        rows_(rows),
        lanes_(panel.n_lanes),
        originals_(static_cast<size_t>(f_.factor.n * lanes_)),
        codes_(originals_.size()),
        scales_(static_cast<size_t>(rows->n_groups * lanes_)),
        zeros_(scales_.size()) {
    std::vector<float> columns(originals_.size());
    panel.Gather(targets, rows->n_cols, 0, rows->n_cols, columns.data());
    for (int64_t i = 0; i < f_.factor.n; ++i) {
      const float* from =
          columns.data() + f_.order[static_cast<size_t>(i)] * lanes_;
      std::copy(from, from + lanes_, originals_.data() + i * lanes_);
    }
    compensated_ = originals_;
    for (int64_t group = 0; group < rows->n_groups; ++group) {
      panel.GatherGroup(*rows, group, scales_.data() + group * lanes_,
                        zeros_.data() + group * lanes_);
    }
  }

  void Run() {
    const int64_t n = f_.factor.n;
    for (int64_t begin = 0; begin < n;) {
      if (f_.enters[static_cast<size_t>(begin)]) {
        FitGroupAt(begin);
      }
      int64_t end = begin + 1;
      while (end < std::min(n, begin + kBlock) &&
             !f_.enters[static_cast<size_t>(end)]) {
        ++end;
      }
      RoundBlock(begin, end);
      begin = end;
    }
    Scatter();
  }

 private:
  // The group of a place, on what its columns have become.
  void FitGroupAt(int64_t place) {
    const int32_t group = f_.group_of_place[static_cast<size_t>(place)];
    const int64_t first = rows_->GroupBegin(group);
    const int64_t n = rows_->GroupEnd(group) - first;
    std::vector<float> columns(static_cast<size_t>(n * lanes_));
    for (int64_t j = 0; j < n; ++j) {
      const int64_t from = f_.place_of_column[static_cast<size_t>(first + j)];
      std::memcpy(columns.data() + j * lanes_,
                  compensated_.data() + from * lanes_,
                  static_cast<size_t>(lanes_) * sizeof(float));
    }
    GridKernelsForCpu().fit(f_.rules, f_.plan, columns.data(), lanes_, n,
                            f_.column_weights.data() + first,
                            scales_.data() + group * lanes_,
                            zeros_.data() + group * lanes_);
  }

  void RoundBlock(int64_t begin, int64_t end) {
    const GridKernels& kernels = GridKernelsForCpu();
    const int64_t stride = f_.factor.n;
    alignas(64) float errors[kBlock * kMaxPanelRows];
    FeedBlock block;
    block.n = end - begin;
    block.ld = lanes_;
    block.compensated = compensated_.data() + begin * lanes_;
    block.originals = originals_.data() + begin * lanes_;
    block.m = f_.factor.m + begin * stride + begin;
    block.m_stride = stride;
    block.groups = f_.group_of_place.data() + begin;
    block.scales = scales_.data();
    block.zeros = zeros_.data();
    block.errors = errors;
    block.codes = codes_.data() + begin * lanes_;
    kernels.feed(f_.rules, block);
    kernels.add_products(f_.factor.m, stride, f_.places.data() + begin, block.n,
                         errors, end, stride, compensated_.data(), lanes_);
  }

  void Scatter() {
    std::vector<uint8_t> columns(codes_.size());
    for (int64_t i = 0; i < f_.factor.n; ++i) {
      const uint8_t* from = codes_.data() + i * lanes_;
      std::copy(from, from + lanes_,
                columns.data() + f_.order[static_cast<size_t>(i)] * lanes_);
    }
    panel_.ScatterCodes(columns.data(), 0, f_.factor.n, rows_);
    for (int64_t group = 0; group < rows_->n_groups; ++group) {
      panel_.ScatterGroup(group, scales_.data() + group * lanes_,
                          zeros_.data() + group * lanes_, rows_);
    }
  }

  const Feeding& f_;
  const RowPanel& panel_;
  GridRows* const rows_;
  const int64_t lanes_;
  std::vector<float> originals_;    // [place, lane]
  std::vector<float> compensated_;  // the same, by the columns before
  std::vector<uint8_t> codes_;
  std::vector<float> scales_;  // [group, lane]
  std::vector<float> zeros_;
};

}  // namespace

void Feedback(const float* targets, const FeedbackFactor& factor,
              const FeedbackOptions& options, GridRows* rows,
              ThreadPool* pool) {
  assert(factor.n == rows->n_cols);
  const Feeding feeding = PrepareFeeding(factor, options, *rows);
  const int n_threads = pool == nullptr ? 1 : pool->n_threads();
  ForEachPanel(rows->n_rows, PanelWidth(rows->n_rows, n_threads), pool,
               [&](const RowPanel& panel) {
                 PanelFeedback(feeding, panel, targets, rows).Run();
               });
}

}  // namespace narrow
