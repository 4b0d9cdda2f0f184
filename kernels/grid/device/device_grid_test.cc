// Grids on a device against those of kernels/grid, bit by bit: the code of the
// card's threads on the CPU, and a card where there is one.

#include "kernels/grid/device/device_grid.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "kernels/grid/feedback.h"
#include "kernels/linalg/cholesky.h"
#include "kernels/matmul/device/device_products.h"
#include "kernels/matmul/device/stacked_products.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

struct Case {
  const char* name;
  CodeKind code;
  int bits;
  ZeroKind zero;
  int64_t group;
  QuantType scale;
  bool signed_scales = false;
};

const Case kCases[] = {
    {"int4_g32", CodeKind::kInteger, 4, ZeroKind::kNone, 32, QuantType::kF16,
     true},
    {"int3_g50_zero", CodeKind::kInteger, 3, ZeroKind::kInteger, 50,
     QuantType::kF16},
    {"int2_g16_zero", CodeKind::kInteger, 2, ZeroKind::kInteger, 16,
     QuantType::kBF16},
    {"int4_row", CodeKind::kInteger, 4, ZeroKind::kNone, 0, QuantType::kF32},
    {"int4_float_zero", CodeKind::kInteger, 4, ZeroKind::kFloat, 64,
     QuantType::kF16},
    {"nf4", CodeKind::kNf4, 4, ZeroKind::kNone, 64, QuantType::kF32},
    {"mxfp4", CodeKind::kE2M1, 4, ZeroKind::kNone, 32, QuantType::kF8E8M0},
    {"nvfp4", CodeKind::kE2M1, 4, ZeroKind::kNone, 16, QuantType::kF8E4M3},
    {"fp8", CodeKind::kE4M3, 8, ZeroKind::kNone, 0, QuantType::kF32},
};

constexpr int64_t kRows = 19;
constexpr int64_t kCols = 150;  // no multiple of a group or a strip
constexpr int64_t kBatch = 2;

GridSpec SpecOf(const Case& c) {
  GridSpec spec;
  spec.code = c.code;
  spec.bits = c.bits;
  spec.zero = c.zero;
  spec.group = c.group;
  spec.scale_type = c.scale;
  spec.signed_scales = c.signed_scales;
  return spec;
}

// Two matrices of weights, their Gram matrices, factors and column orders.
struct Problem {
  Problem() {
    for (int64_t b = 0; b < kBatch; ++b) {
      const auto w = NormalNumbers<float>(kRows * kCols, 10 + b);
      targets.insert(targets.end(), w.begin(), w.end());
      AddMetric(static_cast<uint32_t>(20 + b));
      std::vector<int32_t> numbers(kCols);
      std::iota(numbers.begin(), numbers.end(), 0);
      std::shuffle(numbers.begin(), numbers.end(), std::mt19937(b + 1));
      order.insert(order.end(), numbers.begin(), numbers.end());
    }
    std::fill_n(targets.begin(), 70, 0.0f);  // groups of zeros too
  }

  // H of inputs that have something in common; M and D of H itself, as if it
  // stood in any order: feedback takes what it is given.
  void AddMetric(uint32_t seed) {
    const auto x = NormalNumbers<double>(2 * kCols * kCols, seed);
    std::vector<double> h(kCols * kCols, 0.0);
    for (int64_t i = 0; i < kCols; ++i) {
      for (int64_t j = 0; j < kCols; ++j) {
        for (int64_t r = 0; r < 2 * kCols; ++r) {
          h[i * kCols + j] += (x[r * kCols + i] + x[r * kCols]) *
                              (x[r * kCols + j] + x[r * kCols]) / kCols;
        }
      }
    }
    gram.insert(gram.end(), h.begin(), h.end());
    EXPECT_LT(FactorUpper(nullptr, kCols, h.data()).failed_at, 0);
    for (int64_t i = 0; i < kCols; ++i) {
      const double root = h[i * kCols + i];
      pivots.push_back(static_cast<float>(root * root));
    }
    const float* unit = UnitFactorInPlace(nullptr, kCols, h.data());
    m.insert(m.end(), unit, unit + kCols * kCols);
  }

  FeedbackFactor FactorOf(int64_t batch, bool ordered) const {
    FeedbackFactor factor;
    factor.n = kCols;
    factor.m = m.data() + batch * kCols * kCols;
    factor.pivots = pivots.data() + batch * kCols;
    if (ordered) {
      factor.order = absl::MakeConstSpan(order).subspan(
          static_cast<size_t>(batch * kCols), kCols);
    }
    return factor;
  }
  // Pivots by column.
  std::vector<float> Weights(bool ordered) const {
    std::vector<float> weights(pivots.size());
    for (size_t i = 0; i < weights.size(); ++i) {
      const size_t first = i / kCols * kCols;
      weights[first + (ordered ? static_cast<size_t>(order[i]) : i % kCols)] =
          pivots[i];
    }
    return weights;
  }

