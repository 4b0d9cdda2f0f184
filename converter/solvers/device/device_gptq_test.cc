// GPTQ on a device gives what it gives on the processor: codes, scales, zeros,
// errors and notes. On the CPU's device, and a card where there is one.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "converter/solvers/solver.h"
#include "converter/solvers/test_problems.h"
#include "kernels/device.h"

namespace narrow {
namespace {

using ColumnOrder = SolverOptions::ColumnOrder;
using testing::HasSubstr;

constexpr unsigned kSeed = 20261122;
constexpr int64_t kRows = 9;
constexpr int64_t kCols = 100;

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*std::move(card));
  }
  return devices;
}

// Three matrices of a layer: of inputs seen often, rarely, never.
class Experts {
 public:
  Experts(const WeightScheme& scheme, const SolverOptions& options)
      : options_(options) {
    stats_ = {TestStats(kCols, 2 * kCols, kSeed),
              TestStats(kCols, kCols / 4, kSeed + 1),
              TestStats(kCols, kCols / 4, kSeed + 2)};
    std::fill(stats_[2].gram.begin(), stats_[2].gram.end(), 0.0);
    for (size_t i = 0; i < stats_.size(); ++i) {
      weights_.push_back(TestWeights(kRows * kCols, kSeed + 10 + i));
      names_.push_back("expert " + std::to_string(i));
    }
    for (size_t i = 0; i < stats_.size(); ++i) {
      SolverProblem problem;
      problem.name = names_[i];
      problem.weights = weights_[i].data();
      problem.n_rows = kRows;
      problem.n_cols = kCols;
      problem.scheme = scheme;
      problem.stats = &stats_[i];
      problem.options = &options_;
      problem.pool = &pool_;
      problems_.push_back(problem);
    }
  }

  std::vector<SolverProblem> On(const Device* device) const {
    std::vector<SolverProblem> problems = problems_;
    for (SolverProblem& problem : problems) {
      problem.device = device;
    }
    return problems;
  }
  SolverOptions* options() { return &options_; }
  LayerStats* stats(size_t i) { return &stats_[i]; }

 private:
  SolverOptions options_;
  ThreadPool pool_{2};
  std::vector<LayerStats> stats_;
  std::vector<std::vector<float>> weights_;
  std::vector<std::string> names_;
  std::vector<SolverProblem> problems_;
};

void ExpectSame(const SolvedMatrix& a, const SolvedMatrix& b) {
  EXPECT_EQ(a.matrix.codes, b.matrix.codes);
  EXPECT_EQ(a.matrix.scales, b.matrix.scales);
  EXPECT_EQ(a.matrix.zeros, b.matrix.zeros);
  EXPECT_EQ(a.matrix.group_of_column, b.matrix.group_of_column);
  EXPECT_EQ(a.report.relative_error, b.report.relative_error);
  EXPECT_EQ(a.report.relative_error_before, b.report.relative_error_before);
  EXPECT_EQ(a.report.damping, b.report.damping);
  EXPECT_EQ(a.report.notes, b.report.notes);
}

void ExpectProcessorsResult(const Experts& experts) {
  const Solver& gptq = *FindSolver("gptq");
  for (const Device& device : Devices()) {
    SCOPED_TRACE(device.Description());
    const auto many = gptq.solve_many(experts.On(&device));
    ASSERT_TRUE(many.ok()) << many.status();
    const std::vector<SolverProblem> problems = experts.On(nullptr);
    for (size_t i = 0; i < problems.size(); ++i) {
      SCOPED_TRACE(problems[i].name);
      const auto expected = gptq.solve(problems[i]);
      ASSERT_TRUE(expected.ok()) << expected.status();
      ExpectSame(many->at(i), *expected);
    }
    const auto alone = gptq.solve(experts.On(&device)[0]);
    ASSERT_TRUE(alone.ok());
    ExpectSame(*alone, many->at(0));
  }
}

class DeviceGptqTest : public testing::TestWithParam<SchemeCase> {
 protected:
  // Schemes that name each column's group, and those that do not.
  static SolverOptions Options() {
    SolverOptions options;
    options.rounds = 2;
    if (GetParam().scheme.column_groups) {
      options.order = ColumnOrder::kDescendingDynamic;
      options.static_groups = false;
    }
    return options;
  }
  static bool Supported() {
    return FindSolver("gptq")->supports(GetParam().scheme, Options()).ok();
  }
};

INSTANTIATE_TEST_SUITE_P(Schemes, DeviceGptqTest,
                         testing::ValuesIn(TestSchemes()),
                         [](const testing::TestParamInfo<SchemeCase>& info) {
                           return info.param.name;
                         });

TEST_P(DeviceGptqTest, GivesTheProcessorsResult) {
  if (!Supported()) {
    GTEST_SKIP() << "no scheme of gptq's";
  }
  ExpectProcessorsResult(Experts(GetParam().scheme, Options()));
}

