#include "kernels/half_quadratic/half_quadratic.h"

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

class HalfQuadraticTest : public testing::TestWithParam<const HalfQuadratic*> {
 protected:
  void SetUp() override {
    if (GetParam()->isa > CpuIsa()) {
      GTEST_SKIP() << "this processor has no " << IsaName(GetParam()->isa);
    }
  }

  std::vector<float> Normals(int64_t n, float spread) {
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> values(static_cast<size_t>(n));
    for (float& value : values) {
      value = normal(random_);
    }
    return values;
  }
  std::vector<float> Positive(int64_t n) {
    std::vector<float> values = Normals(n, 1);
    for (float& value : values) {
      value = std::exp(value);
    }
    return values;
  }

  std::mt19937 random_{20231128};
};

TEST_P(HalfQuadraticTest, IsThePlainLoops) {
  const HalfQuadratic& plain = HalfQuadraticReference();
  // Weights of spread 2 have errors that are shrunk, those of 0.02 none.
  for (float spread : {0.02f, 2.0f}) {
    for (int64_t n : {1, 8, 64}) {
      for (float high : {1.0f, 7.0f, 255.0f}) {
        const std::vector<float> x = Normals(n * kGroupsAside, spread);
        const std::vector<float> w = Positive(n * kGroupsAside);
        std::vector<float> low(kGroupsAside), top(kGroupsAside);
        std::vector<float> plain_low(kGroupsAside), plain_top(kGroupsAside);
        GetParam()->range(x.data(), n, low.data(), top.data());
        plain.range(x.data(), n, plain_low.data(), plain_top.data());
        EXPECT_EQ(low, plain_low);
        EXPECT_EQ(top, plain_top);

        std::vector<float> inverses = Positive(kGroupsAside);
        std::vector<float> scales;
        for (float& inverse : inverses) {
          inverse *= high / spread / 4;
          scales.push_back(1 / inverse);
        }
        std::vector<float> zeros = Positive(kGroupsAside);
        std::vector<float> plain_zeros = zeros;
        std::vector<float> errors(kGroupsAside), plain_errors(kGroupsAside);
        HalfQuadraticParams params;
        params.high = high;
        for (int i = 0; i < 3; ++i) {
          GetParam()->step(params, x.data(), n, inverses.data(), zeros.data(),
                           errors.data());
          plain.step(params, x.data(), n, inverses.data(), plain_zeros.data(),
                     plain_errors.data());
          EXPECT_EQ(zeros, plain_zeros);
          EXPECT_EQ(errors, plain_errors);
        }
        for (const float* weights :
             {static_cast<const float*>(nullptr), w.data()}) {
          GetParam()->measure(high, x.data(), weights, n, scales.data(),
                              zeros.data(), errors.data());
          plain.measure(high, x.data(), weights, n, scales.data(), zeros.data(),
                        plain_errors.data());
          EXPECT_EQ(errors, plain_errors);
          HalfQuadraticSums sums, plain_sums;
          GetParam()->sum(high, x.data(), weights, n, scales.data(),
                          zeros.data(), &sums);
          plain.sum(high, x.data(), weights, n, scales.data(), zeros.data(),
                    &plain_sums);
          EXPECT_EQ(std::memcmp(&sums, &plain_sums, sizeof(sums)), 0);
        }
        std::vector<uint8_t> codes(x.size() + 1, 9), plain_codes(codes);
        const int64_t all = n * kGroupsAside - 3;
        GetParam()->round(high, x.data(), all, inverses[0], zeros[0],
                          codes.data());
        plain.round(high, x.data(), all, inverses[0], zeros[0],
                    plain_codes.data());
        EXPECT_EQ(codes, plain_codes);
      }
    }
  }
}

// The shrinkage as the paper has it, with the library's power.
TEST_P(HalfQuadraticTest, ShrinksByThePowerOfTheError) {
  HalfQuadraticParams params;
  params.high = 1;
  // One element a group, code 0 or 1, scale 1, zero 0: the error is x or
  // x - 1, and the new zero q - x + shrunk.
  std::vector<float> x(kGroupsAside), zeros(kGroupsAside, 0.0f);
  std::vector<float> ones(kGroupsAside, 1.0f), errors(kGroupsAside);
  for (size_t k = 0; k < x.size(); ++k) {
    x[k] = 3.0f * (static_cast<float>(k) - 7.3f);
  }
  GetParam()->step(params, x.data(), 1, ones.data(), zeros.data(),
                   errors.data());
  for (size_t k = 0; k < x.size(); ++k) {
    const double q = x[k] > 0.5 ? 1 : 0;
    const double miss = double{x[k]} - q;
    const double left =
        std::max(std::fabs(miss) - std::pow(std::fabs(miss), -0.3) / 10, 0.0);
    // Power is good to 1e-5 of what it gives, at most 0.1 here.
    EXPECT_NEAR(zeros[k], q - (double{x[k]} - std::copysign(left, miss)), 5e-6)
        << x[k];
  }
}

INSTANTIATE_TEST_SUITE_P(
    Variants, HalfQuadraticTest, testing::ValuesIn(AllHalfQuadratic()),
    [](const testing::TestParamInfo<const HalfQuadratic*>& info) {
      return std::string(info.param->name);
    });

}  // namespace
}  // namespace narrow
