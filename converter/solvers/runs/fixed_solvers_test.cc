// Solvers of codes that stand for fixed numbers: tables, bytes, FP8, FP4.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "converter/solvers/runs/fp4_scale.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/test_problem.h"
#include "formats/base/float16.h"
#include "formats/base/float8.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

WeightScheme Scheme(CodeKind code, int bits, int64_t block_rows,
                    int64_t block_cols, QuantType scale_type) {
  WeightScheme scheme;
  scheme.code = code;
  scheme.bits = bits;
  scheme.block_rows = block_rows;
  scheme.block_cols = block_cols;
  scheme.scale_type = scale_type;
  return scheme;
}

WeightScheme Table(CodeKind code, int64_t block) {
  WeightScheme scheme = Scheme(code, 4, 1, block, QuantType::kF32);
  scheme.flat = true;
  return scheme;
}

WeightScheme LlmInt8() {
  WeightScheme scheme = Scheme(CodeKind::kInteger, 8, 1, 0, QuantType::kF32);
  scheme.scale_unit = 1.0f / 127.0f;
  return scheme;
}

WeightScheme Nvfp4() {
  WeightScheme scheme = Scheme(CodeKind::kE2M1, 4, 1, 16, QuantType::kF8E4M3);
  scheme.global_scale = true;
  return scheme;
}

struct Case {
  const char* name;
  const char* solver;
  WeightScheme scheme;
};

std::vector<Case> Cases() {
  using C = CodeKind;
  using Q = QuantType;
  return {
      {"nf4_64", "codebook", Table(C::kNf4, 64)},
      {"nf4_4096", "codebook", Table(C::kNf4, 4096)},
      {"fp4_32", "codebook", Table(C::kFp4, 32)},
      {"llm_int8", "int8", LlmInt8()},
      {"int8_rows", "int8", Scheme(C::kInteger, 8, 1, 0, Q::kBF16)},
      {"int8_tensor", "int8", Scheme(C::kInteger, 8, 0, 0, Q::kF32)},
      {"fp8_rows", "fp8", Scheme(C::kE4M3, 8, 1, 0, Q::kBF16)},
      {"fp8_tensor", "fp8", Scheme(C::kE4M3, 8, 0, 0, Q::kF32)},
      {"fp8_blocks", "fp8", Scheme(C::kE4M3, 8, 128, 128, Q::kF32)},
      {"nvfp4", "fp4", Nvfp4()},
      {"mxfp4", "fp4", Scheme(C::kE2M1, 4, 1, 32, Q::kF8E8M0)},
  };
}

class FixedSolversTest : public testing::TestWithParam<Case> {
 protected:
  absl::StatusOr<SolvedMatrix> Solve(TestProblem* test) const {
    test->problem.scheme = GetParam().scheme;
    const Solver* solver = FindSolver(GetParam().solver);
    EXPECT_TRUE(solver->supports(GetParam().scheme, test->options).ok());
    return solver->solve(test->problem);
  }
};

// 5 rows of 224: blocks cross rows, squares of 128 are ragged.
TEST_P(FixedSolversTest, IsLegalAndReportsItsError) {
  TestProblem test(5, 224);
  for (const SolverOptions& options : {SolverOptions(), AsPeers()}) {
    test.options = options;
    const auto solved = Solve(&test);
    ASSERT_TRUE(solved.ok()) << solved.status();
    const absl::Status legal = CheckQuantizedMatrix(solved->matrix);
    EXPECT_TRUE(legal.ok()) << legal;
    // Sums in float32 over blocks of up to 4096.
    const double error = test.Error(solved->matrix) / test.Energy();
    EXPECT_NEAR(solved->report.relative_error / error, 1, 1e-3);
    EXPECT_LE(solved->report.relative_error,
              solved->report.relative_error_before);
  }
}

TEST_P(FixedSolversTest, SearchedScalesAreNoWorseThanThePeers) {
  for (uint32_t seed : {1, 2, 3}) {
    TestProblem test(48, 256, 0.05f, seed);
    test.options.blind_search = true;
    const auto ours = Solve(&test);
    test.options.blind_search = false;
    test.problem.importance = test.importance.data();
    const auto weighted = Solve(&test);
    test.options = AsPeers();
    const auto peers = Solve(&test);
    ASSERT_TRUE(ours.ok() && weighted.ok() && peers.ok());
    EXPECT_LT(test.Error(ours->matrix), test.Error(peers->matrix));
    EXPECT_LT(test.Error(weighted->matrix, true),
              test.Error(peers->matrix, true));
    // Both searches end in local optima.
    EXPECT_LE(test.Error(weighted->matrix, true),
              1.01 * test.Error(ours->matrix, true));
  }
}