WeightScheme Int4() {
  return TestScheme(CodeKind::kInteger, 4, ZeroKind::kInteger, 1, 32,
                    QuantType::kF16);
}

TEST(DeviceGptqOptionsTest, OrdersFitsAndPlainFeedback) {
  SolverOptions options;
  options.order = ColumnOrder::kGroups;
  options.static_groups = false;
  options.rounds = 1;
  ExpectProcessorsResult(Experts(Int4(), options));
  options.order = ColumnOrder::kNatural;
  options.weighted_fit = false;
  options.rounds = 0;
  ExpectProcessorsResult(Experts(Int4(), options));
}

// Fewer rows than columns, no damping: raised until there is a factor.
TEST(DeviceGptqOptionsTest, RaisesDampingAsTheProcessorDoes) {
  SolverOptions options;
  options.damping = 0;
  options.rounds = 1;
  Experts experts(Int4(), options);
  ExpectProcessorsResult(experts);
  const Device device = Device::Cpu();
  const auto solved = FindSolver("gptq")->solve_many(experts.On(&device));
  ASSERT_TRUE(solved.ok());
  EXPECT_EQ(solved->at(0).report.damping, 0);
  EXPECT_GT(solved->at(1).report.damping, 0);
}

TEST(DeviceGptqOptionsTest, SameErrorWhereNoDampingHelps) {
  Experts experts(Int4(), {});
  experts.stats(1)->gram[0] = 1;
  experts.stats(1)->gram[1] = experts.stats(1)->gram[kCols] = 1e30;
  const Solver& gptq = *FindSolver("gptq");
  const Device device = Device::Cpu();
  const auto solved = gptq.solve_many(experts.On(&device));
  const auto expected = gptq.solve(experts.On(nullptr)[1]);
  ASSERT_FALSE(expected.ok());
  EXPECT_EQ(solved.status(), expected.status());
}

// On tensor cores last digits differ, and few codes; without a device nothing
// does.
TEST(DeviceGptqOptionsTest, FastIsNear) {
  SolverOptions options;
  options.rounds = 1;
  const Experts experts(TestScheme(CodeKind::kInteger, 4, ZeroKind::kNone, 1,
                                   64, QuantType::kF16),
                        options);
  const Solver& gptq = *FindSolver("gptq");
  for (const Device& device : Devices()) {
    SCOPED_TRACE(device.Description());
    std::vector<SolverProblem> problems = experts.On(&device);
    const auto exact = gptq.solve_many(problems);
    for (SolverProblem& problem : problems) {
      problem.fast = true;
    }
    const auto fast = gptq.solve_many(problems);
    ASSERT_TRUE(exact.ok() && fast.ok()) << fast.status();
    for (size_t i = 0; i < problems.size(); ++i) {
      const SolvedMatrix& a = exact->at(i);
      const SolvedMatrix& b = fast->at(i);
      EXPECT_NEAR(b.report.relative_error / a.report.relative_error, 1, 0.01);
      int n_other = 0;
      for (size_t c = 0; c < a.matrix.codes.size(); ++c) {
        n_other += a.matrix.codes[c] != b.matrix.codes[c] ? 1 : 0;
      }
      EXPECT_LE(n_other, kRows * kCols / 50);
    }
    EXPECT_NE(fast->at(0).report.relative_error,
              exact->at(0).report.relative_error);
  }
  SolverProblem alone = experts.On(nullptr)[0];
  const auto expected = gptq.solve(alone);
  alone.fast = true;
  const auto same = gptq.solve(alone);
  ASSERT_TRUE(expected.ok() && same.ok());
  ExpectSame(*same, *expected);
}

// Where memory is short fewer are solved at once, in the end on the processor.
TEST(DeviceGptqOptionsTest, SmallMemoryChangesNothing) {
  SolverOptions options;
  options.rounds = 1;
  const Experts experts(Int4(), options);
  const Solver& gptq = *FindSolver("gptq");
  const std::vector<SolverProblem> problems = experts.On(nullptr);
  for (const auto& [limit, note] :
       {std::make_pair(int64_t{400} << 10, "solved 1 matrices at once"),
        std::make_pair(int64_t{100} << 10, "solved on the processor")}) {
    const Device device = Device::Cpu(limit);
    auto solved = gptq.solve_many(experts.On(&device));
    ASSERT_TRUE(solved.ok()) << solved.status();
    ASSERT_FALSE(solved->at(0).report.notes.empty());
    EXPECT_THAT(solved->at(0).report.notes.back(), HasSubstr(note));
    for (size_t i = 0; i < problems.size(); ++i) {
      const auto expected = gptq.solve(problems[i]);
      ASSERT_TRUE(expected.ok());
      solved->at(i).report.notes = expected->report.notes;
      ExpectSame(solved->at(i), *expected);
    }
  }
}

}  // namespace
}  // namespace narrow
