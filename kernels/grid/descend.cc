// Descent under a Gram matrix, and errors under it: Descend and GramError of
// feedback.h.
//
// A panel's rows go through all groups, round after round. Within a group the
// scale (and zero) is refitted, then codes are swept; both keep the group's
// own part of the gradient G = (Q - T) H up to date. What the group's values
// became in all is then added to the rest of G at once: one product of as
// many columns as changed.

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/grid/feedback.h"
#include "kernels/grid/grid_kernels.h"
#include "kernels/grid/grid_rules.h"
#include "kernels/grid/panel.h"
#include "kernels/linalg/gemm.h"

namespace narrow {
namespace {

// (E H)^T of errors [n, lanes], n = order of the Gram matrix, on this thread.
void Multiply(const float* gram, int64_t n, const float* errors, int64_t lanes,
              float* products) {
  Gemm(/*pool=*/nullptr, Update::kSet, n, lanes, n, gram, n, errors, lanes,
       products, lanes);
}

// sums[lane] = errors . products, in double.
void Dot(const float* errors, const float* products, int64_t n, int64_t lanes,
         double* sums) {
  std::fill(sums, sums + lanes, 0.0);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      sums[lane] += static_cast<double>(errors[j * lanes + lane]) *
                    static_cast<double>(products[j * lanes + lane]);
    }
  }
}

// What all panels share.
struct Descent {
  const float* targets = nullptr;
  const float* gram = nullptr;
  DescentOptions options;
  GridRules rules;
  std::vector<float> ones;  // of each column: H 1 within its group
  int64_t widest_group = 0;
};

Descent PrepareDescent(const float* targets, const float* gram,
                       const DescentOptions& options, const GridRows& rows) {
  Descent d;
  d.targets = targets;
  d.gram = gram;
  d.options = options;
  d.rules = MakeGridRules(rows.spec);
  d.ones.resize(static_cast<size_t>(rows.n_cols));
  for (int64_t group = 0; group < rows.n_groups; ++group) {
    const int64_t begin = rows.GroupBegin(group);
    const int64_t end = rows.GroupEnd(group);
    d.widest_group = std::max(d.widest_group, end - begin);
    for (int64_t j = begin; j < end; ++j) {
      double sum = 0;
      for (int64_t k = begin; k < end; ++k) {
        sum += static_cast<double>(gram[j * rows.n_cols + k]);
      }
      d.ones[static_cast<size_t>(j)] = static_cast<float>(sum);
    }
  }
  return d;
}

class PanelDescent {
 public:
  PanelDescent(const Descent& descent, const RowPanel& panel,
               const GridRows& rows)
      : d_(descent),
        panel_(panel),
        rows_(rows),
        lanes_(panel.n_lanes),
        targets_(static_cast<size_t>(rows.n_cols * lanes_)),
        values_(targets_.size()),
        gradient_(targets_.size()),
        codes_(targets_.size()),
        scales_(static_cast<size_t>(rows.n_groups * lanes_)),
        zeros_(scales_.size()),
        before_(static_cast<size_t>(d_.widest_group * lanes_)),
        levels_(before_.size()),
        curvature_(before_.size()) {
    panel.Gather(d_.targets, rows.n_cols, 0, rows.n_cols, targets_.data());
    panel.GatherCodes(rows, 0, rows.n_cols, codes_.data());
    for (int64_t group = 0; group < rows.n_groups; ++group) {
      const int64_t begin = rows.GroupBegin(group);
      panel.GatherGroup(rows, group, Scales(group), Zeros(group));
      GridKernelsForCpu().decode(d_.rules, codes_.data() + begin * lanes_,
                                 lanes_, rows.GroupEnd(group) - begin,
                                 Scales(group), Zeros(group),
                                 values_.data() + begin * lanes_);
    }
  }

  // Errors of the panel's rows; rows that got better are stored.
  void Run(GridRows* rows, double* before, double* after) {
    double was[kMaxPanelRows];
    double is[kMaxPanelRows];
    ComputeGradient(was);
    bool changed = false;
    for (int round = 0; round < d_.options.rounds; ++round) {
      bool again = false;
      for (int64_t group = 0; group < rows_.n_groups; ++group) {
        again |= ImproveGroup(group);
      }
      changed |= again;
      if (!again) {
        break;  // nor would another round find anything
      }
    }
    std::copy(was, was + lanes_, is);
    if (changed) {
      ComputeGradient(is);
      StoreBetter(was, is, rows);
    }
    for (int64_t row = 0; row < panel_.n_rows; ++row) {
      before[panel_.first_row + row] = was[row];
      after[panel_.first_row + row] = std::min(was[row], is[row]);
    }
  }

 private:
  float* Scales(int64_t group) { return scales_.data() + group * lanes_; }
  float* Zeros(int64_t group) { return zeros_.data() + group * lanes_; }

  void ComputeGradient(double* errors) {
    std::vector<float> difference(values_.size());
    for (size_t i = 0; i < values_.size(); ++i) {
      difference[i] = values_[i] - targets_[i];
    }
    Multiply(d_.gram, rows_.n_cols, difference.data(), lanes_,
             gradient_.data());
    Dot(difference.data(), gradient_.data(), rows_.n_cols, lanes_, errors);
  }

