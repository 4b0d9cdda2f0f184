#include "converter/compensated/matrix/couple_rows.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "formats/quant_type.h"
#include "kernels/linalg/gemm.h"

namespace narrow {
namespace {

constexpr int64_t kBatch = 32;
constexpr int kPasses = 2;
constexpr double kDamping = 0.1;
// Of the move that would be best for one row alone: where rows of a batch have
// much in common, all of them together go too far.
constexpr float kShares[] = {1.0f, 0.5f, 0.25f};

class RowCoupling {
 public:
  RowCoupling(const CoupleProblem& problem, uint8_t* bytes)
      : p_(problem),
        bytes_(bytes),
        row_bytes_(p_.n_cols / p_.codec->block *
                   Geometry(p_.codec->type).block_bytes),
        moments_(static_cast<size_t>(p_.n_rows * p_.n_rows)),
        errors_(static_cast<size_t>(p_.n_rows * p_.n_cols)),
        products_(errors_.size()) {
    double mean = 0;
    for (int64_t i = 0; i < p_.n_rows; ++i) {
      mean += p_.moments[i * p_.n_rows + i] / static_cast<double>(p_.n_rows);
    }
    for (int64_t i = 0; i < p_.n_rows; ++i) {
      for (int64_t j = 0; j < p_.n_rows; ++j) {
        moments_[static_cast<size_t>(i * p_.n_rows + j)] = static_cast<float>(
            p_.moments[i * p_.n_rows + j] / mean + (i == j ? kDamping : 0));
      }
    }
    Decode(bytes_, 0, p_.n_rows, errors_.data());
    for (size_t i = 0; i < errors_.size(); ++i) {
      errors_[i] -= p_.targets[i];
    }
    Multiply(errors_.data(), p_.n_rows, products_.data());
  }

  CoupleResult Run() {
    CoupleResult result;
    result.before = Form();
    for (int pass = 0; pass < kPasses; ++pass) {
      for (int64_t first = 0; first < p_.n_rows; first += kBatch) {
        ++result.n_batches;
        const int64_t n_rows = std::min(kBatch, p_.n_rows - first);
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

 private:
  void Decode(const uint8_t* bytes, int64_t first, int64_t n_rows,
              float* values) const {
    p_.codec->Decode(bytes + first * row_bytes_,
                     n_rows * p_.n_cols / p_.codec->block, values);
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
    for (int64_t first = 0; first < p_.n_rows; first += kBatch) {
      const int64_t n_rows = std::min(kBatch, p_.n_rows - first);
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
        target = p_.targets[at] - share * (target / own - errors_[at]);
      }
    }
    return targets;
  }

  bool TryBatch(int64_t first, int64_t n_rows, float share, bool refit) {
    const std::vector<float> targets = TargetsOf(first, n_rows, share);
    uint8_t* const own = bytes_ + first * row_bytes_;
    std::vector<uint8_t> trial(own, own + n_rows * row_bytes_);
    DescendOptions descend = p_.descend;
    descend.refit = descend.refit && refit;
    descend.rounds = refit ? 2 : 1;
    DescendRows(*p_.codec, targets.data(), n_rows, p_.n_cols, p_.gram, descend,
                trial.data(), p_.pool);
    const size_t n = static_cast<size_t>(n_rows * p_.n_cols);
    std::vector<float> moved(n);
    p_.codec->Decode(trial.data(), n_rows * p_.n_cols / p_.codec->block,
                     moved.data());
    float* const errors = errors_.data() + first * p_.n_cols;
    float* const products = products_.data() + first * p_.n_cols;
    for (size_t i = 0; i < n; ++i) {
      moved[i] -= p_.targets[static_cast<size_t>(first * p_.n_cols) + i];
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
  uint8_t* const bytes_;
  const int64_t row_bytes_;
  std::vector<float> moments_;   // over their mean diagonal, damped
  std::vector<float> errors_;    // values less targets
  std::vector<float> products_;  // errors times the Gram matrix
};

}  // namespace

CoupleResult CoupleRows(const CoupleProblem& problem, uint8_t* bytes) {
  return RowCoupling(problem, bytes).Run();
}

}  // namespace narrow
