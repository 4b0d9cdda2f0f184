#include "kernels/feedback/couple_rows.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <vector>

#include "kernels/feedback/couple_products.h"
#include "kernels/linalg/gemm.h"

namespace narrow {
namespace {

// Rows of a batch: the fewer, the more each knows of the others' errors.
// Threads share a batch of large matrices, whose rows are a small part of all.
constexpr int64_t kLeastBatch = 8;
constexpr int64_t kMostBatch = 64;
constexpr int64_t kBatchShare = 64;
constexpr int kPasses = 2;
constexpr double kDamping = 0.1;
// Of the move that would be best for one row alone: where rows of a batch have
// much in common, all of them together go too far.
constexpr float kShares[] = {1.0f, 0.5f, 0.25f};

int64_t BatchRows(int64_t n_rows) {
  return std::clamp(n_rows / kBatchShare / kLeastBatch * kLeastBatch,
                    kLeastBatch, kMostBatch);
}

// Rows stand in the order of batches in all that is kept here.
class RowCoupling {
 public:
  RowCoupling(const CoupleProblem& problem, StoredRows* rows)
      : p_(problem),
        rows_(*rows),
        batch_(BatchRows(p_.n_rows)),
        order_(static_cast<size_t>(p_.n_rows)),
        targets_(p_.targets, p_.targets + p_.n_rows * p_.n_cols),
        moments_(static_cast<size_t>(p_.n_rows * p_.n_rows)),
        errors_(targets_.size()),
        products_(targets_.size()),
        sums_(p_.device, p_.gram, p_.n_rows, p_.n_cols, p_.pool) {
    std::iota(order_.begin(), order_.end(), int64_t{0});
    TakeErrors(rows_, 0, p_.n_rows);
    sums_.Multiply(errors_, &products_);
    TakeOrder();
    TakeMoments();
  }

  CoupleResult Run() {
    CoupleResult result;
    result.before = Form();
    result.fed = Feed(result.before);
    for (int pass = 0; pass < kPasses; ++pass) {
      for (int64_t first = 0; first < p_.n_rows; first += batch_) {
        ++result.n_batches;
        const int64_t n_rows = std::min(batch_, p_.n_rows - first);
        for (const float share : kShares) {
          if (TryBatch(first, n_rows, share, pass > 0)) {
            ++result.n_kept;
            break;
          }
        }
      }
    }
    result.after = Form();
    result.note = sums_.note();
    return result;
  }

 private:
  // The more a row's errors weigh, the earlier it comes, as all rows behind it
  // can make up for them. Rows that hold no numbers are the first.
  void TakeOrder() {
    std::vector<double> weights(order_.size());
    for (size_t row = 0; row < order_.size(); ++row) {
      const size_t n = static_cast<size_t>(p_.n_cols);
      double sum = 0;
      for (size_t at = row * n; at < (row + 1) * n; ++at) {
        sum += double{errors_[at]} * double{products_[at]};
      }
      const double weight =
          sum * p_.moments[row * (static_cast<size_t>(p_.n_rows) + 1)];
      weights[row] = std::isfinite(weight) ? weight : INFINITY;
    }
    std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
      return weights[static_cast<size_t>(a)] > weights[static_cast<size_t>(b)];
    });
    PutInOrder(&targets_);
    PutInOrder(errors_.values());
    PutInOrder(products_.values());
    sums_.Changed(0, p_.n_rows, &errors_);
    sums_.Changed(0, p_.n_rows, &products_);
  }
  void PutInOrder(std::vector<float>* rows) const {
    const std::vector<float> own = *rows;
    for (size_t i = 0; i < order_.size(); ++i) {
      std::copy_n(own.begin() + order_[i] * p_.n_cols, p_.n_cols,
                  rows->begin() + static_cast<int64_t>(i) * p_.n_cols);
    }
  }

  void TakeMoments() {
    double mean = 0;
    for (int64_t i = 0; i < p_.n_rows; ++i) {
      mean += p_.moments[i * p_.n_rows + i] / static_cast<double>(p_.n_rows);
    }
    for (int64_t i = 0; i < p_.n_rows; ++i) {
      const int64_t row = order_[static_cast<size_t>(i)];
      for (int64_t j = 0; j < p_.n_rows; ++j) {
        const int64_t other = order_[static_cast<size_t>(j)];
        moments_.data()[i * p_.n_rows + j] =
            static_cast<float>(p_.moments[row * p_.n_rows + other] / mean +
                               (i == j ? kDamping : 0));
      }
    }
    sums_.Changed(0, p_.n_rows, &moments_);
  }

