#include "converter/compensated/matrix/couple_rows.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <vector>

#include "formats/quant_type.h"
#include "kernels/linalg/cholesky.h"
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

// The row at each place: the more the errors of its blocks weigh, the earlier,
// as all rows behind it can make up for them.
std::vector<int64_t> OrderOfRows(const CoupleProblem& p, const uint8_t* bytes) {
  const std::vector<RowError> errors = MeasureRows(
      *p.codec, p.targets, p.n_rows, p.n_cols, p.gram, bytes, p.pool);
  std::vector<double> weights;
  std::vector<int64_t> order;
  for (int64_t row = 0; row < p.n_rows; ++row) {
    const double weight =
        errors[static_cast<size_t>(row)].gram * p.moments[row * p.n_rows + row];
    weights.push_back(std::isfinite(weight) ? weight : INFINITY);
    order.push_back(row);
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return weights[static_cast<size_t>(a)] > weights[static_cast<size_t>(b)];
  });
  return order;
}

// Rows stand in the order of batches in all that is kept here.
class RowCoupling {
 public:
  RowCoupling(const CoupleProblem& problem, const uint8_t* bytes)
      : p_(problem),
        batch_(BatchRows(p_.n_rows)),
        order_(OrderOfRows(p_, bytes)),
        row_bytes_(p_.n_cols / p_.codec->block *
                   Geometry(p_.codec->type).block_bytes),
        bytes_(static_cast<size_t>(p_.n_rows * row_bytes_)),
        targets_(static_cast<size_t>(p_.n_rows * p_.n_cols)),
        moments_(static_cast<size_t>(p_.n_rows * p_.n_rows)),
        errors_(targets_.size()),
        products_(targets_.size()) {
    double mean = 0;
    for (int64_t i = 0; i < p_.n_rows; ++i) {
      mean += p_.moments[i * p_.n_rows + i] / static_cast<double>(p_.n_rows);
    }
    for (int64_t i = 0; i < p_.n_rows; ++i) {
      const int64_t row = order_[static_cast<size_t>(i)];
      for (int64_t j = 0; j < p_.n_rows; ++j) {
        const int64_t other = order_[static_cast<size_t>(j)];
        moments_[static_cast<size_t>(i * p_.n_rows + j)] =
            static_cast<float>(p_.moments[row * p_.n_rows + other] / mean +
                               (i == j ? kDamping : 0));
      }
      const float* const targets = p_.targets + row * p_.n_cols;
      std::copy(targets, targets + p_.n_cols, targets_.data() + i * p_.n_cols);
      std::memcpy(bytes_.data() + i * row_bytes_, bytes + row * row_bytes_,
                  static_cast<size_t>(row_bytes_));
    }
    TakeErrors(0, p_.n_rows);
    Multiply(errors_.data(), p_.n_rows, products_.data());
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
    return result;
  }

  // In the matrix's own order.
  void Store(uint8_t* bytes) const {
    for (size_t i = 0; i < order_.size(); ++i) {
      std::memcpy(bytes + order_[i] * row_bytes_,
                  bytes_.data() + static_cast<int64_t>(i) * row_bytes_,
                  static_cast<size_t>(row_bytes_));
    }
  }

 private:
  // What bytes decode to less targets.
  void Misses(const uint8_t* bytes, int64_t first, int64_t n_rows,
              float* misses) const {
    p_.codec->Decode(bytes, n_rows * p_.n_cols / p_.codec->block, misses);
    const float* const targets = targets_.data() + first * p_.n_cols;
    for (int64_t i = 0; i < n_rows * p_.n_cols; ++i) {
      misses[i] -= targets[i];
    }
  }
  void TakeErrors(int64_t first, int64_t n_rows) {
    Misses(bytes_.data() + first * row_bytes_, first, n_rows,
           errors_.data() + first * p_.n_cols);
  }

  // Rows times the Gram matrix.
  void Multiply(const float* rows, int64_t n_rows, float* products) const {
    Gemm(p_.pool, Update::kSet, n_rows, p_.n_cols, p_.n_cols, rows, p_.n_cols,
         p_.gram, p_.n_cols, products, p_.n_cols);
  }

