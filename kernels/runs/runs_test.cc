#include "kernels/runs/runs.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

// 16 numbers at uneven distances with a code order of their own.
RunGrid UnevenTable() {
  RunGrid grid;
  grid.kind = RunGrid::Kind::kTable;
  for (int i = 0; i < 16; ++i) {
    grid.values[i] = 0.01f * static_cast<float>((i - 7) * (i + 3));
    grid.codes[i] = static_cast<uint8_t>((5 * i + 3) % 16);
  }
  grid.values[0] = -1;
  grid.values[1] = -0.7f;
  grid.values[2] = -0.55f;
  grid.values[3] = -0.4f;
  grid.values[4] = -0.3f;
  for (int i = 0; i < 15; ++i) {
    grid.bounds[i] = (grid.values[i] + grid.values[i + 1]) / 2;
  }
  return grid;
}

std::vector<RunGrid> Grids() {
  RunGrid integer;
  RunGrid restricted;
  restricted.low = -128;
  RunGrid e4m3;
  e4m3.kind = RunGrid::Kind::kE4M3;
  RunGrid e2m1;
  e2m1.kind = RunGrid::Kind::kE2M1;
  return {integer, restricted, e4m3, e2m1, UnevenTable()};
}

class RunsTest : public testing::TestWithParam<const RunKernels*> {
 protected:
  void SetUp() override {
    if (GetParam()->isa > CpuIsa()) {
      GTEST_SKIP() << "this processor has no " << IsaName(GetParam()->isa);
    }
  }
};

bool SameBits(const RunSums& a, const RunSums& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

TEST_P(RunsTest, AreThePlainLoops) {
  std::mt19937 random(20231101);
  std::normal_distribution<float> normal;
  const RunKernels& plain = RunKernelsReference();
  for (const RunGrid& grid : Grids()) {
    for (int64_t n : {1, 7, 15, 16, 17, 64, 100, 4096}) {
      std::vector<float> x(static_cast<size_t>(n));
      std::vector<float> w(static_cast<size_t>(n));
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = normal(random) * std::exp(2 * normal(random));
        w[i] = std::exp(normal(random));
      }
      EXPECT_EQ(GetParam()->max_abs(x.data(), n), plain.max_abs(x.data(), n));
      for (float scale : {0.003f, 0.02f, 0.3f, 1.0f, 5.0f}) {
        for (RunDivision division :
             {RunDivision::kMultiply, RunDivision::kDivide}) {
          std::vector<uint8_t> codes(x.size() + 1, 77);
          std::vector<uint8_t> expected(x.size() + 1, 77);
          GetParam()->round(grid, x.data(), n, scale, division, codes.data());
          plain.round(grid, x.data(), n, scale, division, expected.data());
          EXPECT_EQ(codes, expected) << "n " << n << " factor " << scale;
        }
        for (const float* weights : {static_cast<const float*>(nullptr),
                                     static_cast<const float*>(w.data())}) {
          EXPECT_TRUE(
              SameBits(GetParam()->measure(grid, x.data(), weights, n, scale),
                       plain.measure(grid, x.data(), weights, n, scale)))
              << "n " << n << " scale " << scale;
        }
      }
    }
  }
}

// Its inverse is infinite; behind the run there is nothing to multiply by it.
TEST_P(RunsTest, TinyScalesCountNothingBehindARun) {
  for (const RunGrid& grid : Grids()) {
    for (int64_t n : {1, 7, 17, 40}) {
      const std::vector<float> x(static_cast<size_t>(n), 1e-38f);
      const float scale = 1e-39f;
      EXPECT_TRUE(SameBits(
          GetParam()->measure(grid, x.data(), nullptr, n, scale),
          RunKernelsReference().measure(grid, x.data(), nullptr, n, scale)))
          << "n " << n;
    }
  }
}

TEST_P(RunsTest, SideBySideAreThePlainLoops) {
  std::mt19937 random(20231102);
  std::normal_distribution<float> normal;
  const RunKernels& plain = RunKernelsReference();
  for (const RunGrid& grid : Grids()) {
    for (int64_t n : {1, 16, 64}) {
      const int64_t n_runs = n == 1 ? 16 : 5;
      std::vector<float> from(static_cast<size_t>(n_runs * (n + 3)));
      for (float& value : from) {
        value = normal(random);
      }
      from[0] = 0;
      std::vector<float> x(static_cast<size_t>(n * kRunsAside));
      std::vector<float> expected_x(x.size());
      GetParam()->put_aside(from.data(), n + 3, n_runs, n, x.data());
      plain.put_aside(from.data(), n + 3, n_runs, n, expected_x.data());
      EXPECT_EQ(x, expected_x);
      std::vector<float> w(x.size());
      for (float& value : w) {
        value = std::exp(normal(random));
      }
      std::vector<float> scales(5 * kRunsAside);
      for (float& value : scales) {
        value = std::exp(normal(random));
      }
      for (const float* weights : {static_cast<const float*>(nullptr),
                                   static_cast<const float*>(w.data())}) {
        std::vector<float> best(2 * kRunsAside), expected(2 * kRunsAside);
        GetParam()->choose_scales(grid, x.data(), weights, n, scales.data(), 5,
                                  &best[0], &best[kRunsAside]);
        plain.choose_scales(grid, x.data(), weights, n, scales.data(), 5,
                            &expected[0], &expected[kRunsAside]);
        EXPECT_EQ(best, expected);
        GetParam()->refit_scales(grid, x.data(), weights, n, 3, &best[0],
                                 &best[kRunsAside]);
        plain.refit_scales(grid, x.data(), weights, n, 3, &expected[0],
                           &expected[kRunsAside]);
        EXPECT_EQ(best, expected);
      }
    }
  }
}

// Every middle between two numbers, and what is next to it on both sides.
TEST_P(RunsTest, MiddlesFallAsInThePlainLoops) {
  for (const RunGrid& grid : Grids()) {
    std::vector<float> x = {0.0f,   -0.0f,    448,     449,     1e30f,
                            -1e30f, 0x1p-10f, 0x1p-9f, 0x1p-6f, 1e-42f,
                            5,      5.1f,     464};
    for (int i = -2000; i <= 2000; ++i) {
      const float middle = static_cast<float>(i) / 16;
      for (float small : {1.0f, 0x1p-9f}) {
        x.push_back(middle * small);
        x.push_back(std::nextafter(middle * small, 1e9f));
        x.push_back(std::nextafter(middle * small, -1e9f));
      }
    }
    for (const float bound : grid.bounds) {
      x.push_back(bound);
      x.push_back(std::nextafter(bound, 2.0f));
    }
    const int64_t n = static_cast<int64_t>(x.size());
    std::vector<uint8_t> codes(x.size());
    std::vector<uint8_t> expected(x.size());
    GetParam()->round(grid, x.data(), n, 1, RunDivision::kMultiply,
                      codes.data());
    RunKernelsReference().round(grid, x.data(), n, 1, RunDivision::kMultiply,
                                expected.data());
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(int{codes[i]}, int{expected[i]}) << x[i];
    }
  }
}

TEST_P(RunsTest, ANanShowsInTheMaximum) {
  std::vector<float> x(40, 1.0f);
  for (size_t at : {0, 17, 39}) {
    std::vector<float> bad = x;
    bad[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(GetParam()->max_abs(bad.data(), 40),
              std::numeric_limits<float>::infinity());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Variants, RunsTest, testing::ValuesIn(AllRunKernels()),
    [](const testing::TestParamInfo<const RunKernels*>& info) {
      return std::string(info.param->name);
    });

}  // namespace
}  // namespace narrow
