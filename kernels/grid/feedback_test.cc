#include "kernels/grid/feedback.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/grid/grid_kernels.h"
#include "kernels/grid/grid_rules.h"

namespace narrow {
namespace {

constexpr unsigned kSeed = 20261122;

std::vector<float> Normal(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) {
    v = normal(random);
  }
  return values;
}

// H = M D M^T, and H itself, of inputs that have much in common.
struct Metric {
  int64_t n = 0;
  std::vector<float> m;
  std::vector<float> pivots;
  std::vector<float> gram;
};

// A plain factorization, written from the definition: the last column first.
Metric MakeMetric(int64_t n, unsigned seed) {
  const int64_t n_rows = 3 * n;
  const std::vector<float> x = Normal(n_rows * n, seed);
  const std::vector<float> shared = Normal(n_rows, seed + 1);
  std::vector<double> h(static_cast<size_t>(n * n), 0.0);
  for (int64_t r = 0; r < n_rows; ++r) {
    std::vector<double> row(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
      row[static_cast<size_t>(i)] =
          (double{x[static_cast<size_t>(r * n + i)]} +
           2 * double{shared[static_cast<size_t>(r)]}) *
          (i % 7 == 0 ? 4 : 1);
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        h[static_cast<size_t>(i * n + j)] += row[static_cast<size_t>(i)] *
                                             row[static_cast<size_t>(j)] /
                                             static_cast<double>(n_rows);
      }
    }
  }
  Metric metric;
  metric.n = n;
  metric.gram.assign(h.begin(), h.end());
  metric.m.assign(h.size(), 0.0f);
  metric.pivots.resize(static_cast<size_t>(n));
  for (int64_t j = n - 1; j >= 0; --j) {
    const double pivot = h[static_cast<size_t>(j * n + j)];
    metric.pivots[static_cast<size_t>(j)] = static_cast<float>(pivot);
    for (int64_t i = 0; i <= j; ++i) {
      metric.m[static_cast<size_t>(i * n + j)] =
          static_cast<float>(h[static_cast<size_t>(i * n + j)] / pivot);
    }
    for (int64_t i = 0; i < j; ++i) {
      for (int64_t k = 0; k < j; ++k) {
        h[static_cast<size_t>(i * n + k)] -= h[static_cast<size_t>(i * n + j)] *
                                             h[static_cast<size_t>(k * n + j)] /
                                             pivot;
      }
    }
  }
  return metric;
}

FeedbackFactor FactorOf(const Metric& metric) {
  FeedbackFactor factor;
  factor.n = metric.n;
  factor.m = metric.m.data();
  factor.pivots = metric.pivots.data();
  return factor;
}

double ErrorOf(const std::vector<float>& targets, const GridRows& rows,
               const std::vector<float>& gram) {
  std::vector<float> values(targets.size());
  for (int64_t row = 0; row < rows.n_rows; ++row) {
    rows.Decode(row, values.data() + row * rows.n_cols);
  }
  return GramError(targets.data(), values.data(), rows.n_rows, rows.n_cols,
                   gram.data(), nullptr);
}

struct Case {
  const char* name;
  CodeKind code;
  int bits;
  ZeroKind zero;
  int64_t group;
  QuantType scale;
};

const Case kCases[] = {
    {"int4_g32", CodeKind::kInteger, 4, ZeroKind::kNone, 32, QuantType::kF16},
    {"int2_signed", CodeKind::kInteger, 2, ZeroKind::kNone, 32,
     QuantType::kF16},
    {"int3_g50_zero", CodeKind::kInteger, 3, ZeroKind::kInteger, 50,
     QuantType::kF16},
    {"int2_g16_zero", CodeKind::kInteger, 2, ZeroKind::kInteger, 16,
     QuantType::kBF16},
    {"int4_row", CodeKind::kInteger, 4, ZeroKind::kNone, 0, QuantType::kF32},
    {"int4_row_zero", CodeKind::kInteger, 4, ZeroKind::kInteger, 0,
     QuantType::kF16},
    {"int4_float_zero", CodeKind::kInteger, 4, ZeroKind::kFloat, 64,
     QuantType::kF16},
    {"mxfp4", CodeKind::kE2M1, 4, ZeroKind::kNone, 32, QuantType::kF8E8M0},
    {"fp8", CodeKind::kE4M3, 8, ZeroKind::kNone, 0, QuantType::kF32},
    {"nf4", CodeKind::kNf4, 4, ZeroKind::kNone, 64, QuantType::kF32},
};