// Tables and powers of two, of whose inputs nothing is known.
TEST_P(FixedSolversTest, BlindSearchIsOffWhereItDoesNotPay) {
  const CodeKind code = GetParam().scheme.code;
  const bool is_plain = code == CodeKind::kNf4 || code == CodeKind::kFp4 ||
                        GetParam().scheme.scale_type == QuantType::kF8E8M0;
  TestProblem test(48, 256);
  const auto ours = Solve(&test);
  test.options = AsPeers();
  const auto peers = Solve(&test);
  ASSERT_TRUE(ours.ok() && peers.ok());
  EXPECT_EQ(ours->matrix.scales == peers->matrix.scales, is_plain);
  if (is_plain) {
    EXPECT_EQ(ours->matrix.codes, peers->matrix.codes);
  }
}

TEST_P(FixedSolversTest, ThreadsChangeNothing) {
  TestProblem test(37, 256);
  test.problem.importance = test.importance.data();
  const auto two = Solve(&test);
  ThreadPool one(1);
  test.problem.pool = &one;
  const auto alone = Solve(&test);
  ASSERT_TRUE(two.ok() && alone.ok());
  EXPECT_EQ(two->matrix.codes, alone->matrix.codes);
  EXPECT_EQ(two->matrix.scales, alone->matrix.scales);
  EXPECT_EQ(two->report.relative_error, alone->report.relative_error);
}

TEST_P(FixedSolversTest, WeightsOfNothingStayNothing) {
  TestProblem test(3, 256);
  std::fill(test.weights.begin(), test.weights.end(), 0.0f);
  for (const SolverOptions& options : {SolverOptions(), AsPeers()}) {
    test.options = options;
    const auto solved = Solve(&test);
    ASSERT_TRUE(solved.ok()) << solved.status();
    EXPECT_EQ(test.Error(solved->matrix), 0);
    EXPECT_EQ(solved->report.relative_error, 0);
    EXPECT_TRUE(CheckQuantizedMatrix(solved->matrix).ok());
  }
}

// From numbers whose squares vanish in float32 to such that overflow.
TEST_P(FixedSolversTest, ExtremeWeightsStayLegal) {
  for (float spread : {1e-43f, 1e-25f, 1e-6f, 1e4f, 1e18f, 1e30f}) {
    TestProblem test(4, 256, spread);
    const auto solved = Solve(&test);
    ASSERT_TRUE(solved.ok()) << solved.status();
    const absl::Status legal = CheckQuantizedMatrix(solved->matrix);
    EXPECT_TRUE(legal.ok()) << spread << ": " << legal;
  }
}

TEST_P(FixedSolversTest, NamesAWeightThatIsNoNumber) {
  TestProblem test(3, 256);
  test.weights[256 + 17] = std::numeric_limits<float>::quiet_NaN();
  const auto solved = Solve(&test);
  EXPECT_EQ(solved.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(solved.status().message(), "[1, 17]"))
      << solved.status();
}

TEST_P(FixedSolversTest, NamesAnImportanceThatIsNone) {
  TestProblem test(3, 256);
  test.importance[9] = -1;
  test.problem.importance = test.importance.data();
  const auto solved = Solve(&test);
  EXPECT_EQ(solved.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(solved.status().message(), "column 9"))
      << solved.status();
}

INSTANTIATE_TEST_SUITE_P(Schemes, FixedSolversTest, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<Case>& info) {
                           return std::string(info.param.name);
                         });

// bitsandbytes 0.50.2, quantize_4bit(torch.linspace(-1, 1, 64), 64, type): the
// first of two codes is in the high bits.
TEST(Codebook, CodesAreTheLibrarys) {
  TestProblem test(1, 64);
  for (size_t i = 0; i < 32; ++i) {
    // As torch.linspace: from both ends.
    const float step = 2.0f / 63.0f;
    test.weights[i] = -1.0f + step * static_cast<float>(i);
    test.weights[63 - i] = 1.0f - step * static_cast<float>(i);
  }
  test.options = AsPeers();
  const std::pair<CodeKind, const char*> goldens[] = {
      {CodeKind::kNf4,
       "00000111111112222233344445556667788899aaabbbccccddddeeeeeeefffff"},
      {CodeKind::kFp4,
       "bbbbbbaaaaaaaadddddccccffeeee99911166667744445555522222222333333"},
  };
  for (const auto& [kind, golden] : goldens) {
    test.problem.scheme = Table(kind, 64);
    const auto solved = FindSolver("codebook")->solve(test.problem);
    ASSERT_TRUE(solved.ok()) << solved.status();
    std::string codes;
    for (const uint8_t code : solved->matrix.codes) {
      absl::StrAppend(&codes, absl::Hex(code));
    }
    EXPECT_EQ(codes, golden);
    EXPECT_EQ(solved->matrix.scales, std::vector<float>{1.0f});
  }
}

