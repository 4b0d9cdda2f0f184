#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "converter/solvers/transforms/fold_scales.h"
#include "converter/solvers/transforms/transform.h"
#include "formats/packing/scale_type.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr int64_t kCols = 64;
constexpr int64_t kRows = 48;
constexpr int64_t kTokens = 400;

// Two layers and a router fed by inputs a few of whose columns are large.
struct Inputs {
  explicit Inputs(WeightScheme scheme, float outlier = 20) : pool(2) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t j = 0; j < kCols; ++j) {
        x.push_back(normal(random) * (j % 13 == 0 ? outlier : 1.0f));
      }
    }
    for (auto* weights : {&first, &second, &router}) {
      for (int64_t i = 0; i < kRows * kCols; ++i) {
        weights->push_back(0.1f * normal(random));
      }
    }
    stats.n_cols = kCols;
    stats.n_rows = kTokens;
    stats.sum_sq.assign(kCols, 0);
    stats.sum_abs.assign(kCols, 0);
    stats.max_abs.assign(kCols, 0);
    stats.gram.assign(kCols * kCols, 0);
    for (size_t t = 0; t < kTokens; ++t) {
      for (size_t i = 0; i < kCols; ++i) {
        const float v = x[t * kCols + i];
        stats.sum_sq[i] += double{v} * double{v};
        stats.sum_abs[i] += std::fabs(double{v});
        stats.max_abs[i] = std::max(stats.max_abs[i], std::fabs(v));
        stats.max_value = std::max(stats.max_value, v);
        stats.min_value = std::min(stats.min_value, v);
        for (size_t j = 0; j < kCols; ++j) {
          stats.gram[i * kCols + j] += double{v} * double{x[t * kCols + j]};
        }
      }
    }
    group.members = {{"first", first.data(), kRows, true, scheme},
                     {"second", second.data(), kRows, true, scheme},
                     {"router", router.data(), kRows, false, {}}};
    group.n_cols = kCols;
    group.stats = &stats;
  }

  std::vector<float> x, first, second, router;
  LayerStats stats;
  TransformGroup group;
  TransformOptions options;
  ThreadPool pool;
};

WeightScheme Int4() {
  WeightScheme scheme;
  scheme.block_cols = 32;
  scheme.zero = ZeroKind::kInteger;
  return scheme;
}

WeightScheme W8A8() {
  WeightScheme scheme;
  scheme.bits = 8;
  scheme.block_cols = 0;
  scheme.scale_type = QuantType::kF32;
  scheme.activations = ActivationKind::kDynamicInt8;
  return scheme;
}

struct Case {
  const char* name;
  WeightScheme scheme;
  double alpha;
};

class TransformTest : public testing::TestWithParam<Case> {
 protected:
  absl::StatusOr<GroupScales> Run(Inputs* inputs) const {
    inputs->options.alpha = GetParam().alpha;
    return FindTransform(GetParam().name)
        ->run(inputs->group, inputs->options, &inputs->pool);
  }
};

TEST_P(TransformTest, LowersTheErrorOfOutliers) {
  Inputs inputs(GetParam().scheme);
  // A search would favour large columns by itself.
  inputs.options.fit.search = FitOptions::Search::kMinMax;
  const auto scales = Run(&inputs);
  ASSERT_TRUE(scales.ok()) << scales.status();
  ASSERT_EQ(scales->scales.size(), static_cast<size_t>(kCols));
  EXPECT_LT(scales->error_after, 0.7 * scales->error_before);
  EXPECT_GT(scales->error_after, 0);
  for (const float scale : scales->scales) {
    EXPECT_TRUE(std::isfinite(scale) && scale > 0) << scale;
  }
  // The large columns are scaled more.
  EXPECT_GT(scales->scales[13], 2 * scales->scales[14]);
}

TEST_P(TransformTest, ColumnsOfAClassGetOneScale) {
  Inputs inputs(GetParam().scheme);
  for (int32_t j = 0; j < kCols; ++j) {
    inputs.group.column_class.push_back(j / 32 * 16 + j % 16);
  }
  const auto scales = Run(&inputs);
  ASSERT_TRUE(scales.ok()) << scales.status();
  for (size_t j = 0; j < scales->scales.size(); ++j) {
    EXPECT_EQ(scales->scales[j], scales->scales[j / 32 * 32 + j % 16]);
  }
}

