// HQQ on a device gives what it gives on the processor, bit for bit: on the
// CPU's device, and a card where there is one.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "converter/solvers/solver.h"
#include "converter/solvers/test_problem.h"
#include "converter/solvers/test_problems.h"
#include "kernels/device.h"

namespace narrow {
namespace {

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*std::move(card));
  }
  return devices;
}

void ExpectProcessorsResult(const TestProblem& test) {
  const Solver& hqq = *FindSolver("hqq");
  ASSERT_TRUE(hqq.supports(test.problem.scheme, test.options).ok());
  const auto expected = hqq.solve(test.problem);
  ASSERT_TRUE(expected.ok()) << expected.status();
  for (const Device& device : Devices()) {
    SCOPED_TRACE(device.Description());
    SolverProblem problem = test.problem;
    problem.device = &device;
    const auto solved = hqq.solve(problem);
    ASSERT_TRUE(solved.ok()) << solved.status();
    EXPECT_EQ(solved->matrix.codes, expected->matrix.codes);
    EXPECT_EQ(solved->matrix.scales, expected->matrix.scales);
    EXPECT_EQ(solved->matrix.zeros, expected->matrix.zeros);
    EXPECT_EQ(solved->report.relative_error, expected->report.relative_error);
    EXPECT_EQ(solved->report.relative_error_before,
              expected->report.relative_error_before);
    EXPECT_EQ(solved->report.notes, expected->report.notes);
  }
}

// Whole and fractional zeros, groups that fill a row, do not, or run on.
std::vector<WeightScheme> Schemes() {
  std::vector<WeightScheme> schemes;
  for (const QuantType type :
       {QuantType::kF32, QuantType::kF16, QuantType::kBF16}) {
    for (const ZeroKind zero : {ZeroKind::kInteger, ZeroKind::kFloat}) {
      schemes.push_back(TestScheme(CodeKind::kInteger, 4, zero, 1, 32, type));
    }
  }
  schemes.push_back(TestScheme(CodeKind::kInteger, 2, ZeroKind::kFloat, 1, 40,
                               QuantType::kF16));
  schemes.push_back(TestScheme(CodeKind::kInteger, 8, ZeroKind::kInteger, 1, 0,
                               QuantType::kF32));
  WeightScheme flat = TestScheme(CodeKind::kInteger, 3, ZeroKind::kFloat, 1, 64,
                                 QuantType::kF16);
  flat.flat = true;
  schemes.push_back(flat);
  return schemes;
}

TEST(DeviceHqqTest, GivesTheProcessorsResult) {
  for (const WeightScheme& scheme : Schemes()) {
    for (const bool weighted : {false, true}) {
      SCOPED_TRACE(SchemeName(scheme) + (weighted ? ", weighted" : ""));
      TestProblem test(21, 96);
      test.problem.scheme = scheme;
      test.problem.importance = weighted ? test.importance.data() : nullptr;
      ExpectProcessorsResult(test);
    }
  }
}

TEST(DeviceHqqTest, GroupsOfOneNumberAndOtherOptions) {
  TestProblem test(9, 64);
  test.problem.scheme = TestScheme(CodeKind::kInteger, 4, ZeroKind::kFloat, 1,
                                   32, QuantType::kF16);
  std::fill_n(test.weights.begin(), 32, 0.0f);
  std::fill_n(test.weights.begin() + 32, 32, -0.25f);
  ExpectProcessorsResult(test);
  test.options.refit = false;
  test.options.hqq_iterations = 60;
  test.options.hqq_round_zero = true;
  ExpectProcessorsResult(test);
  // The library's own way is the processor's.
  test.options = AsPeers();
  ExpectProcessorsResult(test);
}

TEST(DeviceHqqTest, ShortMemoryIsTheProcessors) {
  TestProblem test(21, 96);
  test.problem.scheme = TestScheme(CodeKind::kInteger, 4, ZeroKind::kFloat, 1,
                                   32, QuantType::kF16);
  const Device device = Device::Cpu(4096);
  const Solver& hqq = *FindSolver("hqq");
  const auto expected = hqq.solve(test.problem);
  test.problem.device = &device;
  const auto solved = hqq.solve(test.problem);
  ASSERT_TRUE(solved.ok() && expected.ok());
  EXPECT_EQ(solved->matrix.codes, expected->matrix.codes);
  ASSERT_EQ(solved->report.notes.size(), 1u);
  EXPECT_THAT(solved->report.notes[0],
              testing::HasSubstr("solved on the processor"));
}

}  // namespace
}  // namespace narrow
