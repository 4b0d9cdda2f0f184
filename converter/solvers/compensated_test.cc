// The solver that serves all schemes, against each scheme's own.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "converter/solvers/solver.h"
#include "converter/solvers/test_problems.h"
#include "formats/packing/bitsandbytes/nested_scales.h"

namespace narrow {
namespace {

constexpr unsigned kSeed = 20261124;
constexpr int64_t kRows = 40;
constexpr int64_t kCols = 256;

std::vector<SchemeCase> AllSchemes() {
  std::vector<SchemeCase> cases = TestSchemes();
  for (const SchemeCase& c : FlatTestSchemes()) {
    cases.push_back(c);
  }
  return cases;
}

// What a scheme's own solver is called.
const char* OwnSolver(const WeightScheme& scheme) {
  switch (scheme.code) {
    case CodeKind::kE2M1:
      return "fp4";
    case CodeKind::kE4M3:
      return "fp8";
    case CodeKind::kInteger:
      return scheme.bits == 8                  ? "int8"
             : scheme.zero == ZeroKind::kFloat ? "hqq"
                                               : "rtn";
    default:
      return "codebook";
  }
}

class CompensatedTest : public testing::TestWithParam<SchemeCase> {
 protected:
  CompensatedTest()
      : weights_(TestWeights(kRows * kCols, kSeed)),
        stats_(TestStats(kCols, 2 * kCols, kSeed)) {
    problem_.name = "blk.0.test.weight";
    problem_.weights = weights_.data();
    problem_.n_rows = kRows;
    problem_.n_cols = kCols;
    problem_.scheme = GetParam().scheme;
    problem_.stats = &stats_;
    problem_.options = &options_;
    problem_.pool = &pool_;
  }

  void SetUp() override {
    if (problem_.scheme.column_groups) {
      GTEST_SKIP() << "groups in another order are gptq's alone";
    }
  }

  QuantizedMatrix Solve(const char* solver) {
    auto solved = FindSolver(solver)->solve(problem_);
    EXPECT_TRUE(solved.ok()) << solved.status();
    if (!solved.ok()) {
      return QuantizedMatrix();
    }
    report_ = solved->report;
    const absl::Status legal = CheckQuantizedMatrix(solved->matrix);
    EXPECT_TRUE(legal.ok()) << legal;
    EXPECT_EQ(solved->matrix.scheme, problem_.scheme);
    return std::move(solved->matrix);
  }

  // What a client decodes: nested scales as they are stored.
  static std::vector<float> Decode(QuantizedMatrix matrix) {
    if (matrix.scheme.nested_scales) {
      matrix.scales = UnnestScales(NestScales(matrix.scales), DynamicMap());
    }
    std::vector<float> values(matrix.codes.size());
    DequantizeRows(matrix, 0, matrix.n_rows, values.data());
    return values;
  }

  // e H e^T of every row.
  std::vector<double> RowErrors(const QuantizedMatrix& matrix) const {
    const std::vector<float> values = Decode(matrix);
    std::vector<double> errors;
    const size_t n = kCols;
    for (size_t row = 0; row < kRows; ++row) {
      double sum = 0;
      for (size_t i = 0; i < n; ++i) {
        const auto miss = [&](size_t j) {
          return double{weights_[row * n + j]} - double{values[row * n + j]};
        };
        double product = 0;
        for (size_t j = 0; j < n; ++j) {
          product += stats_.gram[i * n + j] * miss(j);
        }
        sum += product * miss(i);
      }
      errors.push_back(sum);
    }
    return errors;
  }

  static double Sum(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) {
      sum += value;
    }
    return sum;
  }

