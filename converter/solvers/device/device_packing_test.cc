// The types of packings without calibration (rtn, codebook, int8, fp8, fp4) on
// a device give what they give on the processor, bit for bit: on the CPU's
// device, and a card where there is one.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "converter/solvers/solver.h"
#include "converter/solvers/test_problem.h"
#include "converter/solvers/test_problems.h"
#include "kernels/device.h"

namespace narrow {
namespace {

using testing::HasSubstr;

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*std::move(card));
  }
  return devices;
}

constexpr const char* kSolvers[] = {"rtn", "codebook", "int8", "fp8", "fp4"};

// All schemes that one of them makes, and scales of bytes.
std::vector<SchemeCase> PackingSchemes() {
  std::vector<SchemeCase> cases = TestSchemes();
  for (const SchemeCase& c : FlatTestSchemes()) {
    cases.push_back(c);
  }
  cases.push_back(
      {"fp8_e4m3_scales", TestScheme(CodeKind::kE4M3, 8, ZeroKind::kNone, 1, 0,
                                     QuantType::kF8E4M3)});
  // No device code for these scales.
  cases.push_back(
      {"fp8_e8m0_scales", TestScheme(CodeKind::kE4M3, 8, ZeroKind::kNone, 1, 32,
                                     QuantType::kF8E8M0)});
  return cases;
}

void ExpectSame(const SolvedMatrix& solved, const SolvedMatrix& expected) {
  EXPECT_EQ(solved.matrix.codes, expected.matrix.codes);
  EXPECT_EQ(solved.matrix.scales, expected.matrix.scales);
  EXPECT_EQ(solved.matrix.zeros, expected.matrix.zeros);
  EXPECT_EQ(solved.matrix.global_scale, expected.matrix.global_scale);
  EXPECT_EQ(solved.matrix.group_of_column, expected.matrix.group_of_column);
  EXPECT_EQ(solved.report.relative_error, expected.report.relative_error);
  EXPECT_EQ(solved.report.relative_error_before,
            expected.report.relative_error_before);
}

// 37 x 160: blocks of 64 cross rows and end short, squares are ragged.
class DevicePackingTest : public testing::TestWithParam<SchemeCase> {
 protected:
  DevicePackingTest() : test_(37, n_cols(), 0.05f, 9) {
    test_.problem.scheme = GetParam().scheme;
    std::fill_n(test_.weights.begin() + 64, 128, 0.0f);
    std::fill_n(test_.weights.begin() + 256, 64, -0.25f);
    for (size_t i = 320; i < 384; ++i) {
      test_.weights[i] *= 1e-30f;
    }
  }
  // NVFP4 and MXFP4 have whole blocks a row.
  static int64_t n_cols() { return 160; }

  template <typename Body>
  void ForSolvers(const Body& body) {
    for (const char* name : kSolvers) {
      const Solver& solver = *FindSolver(name);
      if (solver.supports(GetParam().scheme, test_.options).ok()) {
        SCOPED_TRACE(name);
        body(solver);
      }
    }
  }

  // On every device, with no notes.
  void ExpectProcessorsResult(const Solver& solver) {
    test_.problem.device = nullptr;
    const auto expected = solver.solve(test_.problem);
    ASSERT_TRUE(expected.ok()) << expected.status();
    for (const Device& device : Devices()) {
      SCOPED_TRACE(device.Description());
      test_.problem.device = &device;
      const auto solved = solver.solve(test_.problem);
      ASSERT_TRUE(solved.ok()) << solved.status();
      ExpectSame(*solved, *expected);
      EXPECT_EQ(solved->report.notes, expected->report.notes);
    }
  }

  TestProblem test_;
};

TEST_P(DevicePackingTest, GivesTheProcessorsResult) {
  ForSolvers([&](const Solver& solver) {
    for (const bool weighted : {false, true}) {
      for (const bool searches : {false, true}) {
        SCOPED_TRACE(testing::Message() << weighted << searches);
        test_.problem.importance = weighted ? test_.importance.data() : nullptr;
        test_.options.scale_search = searches;
        test_.options.fit.search = searches ? FitOptions::Search::kLeastSquares
                                            : FitOptions::Search::kMinMax;
        ExpectProcessorsResult(solver);
      }
    }
  });
}

