#include "kernels/grid/grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "formats/packing/scale_type.h"
#include "kernels/grid/grid_kernels.h"
#include "kernels/grid/grid_rules.h"

namespace narrow {
namespace {

constexpr unsigned kSeed = 20261122;

std::vector<float> RandomWeights(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> weights(static_cast<size_t>(n));
  for (float& w : weights) {
    w = normal(random);
    if (random() % 61 == 0) {
      w *= 6;
    }
  }
  return weights;
}

struct Case {
  const char* name;
  CodeKind code;
  int bits;
  ZeroKind zero;
  int64_t group;
  QuantType scale;
  float global_scale;
  int zero_low;
};

GridSpec SpecOf(const Case& c) {
  GridSpec spec;
  spec.code = c.code;
  spec.bits = c.bits;
  spec.zero = c.zero;
  spec.group = c.group;
  spec.scale_type = c.scale;
  spec.global_scale = c.global_scale;
  spec.zero_low = c.zero_low;
  spec.signed_scales = std::string(c.name).find("signed") != std::string::npos;
  return spec;
}

const Case kCases[] = {
    {"int4", CodeKind::kInteger, 4, ZeroKind::kNone, 32, QuantType::kF16, 1, 0},
    {"int3_signed", CodeKind::kInteger, 3, ZeroKind::kNone, 32, QuantType::kF16,
     1, 0},
    {"int3_zero", CodeKind::kInteger, 3, ZeroKind::kInteger, 50,
     QuantType::kBF16, 1, 1},
    {"int2_zero", CodeKind::kInteger, 2, ZeroKind::kInteger, 16,
     QuantType::kF16, 1, 0},
    {"int8_row", CodeKind::kInteger, 8, ZeroKind::kNone, 0, QuantType::kF32, 1,
     0},
    {"int1_zero", CodeKind::kInteger, 1, ZeroKind::kInteger, 64,
     QuantType::kF16, 1, 0},
    {"int4_float_zero", CodeKind::kInteger, 4, ZeroKind::kFloat, 64,
     QuantType::kBF16, 1, 0},
    {"mxfp4", CodeKind::kE2M1, 4, ZeroKind::kNone, 32, QuantType::kF8E8M0, 1,
     0},
    {"nvfp4", CodeKind::kE2M1, 4, ZeroKind::kNone, 16, QuantType::kF8E4M3,
     17000, 0},
    {"fp8", CodeKind::kE4M3, 8, ZeroKind::kNone, 0, QuantType::kBF16, 1, 0},
    {"nf4", CodeKind::kNf4, 4, ZeroKind::kNone, 64, QuantType::kF32, 1, 0},
    {"fp4", CodeKind::kFp4, 4, ZeroKind::kNone, 64, QuantType::kF32, 1, 0},
};

class GridTest : public testing::TestWithParam<Case> {};

std::string NameOf(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(AllGrids, GridTest, testing::ValuesIn(kCases), NameOf);

constexpr int64_t kRows = 21;  // a panel and a part
constexpr int64_t kCols = 150;

float LevelOf(const GridRows& rows, int code, float zero) {
  return CodeTable(rows.spec.code)[code] -
         (rows.spec.code == CodeKind::kInteger ? zero : 0);
}

float ZeroOf(const GridRows& rows, size_t group) {
  return rows.zeros.empty() ? static_cast<float>(1 << (rows.spec.bits - 1))
                            : rows.zeros[group];
}

TEST_P(GridTest, ScalesAndZerosAreLegal) {
  ThreadPool pool(2);
  std::vector<float> weights = RandomWeights(kRows * kCols, kSeed);
  // Weights of every size, and none at all.
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t j = 0; j < kCols; ++j) {
      weights[static_cast<size_t>(row * kCols + j)] *=
          row == 3 ? 0 : std::ldexp(1.0f, static_cast<int>(row * 10 - 100));
    }
  }
  for (const auto search :
       {FitOptions::Search::kMinMax, FitOptions::Search::kShrink,
        FitOptions::Search::kLeastSquares}) {
    GridRows rows(SpecOf(GetParam()), kRows, kCols);
    FitOptions options;
    options.search = search;
    FitGroups(weights.data(), kCols, nullptr, options, &rows, &pool);
    RoundRows(weights.data(), kCols, &rows, &pool);
    for (const float scale : rows.scales) {
      EXPECT_NE(scale, 0);
      EXPECT_TRUE(scale > 0 || rows.spec.signed_scales) << scale;
      EXPECT_TRUE(std::isfinite(scale));
      EXPECT_EQ(RoundToScaleType(rows.spec.scale_type, scale), scale);
    }
    for (const float zero : rows.zeros) {
      if (rows.spec.zero == ZeroKind::kFloat) {
        EXPECT_EQ(RoundToScaleType(rows.spec.scale_type, zero), zero);
      } else {
        EXPECT_EQ(zero, std::floor(zero));
        EXPECT_GE(zero, rows.spec.zero_low);
        EXPECT_LE(zero, (1 << rows.spec.bits) - 1);
      }
    }
    std::vector<float> decoded(static_cast<size_t>(kCols));
    for (int64_t row = 0; row < kRows; ++row) {
      rows.Decode(row, decoded.data());
      for (const float value : decoded) {
        EXPECT_TRUE(std::isfinite(value));
        if (row == 3) {
          EXPECT_EQ(value, 0);
        }
      }
    }
    for (int64_t group = 0; group < rows.n_groups; ++group) {
      EXPECT_EQ(rows.scales[static_cast<size_t>(3 * rows.n_groups + group)], 1);
    }
  }
}

TEST_P(GridTest, CodesAreTheNearest) {
  const std::vector<float> weights = RandomWeights(kRows * kCols, kSeed + 1);
  GridRows rows(SpecOf(GetParam()), kRows, kCols);
  FitGroups(weights.data(), kCols, nullptr, {}, &rows, nullptr);
  RoundRows(weights.data(), kCols, &rows, nullptr);
  const int n_codes =
      rows.spec.code == CodeKind::kE4M3 ? 256 : 1 << rows.spec.bits;
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t j = 0; j < kCols; ++j) {
      const size_t group =
          static_cast<size_t>(row * rows.n_groups + rows.GroupOf(j));
      const float step =
          rows.scales[group] * rows.spec.scale_unit / rows.spec.global_scale;
      const float zero = ZeroOf(rows, group);
      const size_t at = static_cast<size_t>(row * kCols + j);
      const auto miss = [&](int code) {
        return std::abs(double{weights[at]} -
                        double{LevelOf(rows, code, zero)} * double{step});
      };
      double least = INFINITY;
      for (int code = 0; code < n_codes; ++code) {
        const double distance = miss(code);  // of a NaN: never less
        least = distance < least ? distance : least;
      }
      // A rounded quotient may choose the other side of a tie.
      ASSERT_LE(miss(rows.codes[at]), least + 1e-6 * std::abs(double{step}))
          << row << ", " << j;
    }
  }
}