TEST(Codebook, RefusesBlocksThatTheLibraryLacks) {
  for (int64_t block : {16, 48, 8192}) {
    EXPECT_EQ(FindSolver("codebook")
                  ->supports(Table(CodeKind::kNf4, block), SolverOptions())
                  .code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(Codebook, NestedScalesGetCodesOfTheirOwn) {
  TestProblem test(64, 256);
  test.options.blind_search = true;
  test.problem.scheme = Table(CodeKind::kNf4, 64);
  const auto plain = FindSolver("codebook")->solve(test.problem);
  test.problem.scheme.nested_scales = true;
  const auto nested = FindSolver("codebook")->solve(test.problem);
  ASSERT_TRUE(plain.ok() && nested.ok());
  EXPECT_EQ(plain->matrix.scales, nested->matrix.scales);
  EXPECT_NE(plain->matrix.codes, nested->matrix.codes);
}

// The peers' rules, written out.
TEST(Int8, AsThePeersDivides) {
  TestProblem test(4, 96);
  test.options = AsPeers();
  test.problem.scheme = Scheme(CodeKind::kInteger, 8, 1, 0, QuantType::kBF16);
  const auto w8a8 = FindSolver("int8")->solve(test.problem);
  test.problem.scheme = LlmInt8();
  const auto llm = FindSolver("int8")->solve(test.problem);
  ASSERT_TRUE(w8a8.ok() && llm.ok());
  for (size_t r = 0; r < 4; ++r) {
    float top = 0;
    float top16 = 0;
    for (size_t i = r * 96; i < (r + 1) * 96; ++i) {
      top = std::max(top, std::fabs(test.weights[i]));
      top16 = std::max(top16,
                       std::fabs(FloatFromF16(F16FromFloat(test.weights[i]))));
    }
    const float scale = FloatFromBf16(Bf16FromFloat(top / 127.5f));
    EXPECT_EQ(w8a8->matrix.scales[r], scale);
    EXPECT_EQ(llm->matrix.scales[r], top16);
    for (size_t i = r * 96; i < (r + 1) * 96; ++i) {
      const float x = test.weights[i];
      const float x16 = FloatFromF16(F16FromFloat(x));
      EXPECT_EQ(w8a8->matrix.codes[i],
                static_cast<int>(
                    std::nearbyint(std::clamp(x / scale, -128.0f, 127.0f))) +
                    128);
      EXPECT_EQ(
          llm->matrix.codes[i],
          static_cast<int>(std::nearbyint(x16 * (1 / top16 * 127))) + 128);
    }
  }
}

TEST(Fp8, AsThePeersDivides) {
  TestProblem test(200, 130);
  test.options = AsPeers();
  test.problem.scheme = Scheme(CodeKind::kE4M3, 8, 128, 128, QuantType::kF32);
  const auto solved = FindSolver("fp8")->solve(test.problem);
  ASSERT_TRUE(solved.ok()) << solved.status();
  ASSERT_EQ(solved->matrix.scales.size(), 4u);
  for (int64_t r = 0; r < 200; ++r) {
    for (int64_t c = 0; c < 130; ++c) {
      const size_t at = static_cast<size_t>(r * 130 + c);
      const float scale =
          solved->matrix.scales[static_cast<size_t>(r / 128 * 2 + c / 128)];
      EXPECT_EQ(solved->matrix.codes[at],
                E4M3FromFloat(test.weights[at] / scale));
      EXPECT_LE(std::fabs(test.weights[at]) / scale, 448.001f);
    }
  }
}

TEST(Fp4, TheGlobalScaleIsTheProblemsWhereItHasOne) {
  TestProblem test(8, 64);
  test.problem.scheme = Nvfp4();
  float top = 0;
  for (const float weight : test.weights) {
    top = std::max(top, std::fabs(weight));
  }
  const auto own = FindSolver("fp4")->solve(test.problem);
  test.problem.global_scale = Nvfp4GlobalScale(2 * top, test.options);
  const auto shared = FindSolver("fp4")->solve(test.problem);
  ASSERT_TRUE(own.ok() && shared.ok());
  EXPECT_EQ(own->matrix.global_scale, Nvfp4GlobalScale(top, test.options));
  EXPECT_EQ(shared->matrix.global_scale, test.problem.global_scale);
}

// The first block's largest weight is 6 and all others 4: over 6 they are
// exact. The second has 6 and 5, which lies between: over 4 of a larger scale.
TEST(Fp4, FourOverSix) {
  TestProblem test(1, 64);
  for (size_t i = 0; i < 64; ++i) {
    test.weights[i] = i % 16 == 0 ? 6 : i < 32 ? 4 : 4.5f;
  }
  test.problem.scheme = Nvfp4();
  test.problem.global_scale = 256;
  const auto solved = FindSolver("fp4")->solve(test.problem);
  ASSERT_TRUE(solved.ok()) << solved.status();
  EXPECT_EQ(solved->matrix.scales[0], 256);
  EXPECT_EQ(solved->matrix.scales[3], 384);
  EXPECT_EQ(test.Error(solved->matrix), 0);
}

// The rule of OCP's reference with compressed-tensors' rounding.
TEST(Fp4, PowersOfTwoAsThePeers) {
  TestProblem test(1, 32 * 4);
  test.options = AsPeers();
  test.problem.scheme = Scheme(CodeKind::kE2M1, 4, 1, 32, QuantType::kF8E8M0);
  const float tops[] = {4.0f, 6.9f, 7.0f, 0.0625f};
  const float scales[] = {1.0f, 1.0f, 2.0f, 0.015625f};
  for (size_t b = 0; b < 4; ++b) {
    for (size_t i = 0; i < 32; ++i) {
      test.weights[b * 32 + i] = tops[b] / static_cast<float>(i + 1);
    }
  }
  const auto solved = FindSolver("fp4")->solve(test.problem);
  ASSERT_TRUE(solved.ok()) << solved.status();
  EXPECT_EQ(solved->matrix.scales, std::vector<float>(scales, scales + 4));
}

TEST(Fp4, WholeBlocksOnly) {
  TestProblem test(2, 72);
  test.problem.scheme = Nvfp4();
  EXPECT_EQ(FindSolver("fp4")->solve(test.problem).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(StaticInputs, GetTheLargestSeenOrAnError) {
  TestProblem test(2, 64);
  LayerStats stats;
  stats.n_cols = 64;
  stats.n_rows = 10;
  stats.sum_sq.assign(64, 10.0);
  stats.sum_abs.assign(64, 10.0);
  stats.max_abs.assign(64, 1.0f);
  stats.max_abs[5] = 12.7f;
  struct {
    const char* solver;
    WeightScheme scheme;
    ActivationKind activations;
    float scale;
  } cases[] = {
      {"int8", Scheme(CodeKind::kInteger, 8, 1, 0, QuantType::kF32),
       ActivationKind::kStaticInt8, 12.7f / 127},
      {"fp8", Scheme(CodeKind::kE4M3, 8, 0, 0, QuantType::kF32),
       ActivationKind::kStaticFp8, 12.7f / 448},
      {"fp4", Nvfp4(), ActivationKind::kNvfp4, 448 / (12.7f / 6)},
  };
  for (auto& c : cases) {
    c.scheme.activations = c.activations;
    test.problem.scheme = c.scheme;
    test.problem.stats = nullptr;
    EXPECT_EQ(FindSolver(c.solver)->solve(test.problem).status().code(),
              absl::StatusCode::kFailedPrecondition);
    test.problem.stats = &stats;
    const auto solved = FindSolver(c.solver)->solve(test.problem);
    ASSERT_TRUE(solved.ok()) << solved.status();
    EXPECT_EQ(solved->matrix.input_scale, c.scale);
  }
}

TEST(FixedSolvers, RefuseSchemesOfOthers) {
  for (const Case& theirs : Cases()) {
    for (const char* name : {"codebook", "int8", "fp8", "fp4"}) {
      EXPECT_EQ(FindSolver(name)->supports(theirs.scheme, SolverOptions()).ok(),
                name == std::string(theirs.solver))
          << name << " " << theirs.name;
    }
  }
}

}  // namespace
}  // namespace narrow
