// Properties of all solvers over the schemes they support.

#include "converter/solvers/solver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "converter/solvers/test_problems.h"
#include "kernels/grid/feedback.h"

namespace narrow {
namespace {

constexpr unsigned kSeed = 20261122;
constexpr int64_t kRows = 40;
constexpr int64_t kCols = 256;

const LayerStats& SharedStats() {
  static const LayerStats* const stats =
      new LayerStats(TestStats(kCols, 2 * kCols, kSeed));
  return *stats;
}

double GramErrorOf(const SolverProblem& problem,
                   const QuantizedMatrix& matrix) {
  const std::vector<double>& gram = problem.stats->gram;
  const std::vector<float> h(gram.begin(), gram.end());
  std::vector<float> values(
      static_cast<size_t>(problem.n_rows * problem.n_cols));
  DequantizeRows(matrix, 0, problem.n_rows, values.data());
  return GramError(problem.weights, values.data(), problem.n_rows,
                   problem.n_cols, h.data(), nullptr);
}

class SolverTest : public testing::TestWithParam<SchemeCase> {
 protected:
  SolverTest() : weights_(TestWeights(kRows * kCols, kSeed)) {
    problem_.name = "blk.0.test.weight";
    problem_.weights = weights_.data();
    problem_.n_rows = kRows;
    problem_.n_cols = kCols;
    problem_.scheme = GetParam().scheme;
    problem_.stats = &SharedStats();
    problem_.options = &options_;
    problem_.pool = &pool_;
    if (problem_.scheme.column_groups) {
      options_.order = SolverOptions::ColumnOrder::kDescendingDynamic;
      options_.static_groups = false;
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
    return std::move(solved->matrix);
  }

  // Round to nearest, in the columns' own order.
  double RoundedError() {
    const SolverOptions kept = options_;
    options_ = SolverOptions();
    const double error = GramErrorOf(problem_, Solve("rtn"));
    options_ = kept;
    return error;
  }

  std::vector<float> weights_;
  SolverOptions options_;
  ThreadPool pool_{2};
  SolverProblem problem_;
  SolverReport report_;
};

std::string NameOf(const testing::TestParamInfo<SchemeCase>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Schemes, SolverTest, testing::ValuesIn(TestSchemes()),
                         NameOf);

TEST_P(SolverTest, EverySolverGivesLegalMatricesOrSaysWhyNot) {
  for (const Solver* solver : AllSolvers()) {
    const absl::Status supported = solver->supports(problem_.scheme, options_);
    if (supported.ok()) {
      SCOPED_TRACE(solver->name);
      Solve(solver->name);
      EXPECT_GE(report_.relative_error, 0);
      EXPECT_LT(report_.relative_error, 0.2);
    } else {
      EXPECT_FALSE(supported.message().empty());
    }
  }
}

// tr(H_O E H E^T), H_O damped as the coupling has it.
double CoupledError(const SolverProblem& problem, const double* moments,
                    const QuantizedMatrix& matrix) {
  const size_t n_rows = static_cast<size_t>(problem.n_rows);
  const size_t n_cols = static_cast<size_t>(problem.n_cols);
  std::vector<float> values(n_rows * n_cols);
  DequantizeRows(matrix, 0, problem.n_rows, values.data());
  std::vector<double> products(values.size());  // E H
  for (size_t i = 0; i < n_rows; ++i) {
    for (size_t k = 0; k < n_cols; ++k) {
      const double miss = double{values[i * n_cols + k]} -
                          double{problem.weights[i * n_cols + k]};
      for (size_t j = 0; j < n_cols; ++j) {
        products[i * n_cols + j] += miss * problem.stats->gram[k * n_cols + j];
      }
    }
  }
  double mean = 0;
  for (size_t i = 0; i < n_rows; ++i) {
    mean += moments[i * n_rows + i] / static_cast<double>(n_rows);
  }
  double sum = 0;
  for (size_t i = 0; i < n_rows; ++i) {
    for (size_t k = 0; k < n_rows; ++k) {
      double form = 0;
      for (size_t j = 0; j < n_cols; ++j) {
        form += products[k * n_cols + j] *
                (double{values[i * n_cols + j]} -
                 double{problem.weights[i * n_cols + j]});
      }
      sum += (moments[i * n_rows + k] / mean + (i == k ? 0.1 : 0)) * form;
    }
  }
  return sum;
}

TEST_P(SolverTest, OutputsThatWeighTogetherLowerTheirForm) {
  const std::vector<double> moments =
      TestStats(kRows, 2 * kRows, kSeed + 1).gram;
  for (const Solver* solver : AllSolvers()) {
    if (!solver->couples_outputs ||
        !solver->supports(problem_.scheme, options_).ok()) {
      continue;
    }
    SCOPED_TRACE(solver->name);
    problem_.output_moments = nullptr;
    const QuantizedMatrix alone = Solve(solver->name);
    problem_.output_moments = moments.data();
    const QuantizedMatrix coupled = Solve(solver->name);
    // Inputs here share more than those of most models: half and less.
    EXPECT_LT(CoupledError(problem_, moments.data(), coupled),
              0.9 * CoupledError(problem_, moments.data(), alone));
    EXPECT_NE(report_.notes.back().find("coupled outputs"), std::string::npos);
    // Numbers that are none couple nothing.
    std::vector<double> broken = moments;
    broken[7] = std::numeric_limits<double>::quiet_NaN();
    problem_.output_moments = broken.data();
    EXPECT_EQ(Solve(solver->name).codes, alone.codes);
  }
}

TEST_P(SolverTest, ThreadsDoNotShow) {
  for (const Solver* solver : AllSolvers()) {
    if (!solver->supports(problem_.scheme, options_).ok()) {
      continue;
    }
    SCOPED_TRACE(solver->name);
    std::vector<QuantizedMatrix> results;
    for (const int n_threads : {1, 8}) {
      ThreadPool pool(n_threads);
      problem_.pool = &pool;
      results.push_back(Solve(solver->name));
      problem_.pool = &pool_;
      EXPECT_EQ(results.back().codes, results[0].codes);
      EXPECT_EQ(results.back().scales, results[0].scales);
      EXPECT_EQ(results.back().zeros, results[0].zeros);
      EXPECT_EQ(results.back().group_of_column, results[0].group_of_column);
    }
  }
}

TEST_P(SolverTest, GptqIsBetterThanRounding) {
  const double rounded = RoundedError();
  const double solved = GramErrorOf(problem_, Solve("gptq"));
  EXPECT_LT(solved, 0.9 * rounded);
  EXPECT_LT(report_.relative_error, report_.relative_error_before);
}

TEST_P(SolverTest, PartsOfGptqWorkAlone) {
  const double rounded = RoundedError();
  for (const bool weighted : {false, true}) {
    for (const bool refit : {false, true}) {
      for (const bool sweep : {false, true}) {
        options_.weighted_fit = weighted;
        options_.refit = refit;
        options_.sweep = sweep;
        EXPECT_LT(GramErrorOf(problem_, Solve("gptq")), rounded)
            << weighted << refit << sweep;
      }
    }
  }
}

TEST_P(SolverTest, EveryColumnOrderIsBetterThanRounding) {
  const double rounded = RoundedError();
  using Order = SolverOptions::ColumnOrder;
  for (const Order order :
       {Order::kNatural, Order::kGroups, Order::kDescending}) {
    for (const bool static_groups : {false, true}) {
      options_.order = order;
      options_.static_groups = static_groups;
      EXPECT_LT(GramErrorOf(problem_, Solve("gptq")), rounded)
          << static_cast<int>(order) << static_groups;
    }
  }
}

// The counterexample: inputs that have nothing in common, all of one size.
TEST_P(SolverTest, GptqIsRoundingUnderAMultipleOfTheIdentity) {
  LayerStats stats = SharedStats();
  const size_t n = static_cast<size_t>(kCols);
  std::fill(stats.gram.begin(), stats.gram.end(), 0.0);
  for (size_t i = 0; i < n; ++i) {
    stats.gram[i * n + i] = 7;
    stats.sum_sq[i] = 7;
  }
  problem_.stats = &stats;
  options_.refit = false;
  options_.sweep = false;
  options_.static_groups = true;
  const QuantizedMatrix gptq = Solve("gptq");
  const QuantizedMatrix rtn = Solve("rtn");
  EXPECT_EQ(gptq.codes, rtn.codes);
  EXPECT_EQ(gptq.scales, rtn.scales);
  EXPECT_EQ(gptq.zeros, rtn.zeros);
}

TEST_P(SolverTest, FewRowsAndDeadColumnsAreSaid) {
  LayerStats stats = TestStats(kCols, 30, kSeed + 1);
  const size_t n = static_cast<size_t>(kCols);
  for (size_t i = 0; i < n; ++i) {
    stats.gram[i * n + 9] = stats.gram[9 * n + i] = 0;
  }
  stats.sum_sq[9] = 0;
  problem_.stats = &stats;
  const double rounded = RoundedError();
  options_.damping = 0;  // 30 rows cannot say 256 columns
  EXPECT_LT(GramErrorOf(problem_, Solve("gptq")), rounded);
  EXPECT_GT(report_.damping, 0);
  std::string notes;
  for (const std::string& note : report_.notes) {
    notes += note + "\n";
  }
  EXPECT_NE(notes.find("1 of 256 columns"), std::string::npos) << notes;
  EXPECT_NE(notes.find("only 30 rows"), std::string::npos) << notes;
  EXPECT_NE(notes.find("damping raised from 0"), std::string::npos) << notes;
}

TEST_P(SolverTest, NoInputAtAllIsRounding) {
  LayerStats stats = SharedStats();
  std::fill(stats.gram.begin(), stats.gram.end(), 0.0);
  std::fill(stats.sum_sq.begin(), stats.sum_sq.end(), 0.0);
  problem_.stats = &stats;
  options_.refit = false;
  options_.static_groups = true;
  const QuantizedMatrix gptq = Solve("gptq");
  ASSERT_EQ(report_.notes.size(), 1u);
  EXPECT_EQ(report_.notes[0], "no input was seen: rounded to nearest");
  EXPECT_EQ(gptq.codes, Solve("rtn").codes);
}

TEST_P(SolverTest, WeightsThatAreZeroStayZero) {
  std::fill(weights_.begin(), weights_.end(), 0.0f);
  for (const Solver* solver : AllSolvers()) {
    if (!solver->supports(problem_.scheme, options_).ok()) {
      continue;
    }
    SCOPED_TRACE(solver->name);
    const QuantizedMatrix matrix = Solve(solver->name);
    std::vector<float> values(weights_.size(), 1.0f);
    DequantizeRows(matrix, 0, kRows, values.data());
    EXPECT_EQ(values, weights_);
  }
}

TEST_P(SolverTest, WhatIsNoNumberIsNamed) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  weights_[3 * kCols + 5] = nan;
  for (const Solver* solver : AllSolvers()) {
    if (!solver->supports(problem_.scheme, options_).ok()) {
      continue;
    }
    const auto solved = solver->solve(problem_);
    EXPECT_EQ(solved.status().code(), absl::StatusCode::kDataLoss)
        << solver->name;
    EXPECT_NE(solved.status().message().find("[3, 5]"), std::string::npos)
        << solved.status();
  }
  weights_[3 * kCols + 5] = 0;
  LayerStats stats = SharedStats();
  stats.gram[7 * kCols + 3] = std::numeric_limits<double>::infinity();
  problem_.stats = &stats;
  const auto solved = FindSolver("gptq")->solve(problem_);
  EXPECT_EQ(solved.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(solved.status().message().find("row 7"), std::string::npos)
      << solved.status();
}

TEST_P(SolverTest, GptqNeedsItsStatistics) {
  problem_.stats = nullptr;
  EXPECT_EQ(FindSolver("gptq")->solve(problem_).status().code(),
            absl::StatusCode::kFailedPrecondition);
  problem_.stats = &SharedStats();
  options_.drift = 1;  // without cross moments
  EXPECT_EQ(FindSolver("gptq")->solve(problem_).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_P(SolverTest, DriftIsUndone) {
  // Inputs z = x / 1.25, so that x - z = z / 4: weights 1.25 times as large
  // give the same output.
  LayerStats stats = SharedStats();
  stats.cross = stats.gram;
  for (double& value : stats.cross) {
    value *= 0.25;
  }
  problem_.stats = &stats;
  options_.drift = 1;
  options_.drift_damping = 0;
  const QuantizedMatrix corrected = Solve("gptq");
  std::vector<float> larger = weights_;
  for (float& w : larger) {
    w *= 1.25f;
  }
  std::vector<float> zeros(weights_.size(), 0.0f);
  SolverProblem wanted = problem_;
  wanted.weights = larger.data();
  const std::vector<float> h(stats.gram.begin(), stats.gram.end());
  const double energy =
      GramError(larger.data(), zeros.data(), kRows, kCols, h.data(), nullptr);
  // As good as if the larger weights had been asked for.
  EXPECT_LT(GramErrorOf(wanted, corrected), 0.1 * energy);
  EXPECT_NE(report_.notes[0].find("drift of inputs"), std::string::npos)
      << report_.notes[0];
  EXPECT_EQ(report_.notes[0].find("at half"), std::string::npos);
  // One that is larger than the row itself ends at half of it.
  for (double& value : stats.cross) {
    value *= 8;
  }
  const QuantizedMatrix limited = Solve("gptq");
  EXPECT_NE(report_.notes[0].find("40 of 40 rows at half"), std::string::npos)
      << report_.notes[0];
  for (size_t i = 0; i < larger.size(); ++i) {
    larger[i] = weights_[i] * 1.5f;
  }
  EXPECT_LT(GramErrorOf(wanted, limited), 0.1 * energy);
}

TEST(SolversTest, NamesAreFound) {
  for (const Solver* solver : AllSolvers()) {
    EXPECT_EQ(FindSolver(solver->name), solver);
    EXPECT_NE(KnownSolverNames().find(solver->name), std::string::npos);
  }
  EXPECT_EQ(FindSolver("gptqq"), nullptr);
}

TEST(SolversTest, BlocksMayRunAcrossRows) {
  // 3 x 40 weights in blocks of 32: the last is short.
  const std::vector<float> weights = TestWeights(120, kSeed);
  WeightScheme scheme = TestScheme(CodeKind::kInteger, 4, ZeroKind::kFloat, 1,
                                   32, QuantType::kF16);
  scheme.flat = true;
  SolverOptions options;
  ThreadPool pool(2);
  SolverProblem problem;
  problem.name = "w";
  problem.weights = weights.data();
  problem.n_rows = 3;
  problem.n_cols = 40;
  problem.scheme = scheme;
  problem.options = &options;
  problem.pool = &pool;
  const auto solved = FindSolver("rtn")->solve(problem);
  ASSERT_TRUE(solved.ok()) << solved.status();
  EXPECT_TRUE(CheckQuantizedMatrix(solved->matrix).ok());
  EXPECT_EQ(solved->matrix.scales.size(), 4u);
  EXPECT_LT(solved->report.relative_error, 0.01);
}

TEST(SolversTest, GroupsInDescendingOrderNeedNamedGroups) {
  SolverOptions options;
  options.order = SolverOptions::ColumnOrder::kDescendingDynamic;
  EXPECT_EQ(FindSolver("gptq")->supports(WeightScheme(), options).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace narrow