double Error(const std::vector<float>& weights, const GridRows& rows,
             const std::vector<float>& column_weights) {
  double sum = 0;
  std::vector<float> decoded(static_cast<size_t>(rows.n_cols));
  for (int64_t row = 0; row < rows.n_rows; ++row) {
    rows.Decode(row, decoded.data());
    for (size_t j = 0; j < decoded.size(); ++j) {
      const double miss =
          double{weights[static_cast<size_t>(row) * decoded.size() + j]} -
          double{decoded[j]};
      sum += miss * miss * double{column_weights[j]};
    }
  }
  return sum;
}

// Errors of groups, [n_rows, n_groups].
std::vector<double> GroupErrors(const std::vector<float>& weights,
                                const GridRows& rows,
                                const std::vector<float>& column_weights) {
  std::vector<double> errors(rows.scales.size(), 0.0);
  std::vector<float> decoded(static_cast<size_t>(rows.n_cols));
  for (int64_t row = 0; row < rows.n_rows; ++row) {
    rows.Decode(row, decoded.data());
    for (int64_t j = 0; j < rows.n_cols; ++j) {
      const double miss =
          double{weights[static_cast<size_t>(row * rows.n_cols + j)]} -
          double{decoded[static_cast<size_t>(j)]};
      errors[static_cast<size_t>(row * rows.n_groups + rows.GroupOf(j))] +=
          miss * miss * double{column_weights[static_cast<size_t>(j)]};
    }
  }
  return errors;
}

