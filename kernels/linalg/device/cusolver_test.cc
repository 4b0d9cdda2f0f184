// Factors through cuSOLVER's interface, with a library that computes on the
// processor (fake_cusolver.cc), beside those of kernels/linalg.

#include "kernels/linalg/device/cusolver.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "kernels/linalg/cholesky.h"
#include "kernels/linalg/device/device_factor.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

using testing::HasSubstr;

// The library, and what it tells tests.
struct Fake {
  const cusolver::Api* api;
  void (*fail)(const char* call, int status);
  const char* (*complaint)();
  int (*alone)();
  int (*batches)();
  int (*living)();
};

Fake LoadFake() {
  setenv("NARROW_CUDA_LIBRARIES", "kernels/linalg/device", 1);
  const auto api = LoadCuSolver();
  EXPECT_TRUE(api.ok()) << api.status();
  Fake fake = {*api, nullptr, nullptr, nullptr, nullptr, nullptr};
  void* const library = dlopen((*api)->path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  const auto find = [library](const char* name, auto* function) {
    *function = reinterpret_cast<std::decay_t<decltype(*function)>>(
        dlsym(library, name));
    EXPECT_NE(*function, nullptr) << name;
  };
  find("FakeFail", &fake.fail);
  find("FakeComplaint", &fake.complaint);
  find("FakeAlone", &fake.alone);
  find("FakeBatches", &fake.batches);
  find("FakeLiving", &fake.living);
  return fake;
}

class CuSolverTest : public testing::Test {
 protected:
  void TearDown() override { fake_.fail("", 0); }

  std::unique_ptr<CuSolver> Solver() const {
    auto solver = CuSolver::Open(on_.device(), fake_.api);
    EXPECT_TRUE(solver.ok()) << solver.status();
    return *std::move(solver);
  }

  const Fake fake_ = LoadFake();
  const TestDevice on_{Device::Cpu()};
};

// X^T X + I / 16 with n rows; nothing below the diagonal.
std::vector<double> Positive(int64_t n, uint32_t seed) {
  const auto x = NormalNumbers<double>(n * n, seed);
  std::vector<double> h(static_cast<size_t>(n * n),
                        std::numeric_limits<double>::quiet_NaN());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      double sum = i == j ? 0.0625 : 0;
      for (int64_t r = 0; r < n; ++r) {
        sum += x[r * n + i] * x[r * n + j];
      }
      h[i * n + j] = sum;
    }
  }
  return h;
}

// Batches of one, and of three with room between them.
TEST_F(CuSolverTest, FactorsAreTheProcessorsButForLastDigits) {
  const auto solver = Solver();
  EXPECT_EQ(solver->name(), "cuSOLVER 12.0.3");
  for (const int64_t n : {1, 2, 33, 130}) {
    for (const int64_t n_batch : {1, 3}) {
      const int64_t step = n * n + 5;
      std::vector<double> all(static_cast<size_t>(n_batch * step), 7.0);
      for (int64_t b = 0; b < n_batch; ++b) {
        const auto h = Positive(n, static_cast<uint32_t>(b + 1));
        std::copy(h.begin(), h.end(), all.begin() + b * step);
      }
      const DeviceBuffer d_h = on_.Upload(all);
      auto factors = DeviceFactors::New(on_.device(), n_batch, solver.get());
      ASSERT_TRUE(factors.ok());
      const int before = n_batch == 1 ? fake_.alone() : fake_.batches();
      const absl::Status status =
          (*factors)->FactorUpper(n, d_h.as<double>(), step, on_.stream());
      ASSERT_TRUE(status.ok()) << status << fake_.complaint();
      EXPECT_EQ(n_batch == 1 ? fake_.alone() : fake_.batches(), before + 1);
      const auto got = on_.Download<double>(d_h);
      const auto results = (*factors)->Results(on_.stream());
      for (int64_t b = 0; b < n_batch; ++b) {
        double* const h = all.data() + b * step;
        const FactorResult wanted = FactorUpper(nullptr, n, h);
        EXPECT_EQ(results->at(b).failed_at, -1);
        EXPECT_NEAR(results->at(b).smallest_pivot / wanted.smallest_pivot, 1,
                    1e-6);
        EXPECT_NEAR(results->at(b).largest_pivot / wanted.largest_pivot, 1,
                    1e-9);
        for (int64_t i = 0; i < n * n; ++i) {
          // Sums of n terms in another order, as ill-conditioned as 1 / 16.
          ASSERT_NEAR(got[b * step + i], h[i], 1e-9 * (1 + std::fabs(h[i])))
              << n << " " << i;
        }
      }
      EXPECT_EQ(got.back(), 7.0);
    }
  }
}