TEST_P(TransformTest, ThreadsChangeNothing) {
  Inputs inputs(GetParam().scheme);
  const auto two = Run(&inputs);
  ThreadPool one(1);
  const auto alone =
      FindTransform(GetParam().name)->run(inputs.group, inputs.options, &one);
  ASSERT_TRUE(two.ok() && alone.ok());
  EXPECT_EQ(two->scales, alone->scales);
  EXPECT_EQ(two->error_after, alone->error_after);
}

TEST_P(TransformTest, WithoutTokensNothingIsScaled) {
  Inputs inputs(GetParam().scheme);
  inputs.stats.n_rows = 0;
  const auto scales = Run(&inputs);
  ASSERT_TRUE(scales.ok()) << scales.status();
  EXPECT_TRUE(scales->scales.empty());
  inputs.group.stats = nullptr;
  EXPECT_EQ(Run(&inputs).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_P(TransformTest, DeadAndEqualColumnsAreNoTrouble) {
  Inputs inputs(GetParam().scheme);
  for (size_t j = 0; j < 8; ++j) {
    inputs.stats.sum_sq[j] = inputs.stats.sum_abs[j] = 0;
    inputs.stats.max_abs[j] = 0;
    for (size_t i = 0; i < kCols; ++i) {
      inputs.stats.gram[i * kCols + j] = inputs.stats.gram[j * kCols + i] = 0;
    }
    for (size_t r = 0; r < kRows; ++r) {
      inputs.first[r * kCols + j] = inputs.second[r * kCols + j] = 0;
    }
  }
  const auto scales = Run(&inputs);
  ASSERT_TRUE(scales.ok()) << scales.status();
  for (const float scale : scales->scales) {
    EXPECT_TRUE(std::isfinite(scale) && scale > 0) << scale;
  }
}

TEST_P(TransformTest, NamesStatisticsThatAreNoNumbers) {
  Inputs inputs(GetParam().scheme);
  inputs.stats.gram[5] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(Run(&inputs).status().code(), absl::StatusCode::kDataLoss);
  Inputs bad(GetParam().scheme);
  bad.second[70] = std::numeric_limits<float>::infinity();
  const auto status = Run(&bad).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), "'second'")) << status;
}

INSTANTIATE_TEST_SUITE_P(Transforms, TransformTest,
                         testing::Values(Case{"awq", Int4(), 0},
                                         Case{"smoothquant", W8A8(), 0.5},
                                         Case{"smoothquant", W8A8(), -1}),
                         [](const testing::TestParamInfo<Case>& info) {
                           return std::string(info.param.name) +
                                  (info.param.alpha < 0 ? "_searched" : "");
                         });

TEST(SmoothQuant, ASearchedAlphaIsNoWorseThanAFixedOne) {
  for (float outlier : {1.0f, 5.0f, 100.0f}) {
    Inputs inputs(W8A8(), outlier);
    const Transform* smoothquant = FindTransform("smoothquant");
    inputs.options.alpha = -1;
    const auto searched =
        smoothquant->run(inputs.group, inputs.options, &inputs.pool);
    inputs.options.alpha = 0.5;
    const auto fixed =
        smoothquant->run(inputs.group, inputs.options, &inputs.pool);
    ASSERT_TRUE(searched.ok() && fixed.ok());
    EXPECT_LE(searched->error_after, fixed->error_after);
  }
}

TEST(FoldScales, NormAndWeightsComputeTheSame) {
  for (float offset : {0.0f, 1.0f}) {
    for (QuantType type :
         {QuantType::kBF16, QuantType::kF16, QuantType::kF32}) {
      std::vector<float> norm, scales;
      for (int j = 0; j < 40; ++j) {
        norm.push_back(RoundToScaleType(
            type, 0.37f * static_cast<float>(j - 15) / 7 - offset));
        scales.push_back(std::exp(0.3f * static_cast<float>(j % 11 - 5)));
      }
      norm[3] = -offset;  // a factor of 0
      std::vector<float> folded = norm;
      FoldIntoNorm(offset, type, absl::MakeSpan(folded),
                   absl::MakeSpan(scales));
      for (size_t j = 0; j < norm.size(); ++j) {
        EXPECT_EQ(folded[j], RoundToScaleType(type, folded[j]));
        EXPECT_GT(scales[j], 0);
        // One rounding each of the sum, the quotient and the product.
        EXPECT_NEAR((folded[j] + offset) * scales[j], norm[j] + offset,
                    3e-7 * std::fabs(double{norm[j]} + double{offset}));
      }
      EXPECT_EQ(folded[3], norm[3]);
      EXPECT_EQ(scales[3], 1);
    }
  }
}