TEST_P(GridTest, SearchIsNeverWorseThanThePeersRule) {
  // Weights of several sizes, as groups of a matrix have.
  std::vector<float> weights = RandomWeights(kRows * kCols, kSeed + 2);
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] /= 1 + static_cast<float>(i / 16 % 7);
  }
  std::vector<float> column_weights = RandomWeights(kCols, kSeed + 3);
  for (float& w : column_weights) {
    w = w * w + 1e-6f;
  }
  std::vector<double> errors[2];
  for (const bool search : {false, true}) {
    GridRows rows(SpecOf(GetParam()), kRows, kCols);
    FitOptions options;
    options.search = search ? FitOptions::Search::kLeastSquares
                            : FitOptions::Search::kMinMax;
    FitGroups(weights.data(), kCols, column_weights.data(), options, &rows,
              nullptr);
    RoundRows(weights.data(), kCols, &rows, nullptr);
    errors[search] = GroupErrors(weights, rows, column_weights);
  }
  double whole = 0;
  double searched = 0;
  for (size_t i = 0; i < errors[0].size(); ++i) {
    // Scores are sums in float32.
    ASSERT_LE(errors[1][i], errors[0][i] * (1 + 1e-5)) << i;
    whole += errors[0][i];
    searched += errors[1][i];
  }
  EXPECT_LT(searched, 0.97 * whole);
}

TEST_P(GridTest, GroupsThatLieOnAGridAreExact) {
  // Weights that some legal scale decodes to come back.
  GridRows source(SpecOf(GetParam()), kRows, kCols);
  std::mt19937 random(kSeed);
  const int n_codes =
      source.spec.code == CodeKind::kE4M3 ? 256 : 1 << source.spec.bits;
  for (uint8_t& code : source.codes) {
    code = static_cast<uint8_t>(random() % static_cast<unsigned>(n_codes));
    if (source.spec.code == CodeKind::kE4M3 && (code & 0x7f) == 0x7f) {
      code = 0x7e;
    }
  }
  // Both ends are met in every group, so that the range says the scale.
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t group = 0; group < source.n_groups; ++group) {
      const int64_t at = row * kCols + source.GroupBegin(group);
      const bool e4m3 = source.spec.code == CodeKind::kE4M3;
      const int ends[2] = {e4m3                                 ? 0xfe
                           : source.spec.code == CodeKind::kFp4 ? 11
                                                                : 0,
                           e4m3                                  ? 0x7e
                           : source.spec.code == CodeKind::kE2M1 ? 7
                           : source.spec.code == CodeKind::kFp4  ? 3
                                                                 : n_codes - 1};
      source.codes[static_cast<size_t>(at)] = static_cast<uint8_t>(ends[0]);
      source.codes[static_cast<size_t>(at + 1)] = static_cast<uint8_t>(ends[1]);
    }
  }
  std::fill(source.scales.begin(), source.scales.end(), 0.03125f);
  std::vector<float> weights(static_cast<size_t>(kRows * kCols));
  for (int64_t row = 0; row < kRows; ++row) {
    source.Decode(row, weights.data() + row * kCols);
  }
  GridRows rows(source.spec, kRows, kCols);
  FitGroups(weights.data(), kCols, nullptr, {}, &rows, nullptr);
  RoundRows(weights.data(), kCols, &rows, nullptr);
  const std::vector<float> ones(static_cast<size_t>(kCols), 1.0f);
  double energy = 0;
  for (const float w : weights) {
    energy += double{w} * double{w};
  }
  // Scales of float32 are fitted to a few units in the last place.
  EXPECT_LE(Error(weights, rows, ones), 1e-11 * energy);
}

std::vector<uint8_t> Bytes(const GridRows& rows) {
  std::vector<uint8_t> bytes = rows.codes;
  for (const std::vector<float>* values : {&rows.scales, &rows.zeros}) {
    const uint8_t* from = reinterpret_cast<const uint8_t*>(values->data());
    bytes.insert(bytes.end(), from, from + values->size() * sizeof(float));
  }
  return bytes;
}