TEST_P(DevicePackingTest, ShortMemoryChangesNoBit) {
  test_.problem.importance = test_.importance.data();
  ForSolvers([&](const Solver& solver) {
    test_.problem.device = nullptr;
    const auto expected = solver.solve(test_.problem);
    ASSERT_TRUE(expected.ok()) << expected.status();
    for (const int64_t n_bytes : {150000, 40000, 4096}) {
      SCOPED_TRACE(n_bytes);
      const Device device = Device::Cpu(n_bytes);
      test_.problem.device = &device;
      const auto solved = solver.solve(test_.problem);
      ASSERT_TRUE(solved.ok()) << solved.status();
      ExpectSame(*solved, *expected);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Schemes, DevicePackingTest,
                         testing::ValuesIn(PackingSchemes()),
                         [](const testing::TestParamInfo<SchemeCase>& info) {
                           return std::string(info.param.name);
                         });

TEST(DevicePackingCases, ShortMemoryIsReported) {
  TestProblem test(37, 160);
  const WeightScheme fp8 =
      TestScheme(CodeKind::kE4M3, 8, ZeroKind::kNone, 1, 0, QuantType::kF32);
  const WeightScheme int4 = TestScheme(CodeKind::kInteger, 4, ZeroKind::kNone,
                                       1, 32, QuantType::kF16);
  const struct {
    const char* solver;
    WeightScheme scheme;
    int64_t n_bytes;
    const char* note;
  } cases[] = {
      {"fp8", fp8, 30000, "rows at once"},
      {"fp8", fp8, 100, "solved on the processor"},
      {"rtn", int4, 130000, "rows at once"},
      {"rtn", int4, 100, "solved on the processor"},
  };
  for (const auto& c : cases) {
    const Device device = Device::Cpu(c.n_bytes);
    test.problem.scheme = c.scheme;
    test.problem.device = &device;
    const auto solved = FindSolver(c.solver)->solve(test.problem);
    ASSERT_TRUE(solved.ok()) << solved.status();
    ASSERT_EQ(solved->report.notes.size(), 1u) << c.solver << c.n_bytes;
    EXPECT_THAT(solved->report.notes[0], HasSubstr(c.note));
  }
}

// Blocks go in parts of 16 thousand weights.
TEST(DevicePackingCases, BlocksInBatchesAreReported) {
  TestProblem test(50, 1000);
  test.problem.scheme =
      TestScheme(CodeKind::kNf4, 4, ZeroKind::kNone, 1, 64, QuantType::kF32);
  test.problem.scheme.flat = true;
  const Solver& solver = *FindSolver("codebook");
  const auto expected = solver.solve(test.problem);
  for (const bool fits : {true, false}) {
    const Device device = Device::Cpu(fits ? 200000 : 20000);
    test.problem.device = &device;
    const auto solved = solver.solve(test.problem);
    ASSERT_TRUE(solved.ok() && expected.ok());
    ExpectSame(*solved, *expected);
    ASSERT_EQ(solved->report.notes.size(), 1u);
    EXPECT_THAT(solved->report.notes[0],
                HasSubstr(fits ? "weights at once" : "on the processor"));
  }
}

TEST(DevicePackingCases, ManyAtOnceAreAsOneByOne) {
  const Solver& rtn = *FindSolver("rtn");
  std::deque<TestProblem> tests;
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    tests.emplace_back(21, 96, 0.05f, seed);
  }
  for (const SchemeCase& c : TestSchemes()) {
    SCOPED_TRACE(c.name);
    for (const int64_t n_bytes : {0, 200000}) {
      const Device device = Device::Cpu(n_bytes);
      std::vector<SolverProblem> problems;
      std::vector<SolvedMatrix> expected;
      for (TestProblem& test : tests) {
        test.problem.scheme = c.scheme;
        // One without importance among others.
        test.problem.importance =
            &test == &tests[1] ? nullptr : test.importance.data();
        expected.push_back(*rtn.solve(test.problem));
        problems.push_back(test.problem);
        problems.back().device = &device;
      }
      const auto solved = rtn.solve_many(problems);
      ASSERT_TRUE(solved.ok()) << solved.status();
      for (size_t i = 0; i < problems.size(); ++i) {
        ExpectSame((*solved)[i], expected[i]);
      }
    }
  }
}

TEST(DevicePackingCases, AWeightThatIsNoNumberIsNamed) {
  TestProblem test(3, 64);
  test.weights[70] = std::numeric_limits<float>::quiet_NaN();
  const Device device = Device::Cpu();
  test.problem.device = &device;
  for (const char* name : kSolvers) {
    for (const SchemeCase& c : PackingSchemes()) {
      const Solver& solver = *FindSolver(name);
      if (!solver.supports(c.scheme, test.options).ok()) {
        continue;
      }
      test.problem.scheme = c.scheme;
      const auto solved = solver.solve(test.problem);
      EXPECT_TRUE(absl::IsDataLoss(solved.status())) << solved.status();
      EXPECT_THAT(std::string(solved.status().message()), HasSubstr("[1, 6]"));
    }
  }
}

}  // namespace
}  // namespace narrow