  std::vector<float> targets;
  std::vector<float> gram;
  std::vector<float> m;
  std::vector<float> pivots;
  std::vector<int32_t> order;
};

const Problem& TheProblem() {
  static const Problem& problem = *new Problem();
  return problem;
}

void ExpectSame(const GridRows& a, const GridRows& b, const std::string& what) {
  EXPECT_TRUE(SameBits(a.codes, b.codes)) << what << ": codes";
  EXPECT_TRUE(SameBits(a.scales, b.scales)) << what << ": scales";
  EXPECT_TRUE(SameBits(a.zeros, b.zeros)) << what << ": zeros";
}

double ErrorOf(const Problem& p, int64_t batch, const GridRows& rows) {
  std::vector<float> values(kRows * kCols);
  for (int64_t row = 0; row < kRows; ++row) {
    rows.Decode(row, values.data() + row * kCols);
  }
  return GramError(p.targets.data() + batch * kRows * kCols, values.data(),
                   kRows, kCols, p.gram.data() + batch * kCols * kCols,
                   nullptr);
}

// All of a solver's steps on one device, beside the processor's.
class Steps {
 public:
  Steps(const Problem& problem, const TestDevice& on, const GridSpec& spec)
      : p_(problem),
        on_(on),
        targets_(on.Upload(problem.targets)),
        gram_(on.Upload(problem.gram)),
        m_(on.Upload(problem.m)),
        rows_(kBatch, GridRows(spec, kRows, kCols)) {
    auto grid = DeviceGrid::New(on.device(), spec, kRows, kCols, kBatch);
    EXPECT_TRUE(grid.ok()) << grid.status();
    grid_ = *std::move(grid);
    EXPECT_TRUE(grid_->SetTargets(targets_.as<float>(), on.stream()).ok());
  }

  void Fit(const FitOptions& options, bool weighted) {
    const auto weights = p_.Weights(false);
    const DeviceBuffer d_weights = on_.Upload(weights);
    EXPECT_TRUE(grid_
                    ->FitGroups(weighted ? d_weights.as<float>() : nullptr,
                                options, on_.stream())
                    .ok());
    for (int64_t b = 0; b < kBatch; ++b) {
      FitGroups(Targets(b), kCols,
                weighted ? weights.data() + b * kCols : nullptr, options,
                &rows_[b], nullptr);
    }
    Compare("fit");
  }
  void Round() {
    EXPECT_TRUE(grid_->RoundRows(on_.stream()).ok());
    for (int64_t b = 0; b < kBatch; ++b) {
      RoundRows(Targets(b), kCols, &rows_[b], nullptr);
    }
    Compare("round");
  }
  void Feed(bool ordered, bool on_entry) {
    const DeviceBuffer d_weights = on_.Upload(p_.Weights(ordered));
    DeviceFeed feed;
    feed.m = m_.as<float>();
    if (ordered) {
      feed.order = p_.order;
    }
    feed.fit_on_entry = on_entry;
    feed.column_weights = d_weights.as<float>();
    EXPECT_TRUE(grid_->Feedback(feed, on_.stream()).ok());
    FeedbackOptions options;
    options.fit_on_entry = on_entry;
    for (int64_t b = 0; b < kBatch; ++b) {
      Feedback(Targets(b), p_.FactorOf(b, ordered), options, &rows_[b],
               nullptr);
    }
    Compare("feed");
    const auto errors = grid_->Errors(gram_.as<float>(), false, on_.stream());
    const auto energies = grid_->Errors(gram_.as<float>(), true, on_.stream());
    ASSERT_TRUE(errors.ok() && energies.ok());
    const std::vector<float> nothing(kRows * kCols);
    for (int64_t b = 0; b < kBatch; ++b) {
      EXPECT_EQ(errors->at(b), ErrorOf(p_, b, rows_[b]));
      EXPECT_EQ(energies->at(b),
                GramError(Targets(b), nothing.data(), kRows, kCols,
                          p_.gram.data() + b * kCols * kCols, nullptr));
    }
  }
  void Improve(int rounds, bool refit, bool sweep) {
    const auto errors =
        grid_->Descend(gram_.as<float>(), {rounds, refit, sweep}, on_.stream());
    ASSERT_TRUE(errors.ok()) << errors.status();
    for (int64_t b = 0; b < kBatch; ++b) {
      const DescentResult result =
          Descend(Targets(b), p_.gram.data() + b * kCols * kCols,
                  {rounds, refit, sweep}, &rows_[b], nullptr);
      EXPECT_EQ(errors->at(b).before, result.error_before);
      EXPECT_EQ(errors->at(b).after, result.error_after);
      EXPECT_LT(result.error_after, result.error_before);
    }
    Compare("descent");
  }

