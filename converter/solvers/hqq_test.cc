#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/test_problem.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

WeightScheme Scheme(int bits, int64_t group, ZeroKind zero,
                    QuantType scale_type = QuantType::kF32, bool flat = true) {
  WeightScheme scheme;
  scheme.bits = bits;
  scheme.block_cols = group;
  scheme.zero = zero;
  scheme.scale_type = scale_type;
  scheme.flat = flat;
  return scheme;
}

absl::StatusOr<SolvedMatrix> Solve(TestProblem* test,
                                   const WeightScheme& scheme) {
  test->problem.scheme = scheme;
  return FindSolver("hqq")->solve(test->problem);
}

// The library's loop (hqq 0.2.8, optimize_weights_proximal_legacy on a CPU) as
// its paper and defaults describe it, group by group, in double but for what
// decides codes.
struct Plain {
  std::vector<double> inverses;
  std::vector<double> zeros;
  std::vector<int> codes;
};

Plain PlainHqq(const std::vector<float>& x, size_t group, int high,
               int n_rounds) {
  Plain plain;
  for (size_t g = 0; g < x.size(); g += group) {
    const auto [low, top] =
        std::minmax_element(x.begin() + static_cast<ptrdiff_t>(g),
                            x.begin() + static_cast<ptrdiff_t>(g + group));
    const float range = *top - *low;
    const float inverse =
        range <= 1e-4f
            ? 1.0f
            : std::min(1.0f / range * static_cast<float>(high), 2e4f);
    plain.inverses.push_back(double{inverse});
    plain.zeros.push_back(double{-*low * inverse});
  }
  const auto code = [&](size_t i) {
    const double y =
        double{x[i]} * plain.inverses[i / group] + plain.zeros[i / group];
    return std::clamp(std::nearbyint(y), 0.0, static_cast<double>(high));
  };
  double best = INFINITY;
  for (int round = 0; round < n_rounds; ++round) {
    double error = 0;
    std::vector<double> sums(plain.zeros.size(), 0);
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t g = i / group;
      const double q = code(i);
      const double miss =
          double{x[i]} - (q - plain.zeros[g]) / plain.inverses[g];
      const double size = std::fabs(miss);
      const double left =
          size > 0 ? std::max(size - std::pow(size, -0.3) / 10, 0.0) : 0;
      error += size;
      sums[g] +=
          q - (double{x[i]} - std::copysign(left, miss)) * plain.inverses[g];
    }
    for (size_t g = 0; g < sums.size(); ++g) {
      plain.zeros[g] = sums[g] / static_cast<double>(group);
    }
    if (!(error < best)) {
      break;
    }
    best = error;
  }
  for (size_t i = 0; i < x.size(); ++i) {
    plain.codes.push_back(static_cast<int>(code(i)));
  }
  return plain;
}

TEST(Hqq, AsTheLibrary) {
  for (float spread : {0.05f, 3.0f}) {
    for (int bits : {1, 2, 3, 4, 8}) {
      for (int64_t group : {32, 64, 128}) {
        SCOPED_TRACE(absl::StrCat(bits, " bits, groups of ", group));
        TestProblem test(16, 128, spread);
        test.options = AsPeers();
        const auto solved = Solve(&test, Scheme(bits, group, ZeroKind::kFloat));
        ASSERT_TRUE(solved.ok()) << solved.status();
        const Plain plain =
            PlainHqq(test.weights, static_cast<size_t>(group), (1 << bits) - 1,
                     test.options.hqq_iterations);
        // Zeros drift apart where a weight lies at a middle, as it does for
        // float32 and double in a few groups of a thousand.
        size_t n_far = 0;
        for (size_t g = 0; g < plain.zeros.size(); ++g) {
          EXPECT_EQ(solved->matrix.scales[g],
                    1.0f / static_cast<float>(plain.inverses[g]));
          n_far += std::fabs(double{solved->matrix.zeros[g]} - plain.zeros[g]) >
                   1e-3 * (1 << bits);
        }
        EXPECT_LE(n_far, 1 + plain.zeros.size() / 16);
        size_t n_other = 0;
        for (size_t i = 0; i < plain.codes.size(); ++i) {
          n_other += solved->matrix.codes[i] != plain.codes[i];
        }
        EXPECT_LE(n_other, plain.codes.size() / 100);
      }
    }
  }
}

struct Case {
  const char* name;
  WeightScheme scheme;
};

std::vector<Case> Cases() {
  using Z = ZeroKind;
  using Q = QuantType;
  return {
      {"b1", Scheme(1, 64, Z::kFloat)},
      {"b2_f16", Scheme(2, 32, Z::kFloat, Q::kF16)},
      {"b3_bf16", Scheme(3, 128, Z::kFloat, Q::kBF16)},
      {"b4", Scheme(4, 64, Z::kFloat)},
      {"b8", Scheme(8, 64, Z::kFloat)},
      {"b2_whole", Scheme(2, 32, Z::kInteger, Q::kF16, false)},
      {"b3_whole", Scheme(3, 64, Z::kInteger, Q::kF16, false)},
      {"b4_whole", Scheme(4, 128, Z::kInteger, Q::kF16, false)},
      {"b8_whole", Scheme(8, 64, Z::kInteger, Q::kBF16, false)},
      {"rows", Scheme(4, 0, Z::kInteger, Q::kF16, false)},
  };
}