GridSpec SpecOf(const Case& c) {
  GridSpec spec;
  spec.code = c.code;
  spec.bits = c.bits;
  spec.zero = c.zero;
  spec.group = c.group;
  spec.scale_type = c.scale;
  spec.signed_scales = std::string(c.name).find("signed") != std::string::npos;
  return spec;
}

class FeedbackTest : public testing::TestWithParam<Case> {};

std::string NameOf(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(AllGrids, FeedbackTest, testing::ValuesIn(kCases),
                         NameOf);

constexpr int64_t kRows = 37;
constexpr int64_t kCols = 140;

// The definition, in double and without blocks.
TEST_P(FeedbackTest, CodesAreThoseOfTheDefinition) {
  const Metric metric = MakeMetric(kCols, kSeed);
  const std::vector<float> targets = Normal(kRows * kCols, kSeed + 2);
  GridRows rows(SpecOf(GetParam()), kRows, kCols);
  FitGroups(targets.data(), kCols, nullptr, {}, &rows, nullptr);
  FeedbackOptions options;
  options.fit_on_entry = false;
  Feedback(targets.data(), FactorOf(metric), options, &rows, nullptr);

  std::vector<float> values(static_cast<size_t>(kCols));
  int n_other = 0;
  for (int64_t row = 0; row < kRows; ++row) {
    rows.Decode(row, values.data());
    GridRows one(SpecOf(GetParam()), 1, kCols);
    const auto groups = rows.scales.begin() + row * rows.n_groups;
    one.scales.assign(groups, groups + rows.n_groups);
    if (!rows.zeros.empty()) {
      const auto zeros = rows.zeros.begin() + row * rows.n_groups;
      one.zeros.assign(zeros, zeros + rows.n_groups);
    }
    std::vector<float> wanted(static_cast<size_t>(kCols));
    std::vector<float> nearest(static_cast<size_t>(kCols));
    for (int64_t j = 0; j < kCols; ++j) {
      double target = double{targets[static_cast<size_t>(row * kCols + j)]};
      for (int64_t k = 0; k < j; ++k) {
        target += (double{targets[static_cast<size_t>(row * kCols + k)]} -
                   double{values[static_cast<size_t>(k)]}) *
                  double{metric.m[static_cast<size_t>(k * kCols + j)]};
      }
      wanted[static_cast<size_t>(j)] = static_cast<float>(target);
    }
    RoundRows(wanted.data(), kCols, &one, nullptr);
    one.Decode(0, nearest.data());
    for (size_t j = 0; j < nearest.size(); ++j) {
      n_other += nearest[j] != values[j];
    }
  }
  // Float32 and double may fall on two sides of a middle.
  EXPECT_LE(n_other, 4);
}

TEST_P(FeedbackTest, IsBetterThanRoundingAndDescentBetterYet) {
  const Metric metric = MakeMetric(kCols, kSeed);
  const std::vector<float> targets = Normal(kRows * kCols, kSeed + 2);
  GridRows nearest(SpecOf(GetParam()), kRows, kCols);
  FitGroups(targets.data(), kCols, nullptr, {}, &nearest, nullptr);
  RoundRows(targets.data(), kCols, &nearest, nullptr);
  const double rounded = ErrorOf(targets, nearest, metric.gram);
  for (const bool on_entry : {false, true}) {
    GridRows rows = nearest;
    FeedbackOptions options;
    options.fit_on_entry = on_entry;
    Feedback(targets.data(), FactorOf(metric), options, &rows, nullptr);
    const double fed = ErrorOf(targets, rows, metric.gram);
    EXPECT_LT(fed, 0.8 * rounded);
    const DescentResult d =
        Descend(targets.data(), metric.gram.data(), {}, &rows, nullptr);
    // (Products in float32.)
    EXPECT_NEAR(d.error_before, fed, 1e-4 * fed);
    EXPECT_LT(d.error_after, d.error_before);
    EXPECT_NEAR(d.error_after, ErrorOf(targets, rows, metric.gram),
                1e-4 * d.error_after);
  }
}

TEST_P(FeedbackTest, NoRowGetsWorse) {
  const Metric metric = MakeMetric(kCols, kSeed);
  const std::vector<float> targets = Normal(kRows * kCols, kSeed + 3);
  for (const bool refit : {false, true}) {
    GridRows rows(SpecOf(GetParam()), kRows, kCols);
    FitGroups(targets.data(), kCols, nullptr, {}, &rows, nullptr);
    RoundRows(targets.data(), kCols, &rows, nullptr);
    const GridRows before = rows;
    DescendOptions options;
    options.refit = refit;
    options.sweep = !refit;
    Descend(targets.data(), metric.gram.data(), options, &rows, nullptr);
    std::vector<float> was(static_cast<size_t>(kCols));
    std::vector<float> is(static_cast<size_t>(kCols));
    for (int64_t row = 0; row < kRows; ++row) {
      before.Decode(row, was.data());
      rows.Decode(row, is.data());
      const auto error = [&](const std::vector<float>& values) {
        return GramError(targets.data() + row * kCols, values.data(), 1, kCols,
                         metric.gram.data(), nullptr);
      };
      EXPECT_LE(error(is), error(was)) << row;
    }
    if (refit) {
      EXPECT_EQ(rows.codes, before.codes);
    } else {
      EXPECT_EQ(rows.scales, before.scales);
    }
  }
}

TEST_P(FeedbackTest, IdentityIsRounding) {
  Metric metric;
  metric.n = kCols;
  metric.m.assign(static_cast<size_t>(kCols * kCols), 0.0f);
  for (int64_t j = 0; j < kCols; ++j) {
    metric.m[static_cast<size_t>(j * kCols + j)] = 1;
  }
  metric.gram = metric.m;
  for (float& g : metric.gram) {
    g *= 3;
  }
  metric.pivots.assign(static_cast<size_t>(kCols), 3.0f);
  const std::vector<float> targets = Normal(kRows * kCols, kSeed + 4);
  GridRows nearest(SpecOf(GetParam()), kRows, kCols);
  FitGroups(targets.data(), kCols, nullptr, {}, &nearest, nullptr);
  RoundRows(targets.data(), kCols, &nearest, nullptr);
  std::vector<int32_t> order(static_cast<size_t>(kCols));
  std::iota(order.rbegin(), order.rend(), 0);
  FeedbackFactor factor = FactorOf(metric);
  factor.order = order;
  GridRows rows = nearest;
  FeedbackOptions options;
  options.fit_on_entry = false;
  Feedback(targets.data(), factor, options, &rows, nullptr);
  EXPECT_EQ(rows.codes, nearest.codes);
  DescendOptions sweep;
  sweep.refit = false;
  Descend(targets.data(), metric.gram.data(), sweep, &rows, nullptr);
  EXPECT_EQ(rows.codes, nearest.codes);
}

TEST_P(FeedbackTest, ThreadsDoNotShow) {
  const Metric metric = MakeMetric(kCols, kSeed);
  constexpr int64_t kMany = 150;  // panels of 16, of 32 and of 64 rows
  const std::vector<float> targets = Normal(kMany * kCols, kSeed + 5);
  std::vector<GridRows> results;
  for (const int n_threads : {1, 2, 8}) {
    ThreadPool pool(n_threads);
    GridRows rows(SpecOf(GetParam()), kMany, kCols);
    Feedback(targets.data(), FactorOf(metric), {}, &rows, &pool);
    Descend(targets.data(), metric.gram.data(), {}, &rows, &pool);
    results.push_back(rows);
    EXPECT_EQ(rows.codes, results[0].codes) << n_threads;
    EXPECT_EQ(rows.scales, results[0].scales) << n_threads;
    EXPECT_EQ(rows.zeros, results[0].zeros) << n_threads;
  }
}

// The kernels of all instruction sets on one group.
TEST_P(FeedbackTest, VariantsAreBitEqual) {
  const GridRules rules = MakeGridRules(SpecOf(GetParam()));
  constexpr int64_t kLanes = 64;
  constexpr int64_t kN = 70;
  const Metric metric = MakeMetric(kN, kSeed);
  const std::vector<float> panel = Normal(kN * kLanes, kSeed + 6);
  const std::vector<int32_t> groups(kN, 0);
  std::vector<int32_t> numbers(kN);
  std::iota(numbers.begin(), numbers.end(), 0);
  std::vector<float> ones(kN, 0.0f);
  for (int64_t j = 0; j < kN; ++j) {
    for (int64_t k = 0; k < kN; ++k) {
      ones[static_cast<size_t>(j)] +=
          metric.gram[static_cast<size_t>(j * kN + k)];
    }
  }
  std::vector<std::vector<float>> results;
  for (const GridKernels* kernels : AllGridKernels()) {
    if (kernels->isa > CpuIsa()) {
      continue;
    }
    std::vector<float> scales(kLanes, 0.25f);
    std::vector<float> zeros(kLanes, rules.fixed_zero);
    std::vector<float> values(kN * kLanes);
    std::vector<float> errors(kN * kLanes);
    std::vector<float> gradient(kN * kLanes, 0.0f);
    std::vector<float> levels(kN * kLanes);
    std::vector<float> curvature(kN * kLanes);
    std::vector<uint8_t> codes(kN * kLanes);
    GridFeed feed;
    feed.n = kN;
    feed.ld = kLanes;
    feed.compensated = panel.data();
    feed.originals = panel.data();
    feed.m = metric.m.data();
    feed.m_stride = kN;
    feed.groups = groups.data();
    feed.scales = scales.data();
    feed.zeros = zeros.data();
    feed.errors = errors.data();
    feed.codes = codes.data();
    kernels->feed(rules, feed);
    kernels->decode(rules, codes.data(), kLanes, kN, scales.data(),
                    zeros.data(), values.data());
    for (float& e : errors) {
      e = -e;
    }
    kernels->add_products(metric.gram.data(), kN, numbers.data(), kN,
                          errors.data(), 0, kN, gradient.data(), kLanes);
    GroupBlock block;
    block.n = kN;
    block.ld = kLanes;
    block.h = metric.gram.data();
    block.h_stride = kN;
    block.ones = ones.data();
    block.scales = scales.data();
    block.zeros = zeros.data();
    block.codes = codes.data();
    block.values = values.data();
    block.gradient = gradient.data();
    block.levels = levels.data();
    block.curvature = curvature.data();
    kernels->refit(rules, block);
    kernels->sweep(rules, block);
    std::vector<float> result = scales;
    result.insert(result.end(), zeros.begin(), zeros.end());
    result.insert(result.end(), values.begin(), values.end());
    result.insert(result.end(), gradient.begin(), gradient.end());
    results.push_back(result);
    EXPECT_EQ(result, results[0]) << kernels->name;
  }
}

TEST(FeedbackTest, TwoEqualInputsShareAnError) {
  // The example at the head of converter/solvers/gptq.cc.
  const std::vector<float> m = {1, 1, 0, 1};
  const std::vector<float> pivots = {1e-3f, 1};
  const std::vector<float> targets = {0.4f, 0.4f};
  GridSpec spec;
  spec.group = 0;
  GridRows rows(spec, 1, 2);
  FeedbackFactor factor;
  factor.n = 2;
  factor.m = m.data();
  factor.pivots = pivots.data();
  FeedbackOptions options;
  options.fit_on_entry = false;
  Feedback(targets.data(), factor, options, &rows, nullptr);
  EXPECT_EQ(rows.codes, (std::vector<uint8_t>{8, 9}));
}

TEST(FeedbackTest, RefitFindsTheScaleThatCodesWereMadeWith) {
  // Codes are right, the scale is not: one refit puts it right.
  const Metric metric = MakeMetric(64, kSeed);
  for (const ZeroKind zero : {ZeroKind::kNone, ZeroKind::kInteger}) {
    GridSpec spec;
    spec.group = 0;
    spec.zero = zero;
    GridRows rows(spec, 5, 64);
    std::mt19937 random(kSeed);
    for (uint8_t& code : rows.codes) {
      code = static_cast<uint8_t>(random() % 16);
    }
    std::fill(rows.scales.begin(), rows.scales.end(), 0.125f);
    std::vector<float> targets(5 * 64);
    for (int64_t row = 0; row < 5; ++row) {
      rows.Decode(row, targets.data() + row * 64);
    }
    for (size_t i = 0; i < rows.scales.size(); ++i) {
      rows.scales[i] = i % 2 == 0 ? 0.15f : 0.11f;
      if (!rows.zeros.empty()) {
        rows.zeros[i] += i % 3 == 0 ? 1.0f : 0.0f;
      }
    }
    DescendOptions options;
    options.sweep = false;
    options.rounds = 1;
    const DescentResult d =
        Descend(targets.data(), metric.gram.data(), options, &rows, nullptr);
    EXPECT_LT(d.error_after, 1e-9 * d.error_before);
  }
}

TEST(FeedbackTest, ErrorIsThatOfTheDefinition) {
  const Metric metric = MakeMetric(30, kSeed);
  const std::vector<float> a = Normal(20 * 30, kSeed);
  const std::vector<float> b = Normal(20 * 30, kSeed + 1);
  double wanted = 0;
  for (size_t row = 0; row < 20; ++row) {
    for (size_t i = 0; i < 30; ++i) {
      for (size_t j = 0; j < 30; ++j) {
        wanted += (double{a[row * 30 + i]} - double{b[row * 30 + i]}) *
                  double{metric.gram[i * 30 + j]} *
                  (double{a[row * 30 + j]} - double{b[row * 30 + j]});
      }
    }
  }
  EXPECT_NEAR(
      GramError(a.data(), b.data(), 20, 30, metric.gram.data(), nullptr),
      wanted, 1e-5 * wanted);
}

}  // namespace
}  // namespace narrow
