#include "kernels/feedback/couple_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <random>
#include <utility>
#include <vector>

namespace narrow {
namespace {

constexpr unsigned kSeed = 20261122;
constexpr int64_t kRows = 24;  // three batches
constexpr int64_t kCols = 5;

// Whole numbers.
class WholeRows final : public StoredRows {
 public:
  explicit WholeRows(std::vector<float> values) : values_(std::move(values)) {}

  std::unique_ptr<StoredRows> Take(
      absl::Span<const int64_t> rows) const override {
    std::vector<float> taken;
    for (const int64_t row : rows) {
      taken.insert(taken.end(), values_.begin() + row * kCols,
                   values_.begin() + (row + 1) * kCols);
    }
    return std::make_unique<WholeRows>(std::move(taken));
  }
  void Put(absl::Span<const int64_t> rows, const StoredRows& from) override {
    const auto& other = static_cast<const WholeRows&>(from).values_;
    for (size_t i = 0; i < rows.size() * kCols; ++i) {
      values_[static_cast<size_t>(rows[i / kCols]) * kCols + i % kCols] =
          other[i];
    }
  }
  void Decode(float* values) const override {
    std::copy(values_.begin(), values_.end(), values);
  }
  void Solve(const float* targets) override {
    for (size_t i = 0; i < values_.size(); ++i) {
      values_[i] = std::nearbyint(targets[i]);
    }
  }
  void Descend(const float* targets, const DescendOptions&) override {
    Solve(targets);
  }

 private:
  std::vector<float> values_;
};

class CoupleRowsTest : public testing::Test {
 protected:
  CoupleRowsTest() : targets_(kRows * kCols), gram_(kCols * kCols) {
    std::mt19937 random(kSeed);
    std::normal_distribution<float> normal(0, 2);
    for (float& target : targets_) {
      target = normal(random);
    }
    for (int64_t i = 0; i < kCols; ++i) {
      gram_[static_cast<size_t>(i * (kCols + 1))] = 1;
    }
    problem_.targets = targets_.data();
    problem_.n_rows = kRows;
    problem_.n_cols = kCols;
    problem_.gram = gram_.data();
    problem_.pool = &pool_;
  }

  WholeRows Rounded() const {
    WholeRows rows(std::vector<float>(targets_.size()));
    rows.Solve(targets_.data());
    return rows;
  }
  std::vector<float> Values(const StoredRows& rows) const {
    std::vector<float> values(targets_.size());
    rows.Decode(values.data());
    return values;
  }
  // tr(H_O E E^T), by the definition; H_O over its mean diagonal, damped.
  double Form(const std::vector<double>& moments,
              const StoredRows& rows) const {
    const std::vector<float> values = Values(rows);
    double sum = 0;
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t k = 0; k < kRows; ++k) {
        double dot = 0;
        for (int64_t j = 0; j < kCols; ++j) {
          const size_t a = static_cast<size_t>(i * kCols + j);
          const size_t b = static_cast<size_t>(k * kCols + j);
          dot +=
              double{values[a] - targets_[a]} * double{values[b] - targets_[b]};
        }
        sum +=
            (moments[static_cast<size_t>(i * kRows + k)] + (i == k ? 0.1 : 0)) *
            dot;
      }
    }
    return sum;
  }

  ThreadPool pool_{2};
  std::vector<float> targets_;
  std::vector<float> gram_;
  CoupleProblem problem_;
};

// Of outputs that only their sum counts of, whole numbers can have all sums
// within half of the target's.
TEST_F(CoupleRowsTest, RowsMakeUpForEachOther) {
  const std::vector<double> moments(kRows * kRows, 1.0);
  problem_.moments = moments.data();
  WholeRows rows = Rounded();
  const double before = Form(moments, rows);
  const CoupleResult result = CoupleRows(problem_, &rows);
  EXPECT_TRUE(result.fed || result.n_kept > 0);
  // float32 sums of 120 numbers below 10 against double.
  EXPECT_NEAR(result.before, before, 1e-4 * before);
  EXPECT_NEAR(result.after, Form(moments, rows), 1e-4 * before);
  EXPECT_LT(result.after, 0.6 * result.before);
}

// With memory for all, for the Gram matrix and some of the rest, and for none.
TEST_F(CoupleRowsTest, ADeviceDoesNotMatter) {
  std::vector<double> moments(kRows * kRows, 0.7);
  for (int64_t i = 0; i < kRows; ++i) {
    moments[static_cast<size_t>(i * (kRows + 1))] = 1;
  }
  problem_.moments = moments.data();
  WholeRows want = Rounded();
  const CoupleResult by_processor = CoupleRows(problem_, &want);
  EXPECT_EQ(by_processor.note, "");
  int n_left = 0;
  for (const int64_t limit : {0, 50, 2000}) {
    const Device device = Device::Cpu(limit);
    problem_.device = &device;
    WholeRows rows = Rounded();
    const CoupleResult result = CoupleRows(problem_, &rows);
    EXPECT_EQ(Values(rows), Values(want)) << limit;
    EXPECT_EQ(result.before, by_processor.before);
    EXPECT_EQ(result.after, by_processor.after);
    EXPECT_EQ(result.n_kept, by_processor.n_kept);
    EXPECT_EQ(result.note.empty(), limit == 0) << result.note;
    n_left += result.note.empty() ? 0 : 1;
  }
  EXPECT_EQ(n_left, 2);
}

TEST_F(CoupleRowsTest, OutputsThatShareNothingStayAsTheyAre) {
  std::vector<double> moments(kRows * kRows, 0.0);
  for (int64_t i = 0; i < kRows; ++i) {
    moments[static_cast<size_t>(i * (kRows + 1))] = 3;
  }
  problem_.moments = moments.data();
  WholeRows rows = Rounded();
  const std::vector<float> was = Values(rows);
  CoupleRows(problem_, &rows);
  EXPECT_EQ(Values(rows), was);
}

TEST_F(CoupleRowsTest, MomentsMustBeNumbersAboveNothing) {
  std::vector<double> moments(kRows * kRows, 0.0);
  EXPECT_FALSE(CanCouple(moments.data(), kRows));
  moments[0] = 1;
  EXPECT_TRUE(CanCouple(moments.data(), kRows));
  moments[5] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(CanCouple(moments.data(), kRows));
}

}  // namespace
}  // namespace narrow