class HqqTest : public testing::TestWithParam<Case> {};

// Rows of 224: groups of 64 and 128 end short where they end with rows.
TEST_P(HqqTest, IsLegalReportedAndNoWorseThanTheLibrary) {
  TestProblem test(18, 224);
  const auto ours = Solve(&test, GetParam().scheme);
  test.options = AsPeers();
  const auto library = Solve(&test, GetParam().scheme);
  ASSERT_TRUE(ours.ok()) << ours.status();
  ASSERT_TRUE(library.ok()) << library.status();
  for (const auto* solved : {&*ours, &*library}) {
    const absl::Status legal = CheckQuantizedMatrix(solved->matrix);
    EXPECT_TRUE(legal.ok()) << legal;
  }
  EXPECT_LT(test.Error(ours->matrix), test.Error(library->matrix));
  EXPECT_NEAR(
      ours->report.relative_error / (test.Error(ours->matrix) / test.Energy()),
      1, 1e-4);
  EXPECT_LE(ours->report.relative_error, ours->report.relative_error_before);
}

TEST_P(HqqTest, ImportanceCounts) {
  TestProblem test(32, 224);
  const auto plain = Solve(&test, GetParam().scheme);
  test.problem.importance = test.importance.data();
  const auto weighted = Solve(&test, GetParam().scheme);
  ASSERT_TRUE(plain.ok() && weighted.ok());
  EXPECT_LT(test.Error(weighted->matrix, true),
            test.Error(plain->matrix, true));
}

TEST_P(HqqTest, ThreadsChangeNothing) {
  TestProblem test(37, 224);
  for (const SolverOptions& options : {SolverOptions(), AsPeers()}) {
    test.options = options;
    test.problem.pool = &test.pool;
    const auto two = Solve(&test, GetParam().scheme);
    ThreadPool one(1);
    test.problem.pool = &one;
    const auto alone = Solve(&test, GetParam().scheme);
    ASSERT_TRUE(two.ok() && alone.ok());
    EXPECT_EQ(two->matrix.codes, alone->matrix.codes);
    EXPECT_EQ(two->matrix.scales, alone->matrix.scales);
    EXPECT_EQ(two->matrix.zeros, alone->matrix.zeros);
  }
}

TEST_P(HqqTest, GroupsOfOneNumberAreNearlyExact) {
  TestProblem test(6, 224);
  for (size_t i = 0; i < test.weights.size(); ++i) {
    const size_t row = i / 224;
    test.weights[i] = row % 3 == 0 ? 0.0f : row % 3 == 1 ? 0.25f : -0.5f;
  }
  const auto solved = Solve(&test, GetParam().scheme);
  ASSERT_TRUE(solved.ok()) << solved.status();
  EXPECT_TRUE(CheckQuantizedMatrix(solved->matrix).ok());
  if (!GetParam().scheme.flat) {  // flat groups cross rows
    // Scales have the relative error of half precision, 2^-11, or 2^-9.
    EXPECT_LT(test.Error(solved->matrix), 4e-6 * test.Energy());
  }
}

TEST_P(HqqTest, ExtremeWeightsStayLegal) {
  for (float spread : {1e-30f, 1e-7f, 1e3f}) {
    TestProblem test(4, 224, spread);
    const auto solved = Solve(&test, GetParam().scheme);
    ASSERT_TRUE(solved.ok()) << solved.status();
    const absl::Status legal = CheckQuantizedMatrix(solved->matrix);
    EXPECT_TRUE(legal.ok()) << spread << ": " << legal;
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, HqqTest, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<Case>& info) {
                           return std::string(info.param.name);
                         });

TEST(Hqq, WholeZerosKeepToTheRange) {
  TestProblem test(16, 128);
  for (float& weight : test.weights) {
    weight = std::fabs(weight) + 0.1f;  // the best zeros are below 0
  }
  test.options.zero_low = 1;
  const auto packed = Solve(&test, Scheme(4, 64, ZeroKind::kInteger));
  test.options.hqq_round_zero = true;
  const auto rounded = Solve(&test, Scheme(4, 64, ZeroKind::kFloat));
  ASSERT_TRUE(packed.ok() && rounded.ok());
  for (const auto* zeros : {&packed->matrix.zeros, &rounded->matrix.zeros}) {
    for (const float zero : *zeros) {
      EXPECT_EQ(zero, std::nearbyint(zero));
      EXPECT_GE(zero, 1);
      EXPECT_LE(zero, 15);
    }
  }
}

TEST(Hqq, RefusesWhatHasNoZerosAndOptionsWithoutSense) {
  const Solver* hqq = FindSolver("hqq");
  SolverOptions options;
  EXPECT_EQ(hqq->supports(Scheme(4, 64, ZeroKind::kNone), options).code(),
            absl::StatusCode::kUnimplemented);
  options.hqq_power = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(hqq->supports(Scheme(4, 64, ZeroKind::kFloat), options).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Hqq, NamesAWeightThatIsNoNumber) {
  TestProblem test(3, 128);
  test.weights[130] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Solve(&test, Scheme(4, 64, ZeroKind::kFloat)).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace narrow