  std::vector<float> weights_;
  LayerStats stats_;
  SolverOptions options_;
  ThreadPool pool_{2};
  SolverProblem problem_;
  SolverReport report_;
};

std::string NameOf(const testing::TestParamInfo<SchemeCase>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Schemes, CompensatedTest,
                         testing::ValuesIn(AllSchemes()), NameOf);

TEST_P(CompensatedTest, NoRowIsWorseThanTheSchemesOwnSolverMakesIt) {
  const std::vector<double> own = RowErrors(Solve(OwnSolver(problem_.scheme)));
  const std::vector<double> solved = RowErrors(Solve("compensated"));
  if (!problem_.scheme.nested_scales) {
    for (size_t row = 0; row < own.size(); ++row) {
      // (Products in float32.)
      EXPECT_LE(solved[row], own[row] * 1.0001) << row;
    }
  }
  EXPECT_LT(Sum(solved), 0.75 * Sum(own));
  EXPECT_LT(report_.relative_error, 0.75 * report_.relative_error_before);
  EXPECT_NEAR(report_.relative_error / report_.relative_error_before,
              Sum(solved) / Sum(own), 1e-3);
}

// -128 is no code of LLM.int8(), but of bytes that are not its.
TEST_P(CompensatedTest, CodesKeepToTheirRange) {
  if (problem_.scheme.scale_unit == 1) {
    return;
  }
  // Far beyond what the scale of a row covers once its neighbours' errors are
  // made up for.
  for (size_t i = 0; i < weights_.size(); ++i) {
    weights_[i] = i % 3 == 0 ? -0.125f : weights_[i];
  }
  const QuantizedMatrix solved = Solve("compensated");
  EXPECT_EQ(std::count(solved.codes.begin(), solved.codes.end(), 0), 0);
  EXPECT_GT(std::count(solved.codes.begin(), solved.codes.end(), 1), 0);
}

TEST_P(CompensatedTest, IsAsGoodAsGptqOnItsSchemes) {
  if (!FindSolver("gptq")->supports(problem_.scheme, options_).ok()) {
    return;
  }
  const double gptq = Sum(RowErrors(Solve("gptq")));
  EXPECT_LT(Sum(RowErrors(Solve("compensated"))), 1.02 * gptq);
}

// Inputs that have nothing in common: nothing can be made up for.
TEST_P(CompensatedTest, MultiplesOfTheIdentityLeaveTheSchemesOwnCodes) {
  const size_t n = kCols;
  std::fill(stats_.gram.begin(), stats_.gram.end(), 0.0);
  for (size_t i = 0; i < n; ++i) {
    stats_.gram[i * n + i] = 7;
    stats_.sum_sq[i] = 7;
  }
  options_.refit = false;
  options_.sweep = false;
  const QuantizedMatrix own = Solve(OwnSolver(problem_.scheme));
  const QuantizedMatrix solved = Solve("compensated");
  // Scales may be others, from another search. Rows without them keep theirs.
  const std::vector<double> before = RowErrors(own);
  const std::vector<double> after = RowErrors(solved);
  EXPECT_LE(Sum(after), Sum(before) * 1.0001);
  if (problem_.scheme.nested_scales) {
    return;  // other scales are those of all rows
  }
  for (int64_t row = 0; row < kRows; ++row) {
    const size_t i = static_cast<size_t>(row);
    EXPECT_LE(after[i], before[i] * 1.0001) << row;
    bool same_scales = true;
    for (int64_t j = 0; j < kCols; ++j) {
      const size_t at = static_cast<size_t>(own.ScaleIndex(row, j));
      same_scales &= own.scales[at] == solved.scales[at] &&
                     (own.zeros.empty() || own.zeros[at] == solved.zeros[at]);
    }
    if (same_scales) {
      EXPECT_NEAR(after[i], before[i], before[i] * 1e-6) << row;
    }
  }
}

TEST_P(CompensatedTest, ThreadsDoNotShow) {
  const QuantizedMatrix first = Solve("compensated");
  ThreadPool pool(8);
  problem_.pool = &pool;
  const QuantizedMatrix second = Solve("compensated");
  EXPECT_EQ(first.codes, second.codes);
  EXPECT_EQ(first.scales, second.scales);
  EXPECT_EQ(first.zeros, second.zeros);
}

TEST_P(CompensatedTest, WithoutInputsOrRowsThePlainMatrixStays) {
  const QuantizedMatrix own = Solve(OwnSolver(problem_.scheme));
  std::fill(stats_.gram.begin(), stats_.gram.end(), 0.0);
  const QuantizedMatrix solved = Solve("compensated");
  EXPECT_EQ(solved.codes, own.codes);
  EXPECT_EQ(solved.scales, own.scales);
  problem_.stats = nullptr;
  EXPECT_EQ(FindSolver("compensated")->solve(problem_).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_P(CompensatedTest, DriftIsUndone) {
  stats_.cross = stats_.gram;
  for (double& value : stats_.cross) {
    value *= 0.25;
  }
  options_.drift = 1;
  options_.drift_damping = 0;
  const QuantizedMatrix corrected = Solve("compensated");
  for (float& w : weights_) {
    w *= 1.25f;  // what was to be aimed at
  }
  const double error = Sum(RowErrors(corrected));
  stats_.cross.clear();
  options_.drift = 0;
  EXPECT_LT(error, 1.25 * Sum(RowErrors(Solve("compensated"))));
}

TEST(CompensatedSolverTest, SaysWhatItDoesNotDo) {
  SolverOptions options;
  WeightScheme scheme;
  scheme.column_groups = true;
  const Solver* solver = FindSolver("compensated");
  EXPECT_EQ(solver->supports(scheme, options).code(),
            absl::StatusCode::kUnimplemented);
  scheme.column_groups = false;
  options.damping = -1;
  EXPECT_EQ(solver->supports(scheme, options).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace narrow