TEST(FoldScales, RowsThatFeedColumnsAreDivided) {
  // Columns 0 ... 3 are fed by rows 2, 2, 0, 0 of four.
  const std::vector<float> scales = {2, 2, 8, 8};
  const std::vector<float> rows = ScalesOfRows(scales, {2, 2, 0, 0}, 4);
  EXPECT_EQ(rows, (std::vector<float>{8, 1, 2, 1}));
  EXPECT_EQ(ScalesOfRows(scales, {}, 4), scales);
  std::vector<float> weights = {8, 16, 1, 2, 2, 4, 3, 4};
  DivideRows(rows, 2, weights.data());
  EXPECT_EQ(weights, (std::vector<float>{1, 2, 1, 2, 1, 2, 3, 4}));
  ScaleColumns({2, 3}, 4, weights.data());
  EXPECT_EQ(weights, (std::vector<float>{2, 6, 2, 6, 2, 6, 6, 12}));
}

TEST(FoldScales, StatisticsAreThoseOfTheDividedInputs) {
  Inputs inputs(Int4());
  std::vector<float> scales;
  for (int j = 0; j < kCols; ++j) {
    scales.push_back(std::ldexp(1.0f, j % 5 - 2));  // divides exactly
  }
  inputs.stats.cross = inputs.stats.gram;
  // Two outputs of a residual stream, and two rows held out.
  inputs.stats.residual.assign(2 * kCols, 3.0);
  auto rows = std::make_shared<HeldOutRows>();
  rows->n_rows = 2;
  rows->inputs.assign(inputs.x.begin(), inputs.x.begin() + 2 * kCols);
  rows->originals.assign(2 * kCols, 5.0f);
  rows->residual.assign(2 * 7, 11.0f);
  rows->weights = {1.0f, 2.0f};
  inputs.stats.held_out = rows;
  const LayerStats scaled = ScaleStats(inputs.stats, scales);
  ASSERT_NE(scaled.held_out, nullptr);
  EXPECT_EQ(scaled.held_out->residual, rows->residual);
  EXPECT_EQ(scaled.held_out->weights, rows->weights);
  for (size_t i = 0; i < 2 * kCols; ++i) {
    EXPECT_EQ(scaled.residual[i], 3.0 / double{scales[i % kCols]});
    EXPECT_EQ(scaled.held_out->inputs[i], rows->inputs[i] / scales[i % kCols]);
    EXPECT_EQ(scaled.held_out->originals[i], 5.0f / scales[i % kCols]);
  }
  EXPECT_EQ(rows->originals[0], 5.0f);  // theirs is as it was
  float top = 0;
  for (size_t j = 0; j < kCols; ++j) {
    double square = 0;
    double sum = 0;
    double product = 0;
    float most = 0;
    for (size_t t = 0; t < kTokens; ++t) {
      const float v = inputs.x[t * kCols + j] / scales[j];
      square += double{v} * double{v};
      sum += std::fabs(double{v});
      most = std::max(most, std::fabs(v));
      product += double{v} * double{inputs.x[t * kCols + 1] / scales[1]};
    }
    top = std::max(top, most);
    EXPECT_DOUBLE_EQ(scaled.sum_sq[j], square);
    EXPECT_DOUBLE_EQ(scaled.sum_abs[j], sum);
    EXPECT_EQ(scaled.max_abs[j], most);
    EXPECT_DOUBLE_EQ(scaled.gram[j * kCols + 1], product);
    EXPECT_DOUBLE_EQ(scaled.cross[kCols + j], product);
  }
  EXPECT_EQ(scaled.max_value, top);
  EXPECT_EQ(scaled.min_value, -top);
}

}  // namespace
}  // namespace narrow