 private:
  const float* Targets(int64_t b) const {
    return p_.targets.data() + b * kRows * kCols;
  }
  void Compare(const std::string& what) {
    for (int64_t b = 0; b < kBatch; ++b) {
      GridRows got(rows_[b].spec, kRows, kCols);
      EXPECT_TRUE(grid_->Read(b, &got, on_.stream()).ok());
      ExpectSame(got, rows_[b], what);
    }
  }

  const Problem& p_;
  const TestDevice& on_;
  const DeviceBuffer targets_;
  const DeviceBuffer gram_;
  const DeviceBuffer m_;
  std::vector<GridRows> rows_;
  std::unique_ptr<DeviceGrid> grid_;
};

class DeviceGridTest : public testing::TestWithParam<Case> {};

TEST_P(DeviceGridTest, HasTheProcessorsBits) {
  const Problem& problem = TheProblem();
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    Steps steps(problem, on, SpecOf(GetParam()));
    steps.Fit({}, /*weighted=*/true);
    steps.Round();
    steps.Feed(/*ordered=*/true, /*on_entry=*/false);
    steps.Improve(2, true, true);
  }
}

TEST_P(DeviceGridTest, FitsOnEntering) {
  const Problem& problem = TheProblem();
  for (const TestDevice& on : TestDevices()) {
    Steps steps(problem, on, SpecOf(GetParam()));
    steps.Feed(/*ordered=*/false, /*on_entry=*/true);
    steps.Improve(1, false, true);
  }
}

TEST_P(DeviceGridTest, OtherSearches) {
  const Problem& problem = TheProblem();
  for (const TestDevice& on : TestDevices()) {
    Steps steps(problem, on, SpecOf(GetParam()));
    FitOptions options;
    options.search = FitOptions::Search::kShrink;
    steps.Fit(options, /*weighted=*/false);
    options.search = FitOptions::Search::kMinMax;
    options.symmetric = FitOptions::Symmetric::kRestricted;
    steps.Fit(options, /*weighted=*/false);
    steps.Round();
  }
}

// One matrix under several scales of columns, as transforms try them.
TEST_P(DeviceGridTest, ErrorsUnderScaledColumns) {
  const Problem& problem = TheProblem();
  const GridSpec spec = SpecOf(GetParam());
  std::vector<float> scales = NormalNumbers<float>(kBatch * kCols, 77);
  std::vector<float> weights = NormalNumbers<float>(kBatch * kCols, 78);
  for (size_t i = 0; i < scales.size(); ++i) {
    scales[i] = i % 3 == 0 ? 1.0f : 0.2f + std::fabs(scales[i]);
    weights[i] = 0.1f + std::fabs(weights[i]);
  }
  std::vector<double> expected;
  for (int64_t b = 0; b < kBatch; ++b) {
    const float* const s = scales.data() + b * kCols;
    std::vector<float> scaled(problem.targets.begin(),
                              problem.targets.begin() + kRows * kCols);
    for (size_t i = 0; i < scaled.size(); ++i) {
      scaled[i] *= s[i % kCols];
    }
    GridRows rows(spec, kRows, kCols);
    FitGroups(scaled.data(), kCols, weights.data() + b * kCols, {}, &rows,
              nullptr);
    RoundRows(scaled.data(), kCols, &rows, nullptr);
    for (int64_t r = 0; r < kRows; ++r) {
      rows.Decode(r, scaled.data() + r * kCols);
    }
    for (size_t i = 0; i < scaled.size(); ++i) {
      scaled[i] /= s[i % kCols];
    }
    expected.push_back(GramError(problem.targets.data(), scaled.data(), kRows,
                                 kCols, problem.gram.data(), nullptr));
  }
  for (const TestDevice& on : TestDevices()) {
    const DeviceBuffer rows = on.Upload(problem.targets);
    const DeviceBuffer d_scales = on.Upload(scales);
    const DeviceBuffer d_weights = on.Upload(weights);
    const DeviceBuffer gram = on.Upload(problem.gram);
    auto grid = DeviceGrid::New(on.device(), spec, kRows, kCols, kBatch,
                                DeviceGrid::Use::kRounding);
    ASSERT_TRUE(grid.ok());
    ASSERT_TRUE((*grid)
                    ->SetScaledTargets(rows.as<float>(), d_scales.as<float>(),
                                       on.stream())
                    .ok());
    ASSERT_TRUE(
        (*grid)->FitGroups(d_weights.as<float>(), {}, on.stream()).ok());
    ASSERT_TRUE((*grid)->RoundRows(on.stream()).ok());
    const auto errors = (*grid)->ScaledErrors(d_scales.as<float>(),
                                              gram.as<float>(), on.stream());
    ASSERT_TRUE(errors.ok());
    EXPECT_EQ(*errors, expected);
  }
}