TEST_P(GridTest, ThreadsDoNotShow) {
  const std::vector<float> weights = RandomWeights(100 * kCols, kSeed + 4);
  std::vector<uint8_t> first;
  for (const int n_threads : {1, 3, 8}) {
    ThreadPool pool(n_threads);
    GridRows rows(SpecOf(GetParam()), 100, kCols);
    FitGroups(weights.data(), kCols, nullptr, {}, &rows, &pool);
    RoundRows(weights.data(), kCols, &rows, &pool);
    if (first.empty()) {
      first = Bytes(rows);
    }
    EXPECT_EQ(Bytes(rows), first) << n_threads;
  }
}

// What the kernels of all instruction sets make of one panel.
TEST_P(GridTest, VariantsAreBitEqual) {
  const GridRules rules = MakeGridRules(SpecOf(GetParam()));
  constexpr int64_t kLanes = 32;
  constexpr int64_t kN = 45;
  const std::vector<float> panel = RandomWeights(kN * kLanes, kSeed + 5);
  std::vector<float> column_weights = RandomWeights(kN, kSeed + 6);
  for (float& w : column_weights) {
    w = std::abs(w);
  }
  for (const auto search :
       {FitOptions::Search::kMinMax, FitOptions::Search::kShrink,
        FitOptions::Search::kLeastSquares}) {
    FitOptions options;
    options.search = search;
    std::vector<FitStart> starts;
    const FitPlan plan = MakeFitPlan(SpecOf(GetParam()), options, &starts);
    std::vector<float> first;
    for (const GridKernels* kernels : AllGridKernels()) {
      if (kernels->isa > CpuIsa()) {
        continue;
      }
      std::vector<float> result(2 * kLanes + kN * kLanes);
      float* const scales = result.data();
      float* const zeros = scales + kLanes;
      float* const values = zeros + kLanes;
      std::vector<uint8_t> codes(kN * kLanes);
      kernels->fit(rules, plan, panel.data(), kLanes, kN, column_weights.data(),
                   scales, zeros);
      kernels->round(rules, panel.data(), kLanes, kN, scales, zeros,
                     codes.data());
      kernels->decode(rules, codes.data(), kLanes, kN, scales, zeros, values);
      if (first.empty()) {
        first = result;
      }
      EXPECT_EQ(first, result) << kernels->name;
    }
  }
}

TEST(GridTest, MinMaxIsThatOfThePeers) {
  // One group: -7 ... 9, the largest magnitude 9.
  std::vector<float> weights;
  for (int i = -7; i <= 9; ++i) {
    weights.push_back(static_cast<float>(i));
  }
  const int64_t n = static_cast<int64_t>(weights.size());
  GridSpec spec;
  spec.group = 0;
  spec.scale_type = QuantType::kF32;
  FitOptions options;
  options.search = FitOptions::Search::kMinMax;
  GridRows symmetric(spec, 1, n);
  FitGroups(weights.data(), n, nullptr, options, &symmetric, nullptr);
  EXPECT_EQ(symmetric.scales[0], 9 / 7.5f);
  options.symmetric = FitOptions::Symmetric::kRestricted;
  FitGroups(weights.data(), n, nullptr, options, &symmetric, nullptr);
  EXPECT_EQ(symmetric.scales[0], 9 / 7.0f);
  spec.zero = ZeroKind::kInteger;
  GridRows asymmetric(spec, 1, n);
  FitGroups(weights.data(), n, nullptr, options, &asymmetric, nullptr);
  EXPECT_EQ(asymmetric.scales[0], 16 / 15.0f);
  EXPECT_EQ(asymmetric.zeros[0], 7);  // 6.5625
  // A range without 0 is widened to hold it.
  for (float& w : weights) {
    w += 20;
  }
  FitGroups(weights.data(), n, nullptr, options, &asymmetric, nullptr);
  EXPECT_EQ(asymmetric.scales[0], 29 / 15.0f);
  EXPECT_EQ(asymmetric.zeros[0], 0);
}