  // Rows of the matrix at places [first, first + n_rows).
  absl::Span<const int64_t> RowsAt(int64_t first, int64_t n_rows) const {
    return absl::MakeConstSpan(order_.data() + first,
                               static_cast<size_t>(n_rows));
  }

  // What rows decode to less the targets of the places from `first` on.
  void Misses(const StoredRows& rows, int64_t first, int64_t n_rows,
              float* misses) const {
    rows.Decode(misses);
    const float* const targets = targets_.data() + first * p_.n_cols;
    for (int64_t i = 0; i < n_rows * p_.n_cols; ++i) {
      misses[i] -= targets[i];
    }
  }
  void TakeErrors(const StoredRows& rows, int64_t first, int64_t n_rows) {
    Misses(rows, first, n_rows, errors_.data() + first * p_.n_cols);
    sums_.Changed(first, n_rows, &errors_);
  }

  // H_O[rows, :] times a matrix of all rows.
  std::vector<float> Couple(int64_t first, int64_t n_rows,
                            const RowMatrix& all) {
    std::vector<float> sums(static_cast<size_t>(n_rows * p_.n_cols));
    sums_.Couple(first, n_rows, moments_, all, sums.data());
    return sums;
  }

  double Form() {
    double sum = 0;
    for (int64_t first = 0; first < p_.n_rows; first += kMostBatch) {
      const int64_t n_rows = std::min(kMostBatch, p_.n_rows - first);
      sum += Dot(Couple(first, n_rows, products_),
                 errors_.data() + first * p_.n_cols);
    }
    return sum;
  }