  // H_O[rows, :] times a matrix of all rows.
  std::vector<float> Couple(int64_t first, int64_t n_rows,
                            const std::vector<float>& all) const {
    std::vector<float> sums(static_cast<size_t>(n_rows * p_.n_cols));
    Gemm(p_.pool, Update::kSet, n_rows, p_.n_cols, p_.n_rows,
         moments_.data() + first * p_.n_rows, p_.n_rows, all.data(), p_.n_cols,
         sums.data(), p_.n_cols);
    return sums;
  }

  double Form() const {
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
    const std::vector<uint8_t> was = bytes_;
    std::vector<double> r(moments_.begin(), moments_.end());
    const bool has_factor =
        FactorUpper(p_.pool, p_.n_rows, r.data()).failed_at < 0;
    if ((has_factor && FeedBatches(&r, before)) ||
        FeedBatches(nullptr, before)) {
      return true;
    }
    bytes_ = was;
    TakeErrors(0, p_.n_rows);
    Multiply(errors_.data(), p_.n_rows, products_.data());
    return false;
  }

  bool FeedBatches(const std::vector<double>* r, double before) {
    for (int64_t first = 0; first < p_.n_rows; first += batch_) {
      const int64_t n_rows = std::min(batch_, p_.n_rows - first);
      const std::vector<float> targets = FedTargets(r, first, n_rows);
      p_.solve(targets.data(), n_rows, bytes_.data() + first * row_bytes_);
      TakeErrors(first, n_rows);
    }
    Multiply(errors_.data(), p_.n_rows, products_.data());
    const double is = Form();
    return std::isfinite(is) && !(is >= before);
  }

  // Targets of a batch, given the errors of those before it. R[B, B] and what
  // is left of it by the batches before, both as unknowns of one system: the
  // shifts x of its rows, R[B, B]^T x = -R[before, B]^T e.
  std::vector<float> FedTargets(const std::vector<double>* r, int64_t first,
                                int64_t n_rows) const {
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
    Gemm(p_.pool, Update::kSubtract, n_rows, p_.n_cols, first, rounded.data(),
         first, errors_.data(), p_.n_cols, targets.data(), p_.n_cols);
    return targets;
  }
  double R(const std::vector<double>& r, int64_t k, int64_t s) const {
    return r[static_cast<size_t>(k * p_.n_rows + s)];
  }

  // t_b less what other rows' errors ask for.
  std::vector<float> TargetsOf(int64_t first, int64_t n_rows,
                               float share) const {
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
    uint8_t* const own = bytes_.data() + first * row_bytes_;
    std::vector<uint8_t> trial(own, own + n_rows * row_bytes_);
    DescendOptions descend = p_.descend;
    descend.refit = descend.refit && refit;
    descend.rounds = refit ? 2 : 1;
    DescendRows(*p_.codec, targets.data(), n_rows, p_.n_cols, p_.gram, descend,
                trial.data(), p_.pool);
    const size_t n = static_cast<size_t>(n_rows * p_.n_cols);
    std::vector<float> moved(n);
    Misses(trial.data(), first, n_rows, moved.data());
    float* const errors = errors_.data() + first * p_.n_cols;
    float* const products = products_.data() + first * p_.n_cols;
    for (size_t i = 0; i < n; ++i) {
      moved[i] -= errors[i];
    }
    std::vector<float> change(n);
    Multiply(moved.data(), n_rows, change.data());
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
    std::memcpy(own, trial.data(), trial.size());
    for (size_t i = 0; i < n; ++i) {
      errors[i] += moved[i];
      products[i] += change[i];
    }
    return true;
  }

  const CoupleProblem& p_;
  const int64_t batch_;
  const std::vector<int64_t> order_;
  const int64_t row_bytes_;
  std::vector<uint8_t> bytes_;
  std::vector<float> targets_;
  std::vector<float> moments_;   // over their mean diagonal, damped
  std::vector<float> errors_;    // values less targets
  std::vector<float> products_;  // errors times the Gram matrix
};

}  // namespace

CoupleResult CoupleRows(const CoupleProblem& problem, uint8_t* bytes) {
  RowCoupling coupling(problem, bytes);
  const CoupleResult result = coupling.Run();
  coupling.Store(bytes);
  return result;
}

}  // namespace narrow