TEST(GridTest, MinMaxOfPowersOfTwoIsThatOfTheMicroscalingFormats) {
  GridSpec spec;
  spec.code = CodeKind::kE2M1;
  spec.scale_type = QuantType::kF8E8M0;
  spec.group = 0;
  FitOptions options;
  options.search = FitOptions::Search::kMinMax;
  // Up to a mantissa of 1.75 the largest weight is cut to 6 quarters of its
  // power of two.
  for (const auto& [largest, scale] :
       {std::pair<float, float>{4, 1}, {6.9f, 1}, {7, 2}, {8, 2}}) {
    const std::vector<float> weights = {0.5f, -largest};
    GridRows rows(spec, 1, 2);
    FitGroups(weights.data(), 2, nullptr, options, &rows, nullptr);
    EXPECT_EQ(rows.scales[0], scale) << largest;
  }
}

TEST(GridTest, EndsOfARangeShrinkApart) {
  // What is far above all others is worth little, what is below is not.
  std::vector<float> weights = RandomWeights(kRows * kCols, kSeed);
  std::vector<float> column_weights(static_cast<size_t>(kCols), 1.0f);
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] = -std::abs(weights[i]);
    if (i % kCols % 25 == 5) {
      weights[i] = 0.3f;
      column_weights[i % kCols] = 1e-3f;
    }
  }
  GridSpec spec;
  spec.zero = ZeroKind::kInteger;
  spec.group = 50;
  double errors[2];
  for (const bool apart : {false, true}) {
    GridRows rows(spec, kRows, kCols);
    FitOptions options;
    options.search =
        apart ? FitOptions::Search::kLeastSquares : FitOptions::Search::kShrink;
    options.power = 2;
    FitGroups(weights.data(), kCols, column_weights.data(), options, &rows,
              nullptr);
    RoundRows(weights.data(), kCols, &rows, nullptr);
    errors[apart] = Error(weights, rows, column_weights);
  }
  EXPECT_LT(errors[1], 0.6 * errors[0]);
}

TEST(GridTest, ShrinkingClipsAnOutlier) {
  // Of 64 weights one is large: under a low power it is not worth its range.
  std::vector<float> weights;
  for (int i = 0; i < 64; ++i) {
    weights.push_back(static_cast<float>(i - 32) / 100);
  }
  weights[5] = 1.0f;
  GridSpec spec;
  spec.group = 0;
  spec.bits = 3;
  GridRows rows(spec, 1, 64);
  FitOptions options;
  options.search = FitOptions::Search::kMinMax;
  FitGroups(weights.data(), 64, nullptr, options, &rows, nullptr);
  const float whole = rows.scales[0];
  options.search = FitOptions::Search::kShrink;
  options.power = 0.5f;
  FitGroups(weights.data(), 64, nullptr, options, &rows, nullptr);
  EXPECT_LT(rows.scales[0], whole);
}

TEST(GridTest, ANegativeScaleTurnsTheGridRound) {
  // -3 ... 4 in steps of 1: the eight levels of 3 bits, from -4 to 3, negated.
  std::vector<float> weights;
  for (int i = 0; i < 64; ++i) {
    weights.push_back(static_cast<float>(i % 8 - 3));
  }
  GridSpec spec;
  spec.bits = 3;
  spec.signed_scales = true;
  GridRows rows(spec, 1, 64);
  FitGroups(weights.data(), 64, nullptr, {}, &rows, nullptr);
  RoundRows(weights.data(), 64, &rows, nullptr);
  EXPECT_EQ(rows.scales[0], -1);
  std::vector<float> decoded(64);
  rows.Decode(0, decoded.data());
  EXPECT_EQ(decoded, weights);
}

TEST(GridTest, FitGroupTouchesItsGroupAlone) {
  const std::vector<float> weights = RandomWeights(2 * 96, kSeed);
  GridSpec spec;
  spec.group = 32;
  GridRows all(spec, 2, 96);
  GridRows one(spec, 2, 96);
  FitGroups(weights.data(), 96, nullptr, {}, &all, nullptr);
  FitGroup(weights.data(), 96, nullptr, {}, 1, &one, nullptr);
  EXPECT_EQ(one.scales[0], 1);
  EXPECT_EQ(one.scales[1], all.scales[1]);
  EXPECT_EQ(one.scales[2], 1);
  EXPECT_EQ(one.scales[4], all.scales[4]);
}

}  // namespace
}  // namespace narrow
