// Fields and codes under a Gram matrix: refits and coordinate descent.
//
// The idea. Error feedback (feed.cc) decides each code when the columns
// behind it are still free, and fits a block's fields before its codes are
// known. Afterwards all is known: with errors e = q - t and G = e H, moving
// the values by delta changes the objective by 2 delta.G + delta H delta.
// Values are linear in every field, so for d and dmin this is a parabola
// whose minimum is rounded to the nearest half; for the scale and minimum of
// a sub-block, integers, a few candidates are compared, each scale with the
// best minimum beside it; for a code, the nearest one to q_j - G_j / H_jj.
// Each step is judged on the legal values themselves, so the objective never
// rises. Sweeps go through the blocks in order: refit, then codes, then the
// block's changes are told to all other columns at once, as one product.
//
// Sources. Coordinate descent on codes under the Gram matrix: Behdin et al.,
// "QuantEase" (2023); Chee et al., "QuIP" (2023), supplement C ("greedy
// updates"). Refits of super-blocks' integers are our own.
//
// Example: tr(E H E^T) of a matrix with inputs that share much falls by some
// 10 % in the first round, by less in each that follows.
//
// Lattice types move units of 4 or 8 codes at once, towards q_s - G_s
// H[s, s]^-1 under H[s, s] (kernels/compensated/units.inc).
//
// Tested by kernels/compensated/compensated_test.cc and
// kernels/grid/feedback_test.cc.

#include <algorithm>
#include <cstddef>
#include <memory>
#include <numeric>
#include <vector>

#include "kernels/feedback/feedback.h"

namespace narrow {
namespace {

// What all panels share.
struct Descent {
  const MatrixFormat& format;
  const float* targets;
  const float* gram;
  int64_t n_cols;
  DescendOptions options;
  std::vector<int32_t> numbers;  // 0, 1, 2 ...
  std::vector<BlockForm> forms;  // the squares of blocks
};

Descent PrepareDescent(const MatrixFormat& format, const float* targets,
                       const float* gram, const DescendOptions& options) {
  const int64_t n = format.n_cols();
  Descent d = {format, targets, gram, n, options, {}, {}};
  d.numbers.resize(static_cast<size_t>(n));
  std::iota(d.numbers.begin(), d.numbers.end(), 0);
  for (int64_t b = 0; options.rounds > 0 && b < format.n_blocks(); ++b) {
    const int64_t j = b * format.block();
    d.forms.push_back(format.MakeForm(b, gram + j * n + j, n));
  }
  return d;
}

class PanelDescent {
 public:
  PanelDescent(const Descent& descent, const RowPanel& rows)
      : d_(descent),
        pool_(rows.pool),
        n_rows_(rows.n_rows),
        lanes_(rows.n_lanes),
        panel_(d_.format.Open(rows, /*fresh=*/false)),
        targets_(static_cast<size_t>(d_.n_cols * lanes_)),
        values_(targets_.size()),
        gradient_(targets_.size()),
        before_(static_cast<size_t>(std::min(d_.format.block(), d_.n_cols) *
                                    lanes_)) {
    rows.Gather(d_.targets, d_.n_cols, 0, d_.n_cols, targets_.data());
    panel_->Decode(values_.data());
  }

  // Rows that got better are stored.
  void Run(DescentError* errors) {
    std::vector<RowError> was(static_cast<size_t>(lanes_));
    std::vector<RowError> is(was.size());
    MeasureLanes(was.data());
    for (int64_t lane = 0; lane < n_rows_; ++lane) {
      errors[lane].before = errors[lane].after = was[static_cast<size_t>(lane)];
    }
    bool changed = false;
    for (int round = 0; round < d_.options.rounds; ++round) {
      bool again = false;
      for (int64_t block = 0; block < d_.format.n_blocks(); ++block) {
        again |= ImproveBlock(block);
      }
      changed |= again;
      if (!again) {
        break;  // nor would another round find anything
      }
    }
    if (!changed) {
      return;
    }
    MeasureLanes(is.data());
    for (int64_t lane = 0; lane < n_rows_; ++lane) {
      const size_t i = static_cast<size_t>(lane);
      if (is[i].gram < was[i].gram) {
        panel_->Store(lane);
        errors[lane].after = is[i];
      }
    }
  }