  static double Dot(const std::vector<float>& a, const float* b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      sum += double{a[i]} * double{b[i]};
    }
    return sum;
  }

  // All rows anew; whether the form fell below what it was (otherwise nothing
  // changes). Moments that are none have no factor: rows are by themselves
  // then, as where making up for others did not help.
  bool Feed(double before) {
    const std::unique_ptr<StoredRows> was = rows_.Take(RowsAt(0, p_.n_rows));
    std::vector<double> r(moments_.values()->begin(), moments_.values()->end());
    const bool has_factor = sums_.Factor(&r);
    if ((has_factor && FeedBatches(&r, before)) ||
        FeedBatches(nullptr, before)) {
      return true;
    }
    rows_.Put(RowsAt(0, p_.n_rows), *was);
    TakeErrors(*was, 0, p_.n_rows);
    sums_.Multiply(errors_, &products_);
    return false;
  }

  bool FeedBatches(const std::vector<double>* r, double before) {
    for (int64_t first = 0; first < p_.n_rows; first += batch_) {
      const int64_t n_rows = std::min(batch_, p_.n_rows - first);
      const std::vector<float> targets = FedTargets(r, first, n_rows);
      const auto at = RowsAt(first, n_rows);
      const std::unique_ptr<StoredRows> batch = rows_.Take(at);
      batch->Solve(targets.data());
      rows_.Put(at, *batch);
      TakeErrors(*batch, first, n_rows);
    }
    sums_.Multiply(errors_, &products_);
    const double is = Form();
    return std::isfinite(is) && !(is >= before);
  }

  // Targets of a batch, given the errors of those before it. R[B, B] and what
  // is left of it by the batches before, both as unknowns of one system: the
  // shifts x of its rows, R[B, B]^T x = -R[before, B]^T e.
  std::vector<float> FedTargets(const std::vector<double>* r, int64_t first,
                                int64_t n_rows) {
    const auto begin = targets_.begin() + first * p_.n_cols;
    std::vector<float> targets(begin, begin + n_rows * p_.n_cols);
    if (r == nullptr || first == 0) {
      return targets;
    }
    // For each row of the batch what errors add to its target: those of rows
    // before the batch, then the batch's own shifts, row after row.
    std::vector<double> factors(static_cast<size_t>(n_rows * first), 0.0);
    for (int64_t i = 0; i < n_rows; ++i) {
      const int64_t s = first + i;
      double* const own = factors.data() + i * first;
      for (int64_t k = 0; k < first; ++k) {
        own[k] = R(*r, k, s);
      }
      for (int64_t b = 0; b < i; ++b) {
        const double shared = R(*r, first + b, s);
        const double* const other = factors.data() + b * first;
        for (int64_t k = 0; k < first; ++k) {
          own[k] -= shared * other[k];
        }
      }
      for (int64_t k = 0; k < first; ++k) {
        own[k] /= R(*r, s, s);
      }
    }
    const std::vector<float> rounded(factors.begin(), factors.end());
    sums_.Subtract(rounded.data(), n_rows, first, errors_, targets.data());
    return targets;
  }
  double R(const std::vector<double>& r, int64_t k, int64_t s) const {
    return r[static_cast<size_t>(k * p_.n_rows + s)];
  }

  // t_b less what other rows' errors ask for.
  std::vector<float> TargetsOf(int64_t first, int64_t n_rows, float share) {
    std::vector<float> targets = Couple(first, n_rows, errors_);
    for (int64_t row = 0; row < n_rows; ++row) {
      const float own = moments_[static_cast<size_t>((first + row) * p_.n_rows +
                                                     first + row)];
      for (int64_t j = 0; j < p_.n_cols; ++j) {
        float& target = targets[static_cast<size_t>(row * p_.n_cols + j)];
        const size_t at = static_cast<size_t>((first + row) * p_.n_cols + j);
        target = targets_[at] - share * (target / own - errors_[at]);
      }
    }
    return targets;
  }

  bool TryBatch(int64_t first, int64_t n_rows, float share, bool refit) {
    const std::vector<float> targets = TargetsOf(first, n_rows, share);
    const auto at = RowsAt(first, n_rows);
    const std::unique_ptr<StoredRows> trial = rows_.Take(at);
    DescendOptions descend;
    descend.rounds = refit ? 2 : 1;
    descend.refit = p_.refit && refit;
    descend.sweep = p_.sweep;
    trial->Descend(targets.data(), descend);
    const size_t n = static_cast<size_t>(n_rows * p_.n_cols);
    std::vector<float> moved(n);
    Misses(*trial, first, n_rows, moved.data());
    float* const errors = errors_.data() + first * p_.n_cols;
    float* const products = products_.data() + first * p_.n_cols;
    for (size_t i = 0; i < n; ++i) {
      moved[i] -= errors[i];
    }
    std::vector<float> change(n);
    sums_.Multiply(moved.data(), n_rows, change.data());
    std::vector<float> both(n);
    Gemm(p_.pool, Update::kSet, n_rows, p_.n_cols, n_rows,
         moments_.data() + first * p_.n_rows + first, p_.n_rows, change.data(),
         p_.n_cols, both.data(), p_.n_cols);
    const double gain =
        2 * Dot(Couple(first, n_rows, products_), moved.data()) +
        Dot(both, moved.data());
    if (!(gain < 0)) {
      return false;
    }
    rows_.Put(at, *trial);
    for (size_t i = 0; i < n; ++i) {
      errors[i] += moved[i];
      products[i] += change[i];
    }
    sums_.Changed(first, n_rows, &errors_);
    sums_.Changed(first, n_rows, &products_);
    return true;
  }

  const CoupleProblem& p_;
  StoredRows& rows_;
  const int64_t batch_;
  std::vector<int64_t> order_;  // the row at each place
  std::vector<float> targets_;
  RowMatrix moments_;   // over their mean diagonal, damped
  RowMatrix errors_;    // values less targets
  RowMatrix products_;  // errors times the Gram matrix
  CoupleProducts sums_;
};

}  // namespace

bool CanCouple(const double* moments, int64_t n_rows) {
  double trace = 0;
  for (int64_t i = 0; i < n_rows * n_rows; ++i) {
    trace += i % (n_rows + 1) == 0 ? moments[i] : 0;
    if (!std::isfinite(moments[i])) {
      return false;
    }
  }
  return trace > 0;
}

CoupleResult CoupleRows(const CoupleProblem& problem, StoredRows* rows) {
  return RowCoupling(problem, rows).Run();
}

}  // namespace narrow