INSTANTIATE_TEST_SUITE_P(All, DeviceGridTest, testing::ValuesIn(kCases),
                         [](const testing::TestParamInfo<Case>& info) {
                           return info.param.name;
                         });

// Feedback and descent of both matrices; errors before and after.
std::vector<DescentErrors> SolveWith(const TestDevice& on,
                                     StackedProducts* stacked,
                                     std::vector<GridRows>* rows) {
  const Problem& problem = TheProblem();
  const GridSpec spec = SpecOf(kCases[5]);  // groups of 64
  const DeviceBuffer targets = on.Upload(problem.targets);
  const DeviceBuffer gram = on.Upload(problem.gram);
  const DeviceBuffer m = on.Upload(problem.m);
  DeviceStream* const stream = on.stream();
  auto grid = DeviceGrid::New(on.device(), spec, kRows, kCols, kBatch);
  EXPECT_TRUE(grid.ok());
  (*grid)->MultiplyBy(stacked);
  EXPECT_TRUE((*grid)->SetTargets(targets.as<float>(), stream).ok());
  EXPECT_TRUE((*grid)->FitGroups(nullptr, {}, stream).ok());
  DeviceFeed feed;
  feed.m = m.as<float>();
  EXPECT_TRUE((*grid)->Feedback(feed, stream).ok());
  const auto errors = (*grid)->Descend(gram.as<float>(), {}, stream);
  EXPECT_TRUE(errors.ok()) << errors.status();
  for (int64_t b = 0; b < kBatch; ++b) {
    rows->emplace_back(spec, kRows, kCols);
    EXPECT_TRUE((*grid)->Read(b, &rows->back(), stream).ok());
  }
  return *errors;
}

TEST(DeviceGridStackedTest, TensorCoresChangeLastDigits) {
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    auto products = DeviceProducts::Open(on.device());
    ASSERT_TRUE(products.ok());
    StackedProducts stacked(on.device(), products->get());
    std::vector<GridRows> exact_rows, rows;
    const auto exact = SolveWith(on, nullptr, &exact_rows);
    const auto fast = SolveWith(on, &stacked, &rows);
    for (size_t b = 0; b < kBatch; ++b) {
      // Errors of 2^-16 seldom move a code; those that do were near a border.
      EXPECT_NEAR(fast[b].before / exact[b].before, 1, 0.01);
      EXPECT_NEAR(fast[b].after / exact[b].after, 1, 0.01);
      EXPECT_NE(fast[b].before, exact[b].before);
      int64_t n_other = 0;
      for (size_t i = 0; i < rows[b].codes.size(); ++i) {
        n_other += rows[b].codes[i] != exact_rows[b].codes[i];
      }
      EXPECT_LE(n_other, kRows * kCols / 50);
    }
  }
}

TEST(DeviceGridStateTest, OneMatrixTakesWhatTheOtherStateHas) {
  const Problem& problem = TheProblem();
  const GridSpec spec = SpecOf(kCases[0]);
  for (const TestDevice& on : TestDevices()) {
    const DeviceBuffer targets = on.Upload(problem.targets);
    auto grid = DeviceGrid::New(on.device(), spec, kRows, kCols, kBatch);
    ASSERT_TRUE(grid.ok());
    GridRows first(spec, kRows, kCols);
    GridRows second = first;
    std::fill(first.codes.begin(), first.codes.end(), uint8_t{3});
    std::fill(second.scales.begin(), second.scales.end(), 0.5f);
    DeviceStream* const stream = on.stream();
    for (const int64_t b : {0, 1}) {
      ASSERT_TRUE((*grid)->Write(b, first, stream).ok());
    }
    ASSERT_TRUE((*grid)->CopyToOther(stream).ok());
    for (const int64_t b : {0, 1}) {
      ASSERT_TRUE((*grid)->Write(b, second, stream).ok());
    }
    ASSERT_TRUE((*grid)->TakeFromOther({0, 1}, stream).ok());
    GridRows got(spec, kRows, kCols);
    ASSERT_TRUE((*grid)->Read(0, &got, stream).ok());
    ExpectSame(got, second, "kept");
    ASSERT_TRUE((*grid)->Read(1, &got, stream).ok());
    ExpectSame(got, first, "taken");
    (*grid)->Swap();
    ASSERT_TRUE((*grid)->Read(0, &got, stream).ok());
    ExpectSame(got, first, "swapped");
  }
}

}  // namespace
}  // namespace narrow