  // The gradient of what there is, and errors of all lanes.
  void MeasureLanes(RowError* errors) {
    std::vector<float> difference(values_.size());
    for (size_t i = 0; i < values_.size(); ++i) {
      difference[i] = values_[i] - targets_[i];
    }
    std::fill(gradient_.begin(), gradient_.end(), 0.0f);
    AddToGradient(d_.numbers.data(), d_.n_cols, difference.data(), 0,
                  d_.n_cols);
    for (int64_t j = 0; j < d_.n_cols; ++j) {
      for (int64_t lane = 0; lane < lanes_; ++lane) {
        const size_t at = static_cast<size_t>(j * lanes_ + lane);
        const double e = static_cast<double>(difference[at]);
        errors[lane].gram += e * static_cast<double>(gradient_[at]);
        errors[lane].square += e * e;
      }
    }
  }

 private:
  // Whether anything changed.
  bool ImproveBlock(int64_t block) {
    const int64_t begin = block * d_.format.block();
    const int64_t n = std::min(d_.format.block(), d_.n_cols - begin);
    float* const values = values_.data() + begin * lanes_;
    std::copy(values, values + n * lanes_, before_.data());
    panel_->Improve(block, d_.forms[static_cast<size_t>(block)],
                    d_.options.refit, d_.options.sweep, values,
                    gradient_.data() + begin * lanes_);
    return SpreadChanges(begin, n);
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
    AddToGradient(changed.data(), n_changed, before_.data(), 0, begin);
    AddToGradient(changed.data(), n_changed, before_.data(), begin + n,
                  d_.n_cols);
    return n_changed > 0;
  }

  // Products of columns' differences with the Gram matrix, for the gradient's
  // columns begin ... end - 1.
  void AddToGradient(const int32_t* columns, int64_t n,
                     const float* differences, int64_t begin, int64_t end) {
    ForColumns(pool_, begin, end, n * (end - begin) * lanes_,
               [&](int64_t first, int64_t last) {
                 d_.format.add_products()(d_.gram, d_.n_cols, columns, n,
                                          differences, first, last,
                                          gradient_.data(), lanes_);
               });
  }

  const Descent& d_;
  ThreadPool* const pool_;
  const int64_t n_rows_;
  const int64_t lanes_;
  const std::unique_ptr<FormatPanel> panel_;
  // [column, lane]
  std::vector<float> targets_;
  std::vector<float> values_;
  std::vector<float> gradient_;
  // [column of a block, lane]
  std::vector<float> before_;
};

}  // namespace

std::vector<DescentError> Descend(const MatrixFormat& format,
                                  const float* targets, int64_t n_rows,
                                  const float* gram,
                                  const DescendOptions& options,
                                  ThreadPool* pool) {
  const Descent descent = PrepareDescent(format, targets, gram, options);
  std::vector<DescentError> errors(static_cast<size_t>(n_rows));
  const int n_threads = pool == nullptr ? 1 : pool->n_threads();
  ForEachPanel(
      n_rows, PanelWidth(n_rows, n_threads), pool, [&](const RowPanel& rows) {
        PanelDescent(descent, rows).Run(errors.data() + rows.first_row);
      });
  return errors;
}

std::vector<RowError> MeasureErrors(const MatrixFormat& format,
                                    const float* targets, int64_t n_rows,
                                    const float* gram, ThreadPool* pool) {
  DescendOptions options;
  options.rounds = 0;
  const Descent descent = PrepareDescent(format, targets, gram, options);
  std::vector<RowError> errors(static_cast<size_t>(n_rows));
  const int n_threads = pool == nullptr ? 1 : pool->n_threads();
  ForEachPanel(n_rows, PanelWidth(n_rows, n_threads), pool,
               [&](const RowPanel& rows) {
                 std::vector<RowError> lanes(static_cast<size_t>(rows.n_lanes));
                 PanelDescent(descent, rows).MeasureLanes(lanes.data());
                 std::copy(lanes.begin(), lanes.begin() + rows.n_rows,
                           errors.begin() + rows.first_row);
               });
  return errors;
}

}  // namespace narrow