  // Whether anything changed.
  bool ImproveGroup(int64_t group) {
    const GridKernels& kernels = GridKernelsForCpu();
    const int64_t n_cols = rows_.n_cols;
    const int64_t begin = rows_.GroupBegin(group);
    const int64_t at = begin * lanes_;
    GroupBlock block;
    block.n = rows_.GroupEnd(group) - begin;
    block.ld = lanes_;
    block.h = d_.gram + begin * n_cols + begin;
    block.h_stride = n_cols;
    block.ones = d_.ones.data() + begin;
    block.scales = Scales(group);
    block.zeros = Zeros(group);
    block.codes = codes_.data() + at;
    block.values = values_.data() + at;
    block.gradient = gradient_.data() + at;
    block.levels = levels_.data();
    block.curvature = curvature_.data();
    std::copy(block.values, block.values + block.n * lanes_, before_.data());
    if (d_.options.refit_scales) {
      kernels.refit(d_.rules, block);
    }
    if (d_.options.sweep_codes) {
      kernels.sweep(d_.rules, block);
    }
    return SpreadChanges(begin, block.n);
  }

  // Adds the changes of columns begin ... begin + n - 1 to the gradient of
  // all others.
  bool SpreadChanges(int64_t begin, int64_t n) {
    std::vector<int32_t> changed;
    changed.reserve(static_cast<size_t>(n));
    for (int64_t j = 0; j < n; ++j) {
      const float* now = values_.data() + (begin + j) * lanes_;
      const float* was = before_.data() + j * lanes_;
      // Where columns before were left out, changes move up.
      float* change =
          before_.data() + static_cast<int64_t>(changed.size()) * lanes_;
      bool any = false;
      for (int64_t lane = 0; lane < lanes_; ++lane) {
        change[lane] = now[lane] - was[lane];
        any |= change[lane] != 0;
      }
      if (any) {
        changed.push_back(static_cast<int32_t>(begin + j));
      }
    }
    const int64_t n_changed = static_cast<int64_t>(changed.size());
    const int64_t n_cols = rows_.n_cols;
    const GridKernels& kernels = GridKernelsForCpu();
    kernels.add_products(d_.gram, n_cols, changed.data(), n_changed,
                         before_.data(), 0, begin, gradient_.data(), lanes_);
    kernels.add_products(d_.gram, n_cols, changed.data(), n_changed,
                         before_.data(), begin + n, n_cols, gradient_.data(),
                         lanes_);
    return n_changed > 0;
  }

  void StoreBetter(const double* was, const double* is, GridRows* rows) {
    for (int64_t row = 0; row < panel_.n_rows; ++row) {
      if (!(is[row] < was[row])) {
        continue;
      }
      const int64_t to = panel_.first_row + row;
      for (int64_t j = 0; j < rows_.n_cols; ++j) {
        rows->codes[static_cast<size_t>(to * rows_.n_cols + j)] =
            codes_[static_cast<size_t>(j * lanes_ + row)];
      }
      for (int64_t group = 0; group < rows_.n_groups; ++group) {
        const size_t at = static_cast<size_t>(to * rows_.n_groups + group);
        rows->scales[at] = Scales(group)[row];
        if (!rows->zeros.empty()) {
          rows->zeros[at] = Zeros(group)[row];
        }
      }
    }
  }

  const Descent& d_;
  const RowPanel& panel_;
  const GridRows& rows_;
  const int64_t lanes_;
  // [column, lane]
  std::vector<float> targets_;
  std::vector<float> values_;
  std::vector<float> gradient_;
  std::vector<uint8_t> codes_;
  // [group, lane]
  std::vector<float> scales_;
  std::vector<float> zeros_;
  // [column of a group, lane]
  std::vector<float> before_;
  std::vector<float> levels_;
  std::vector<float> curvature_;
};

double Sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace

DescentResult Descend(const float* targets, const float* gram,
                      const DescentOptions& options, GridRows* rows,
                      ThreadPool* pool) {
  const Descent descent = PrepareDescent(targets, gram, options, *rows);
  const int n_threads = pool == nullptr ? 1 : pool->n_threads();
  // A sum for each row, so that their order does not depend on threads.
  std::vector<double> before(static_cast<size_t>(rows->n_rows));
  std::vector<double> after(before.size());
  ForEachPanel(rows->n_rows, PanelWidth(rows->n_rows, n_threads), pool,
               [&](const RowPanel& panel) {
                 PanelDescent(descent, panel, *rows)
                     .Run(rows, before.data(), after.data());
               });
  return {Sum(before), Sum(after)};
}

double GramError(const float* targets, const float* quantized, int64_t n_rows,
                 int64_t n_cols, const float* gram, ThreadPool* pool) {
  std::vector<double> errors(static_cast<size_t>(n_rows));
  const int n_threads = pool == nullptr ? 1 : pool->n_threads();
  ForEachPanel(
      n_rows, PanelWidth(n_rows, n_threads), pool, [&](const RowPanel& panel) {
        const int64_t lanes = panel.n_lanes;
        std::vector<float> difference(static_cast<size_t>(n_cols * lanes));
        std::vector<float> products(difference.size());
        panel.Gather(targets, n_cols, 0, n_cols, difference.data());
        panel.Gather(quantized, n_cols, 0, n_cols, products.data());
        for (size_t i = 0; i < difference.size(); ++i) {
          difference[i] -= products[i];
        }
        Multiply(gram, n_cols, difference.data(), lanes, products.data());
        double sums[kMaxPanelRows];
        Dot(difference.data(), products.data(), n_cols, lanes, sums);
        std::copy(sums, sums + panel.n_rows, errors.data() + panel.first_row);
      });
  return Sum(errors);
}

}  // namespace narrow