// What is not positive fails where the processor's does, alone.
TEST_F(CuSolverTest, FailsWhereTheProcessorDoes) {
  const auto solver = Solver();
  constexpr int64_t n = 60;
  std::vector<double> all;
  for (const uint32_t seed : {1, 2, 3}) {
    auto h = Positive(n, seed);
    if (seed == 2) {
      h[17 * n + 17] = -1;
    } else if (seed == 3) {
      h[40 * n + 50] = std::numeric_limits<double>::quiet_NaN();
    }
    all.insert(all.end(), h.begin(), h.end());
  }
  const DeviceBuffer d_h = on_.Upload(all);
  auto factors = DeviceFactors::New(on_.device(), 3, solver.get());
  ASSERT_TRUE(
      (*factors)->FactorUpper(n, d_h.as<double>(), n * n, on_.stream()).ok());
  const auto results = (*factors)->Results(on_.stream());
  ASSERT_TRUE(results.ok());
  for (int64_t b = 0; b < 3; ++b) {
    EXPECT_EQ(results->at(b).failed_at,
              FactorUpper(nullptr, n, all.data() + b * n * n).failed_at);
  }
  EXPECT_EQ(results->at(0).failed_at, -1);
  EXPECT_EQ(results->at(1).failed_at, 17);
  EXPECT_GE(results->at(2).failed_at, 0);
}

TEST_F(CuSolverTest, ErrorsNameTheCallAndNothingStaysBehind) {
  const int before = fake_.living();
  {
    const auto solver = Solver();
    EXPECT_GT(fake_.living(), before);
    std::vector<double> h = Positive(4, 1);
    int info = 0;
    fake_.fail("cusolverDnXpotrf", 6);
    const absl::Status failed =
        solver->Factor(4, h.data(), 16, 1, &info, on_.stream());
    EXPECT_TRUE(absl::IsInternal(failed));
    EXPECT_THAT(std::string(failed.message()),
                testing::AllOf(HasSubstr("cusolverDnXpotrf: cuSOLVER status 6"),
                               HasSubstr("1 matrices of 4 columns")));
    fake_.fail("cusolverDnDpotrfBatched", cusolver::kAllocFailed);
    int infos[2];
    EXPECT_TRUE(absl::IsResourceExhausted(
        solver->Factor(2, h.data(), 8, 2, infos, on_.stream())));
    fake_.fail("cusolverDnCreate", 1);
    EXPECT_THAT(
        std::string(CuSolver::Open(on_.device(), fake_.api).status().message()),
        HasSubstr("cusolverDnCreate: cuSOLVER status 1"));
  }
  EXPECT_EQ(fake_.living(), before);
}

TEST_F(CuSolverTest, SmallMemoryIsResourceExhausted) {
  const TestDevice on(Device::Cpu(64));
  auto solver = CuSolver::Open(on.device(), fake_.api);
  std::vector<double> h = Positive(20, 1);
  int info = 0;
  EXPECT_TRUE(absl::IsResourceExhausted(
      (*solver)->Factor(20, h.data(), 400, 1, &info, on.stream())));
}

}  // namespace
}  // namespace narrow
