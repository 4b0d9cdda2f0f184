// Derivatives against differences of the passes' definitions, in double.

#include "calibration/backward/layers/row_gradients.h"

#include <cmath>
#include <functional>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

using Function =
    std::function<std::vector<double>(const std::vector<double>& x)>;

constexpr int64_t kSizes[] = {1, 7, 8, 16, 67};

double Random(uint64_t* state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<double>(*state >> 33) / double(1 << 30) - 1;
}

std::vector<float> RandomRow(int64_t n, double scale, uint64_t seed) {
  std::vector<float> row;
  uint64_t state = seed;
  for (int64_t i = 0; i < n; ++i) {
    row.push_back(static_cast<float>(scale * Random(&state)));
  }
  return row;
}

// Expects `got` to be the gradient of sum_i g_i f(x)_i. A central difference
// over 1e-5 is right to 1e-9; float32 and its exponentials to 1e-6 of the
// terms that are added.
void ExpectGradient(const Function& f, const std::vector<float>& x,
                    const std::vector<float>& g,
                    const std::vector<float>& got) {
  constexpr double kStep = 1e-5;
  std::vector<double> at(x.begin(), x.end());
  for (size_t i = 0; i < x.size(); ++i) {
    const double here = at[i];
    at[i] = here + kStep;
    const auto above = f(at);
    at[i] = here - kStep;
    const auto below = f(at);
    at[i] = here;
    double want = 0, size = 0;
    for (size_t j = 0; j < g.size(); ++j) {
      const double term = g[j] * (above[j] - below[j]) / (2 * kStep);
      want += term;
      size += std::fabs(term);
    }
    EXPECT_NEAR(got[i], want, 4e-6 * size + 1e-7) << "element " << i;
  }
}

TEST(RmsNormGradient, IsDifferences) {
  for (const int64_t n : kSizes) {
    for (const float eps : {1e-6f, 0.5f}) {
      const auto x = RandomRow(n, 2, 1), w = RandomRow(n, 1, 2);
      const auto g = RandomRow(n, 1, 3);
      auto got = g;
      RmsNormGradient(x.data(), w.data(), n, eps, got.data());
      ExpectGradient(
          [&](const std::vector<double>& v) {
            double mean = 0;
            for (const double e : v) {
              mean += e * e / static_cast<double>(n);
            }
            std::vector<double> y;
            for (size_t i = 0; i < v.size(); ++i) {
              y.push_back(v[i] / std::sqrt(mean + static_cast<double>(eps)) *
                          static_cast<double>(w[i]));
            }
            return y;
          },
          x, g, got);
    }
  }
}

// A row of zeros has the slope weight / sqrt(eps), not NaN.
TEST(RmsNormGradient, TakesZeros) {
  const std::vector<float> x(4), w(4, 2.0f);
  std::vector<float> g(4, 1.0f);
  RmsNormGradient(x.data(), w.data(), 4, 0.25f, g.data());
  EXPECT_EQ(g, std::vector<float>(4, 4.0f));
}

TEST(GateGradient, IsDifferences) {
  for (const auto activation :
       {BlockTraits::Activation::kSilu, BlockTraits::Activation::kGeluTanh}) {
    const bool gelu = activation == BlockTraits::Activation::kGeluTanh;
    const auto act = [gelu](double x) {
      return gelu ? 0.5 * x *
                        (1 + std::tanh(std::sqrt(2 / M_PI) *
                                       (x + 0.044715 * x * x * x)))
                  : x / (1 + std::exp(-x));
    };
    for (const int64_t n : kSizes) {
      const auto gate = RandomRow(n, 6, 4), up = RandomRow(n, 2, 5);
      const auto g = RandomRow(n, 1, 6);
      std::vector<float> at_gate(gate.size()), at_up(gate.size());
      GateGradient(RowKernelsForCpu(), activation, gate.data(), up.data(),
                   g.data(), n, at_gate.data(), at_up.data());
      ExpectGradient(
          [&](const std::vector<double>& v) {
            std::vector<double> y;
            for (size_t i = 0; i < v.size(); ++i) {
              y.push_back(act(v[i]) * static_cast<double>(up[i]));
            }
            return y;
          },
          gate, g, at_gate);
      ExpectGradient(
          [&](const std::vector<double>& v) {
            std::vector<double> y;
            for (size_t i = 0; i < v.size(); ++i) {
              y.push_back(act(static_cast<double>(gate[i])) * v[i]);
            }
            return y;
          },
          up, g, at_up);
    }
  }
}

// Far out the gate is the identity or 0.
TEST(GateGradient, TakesLargeValues) {
  for (const auto activation :
       {BlockTraits::Activation::kSilu, BlockTraits::Activation::kGeluTanh}) {
    const std::vector<float> gate = {-1e4f, 1e4f}, up = {3, 3}, g = {1, 1};
    std::vector<float> at_gate(2), at_up(2);
    GateGradient(RowKernelsForCpu(), activation, gate.data(), up.data(),
                 g.data(), 2, at_gate.data(), at_up.data());
    EXPECT_NEAR(at_gate[0], 0, 1e-20);
    EXPECT_NEAR(at_up[0], 0, 1e-20);
    EXPECT_FLOAT_EQ(at_gate[1], 3);
    EXPECT_FLOAT_EQ(at_up[1], 1e4f);
  }
}

TEST(SoftCapGradient, IsDifferences) {
  constexpr double kCap = 3;
  const auto x = RandomRow(33, 8, 7), g = RandomRow(33, 1, 8);
  std::vector<float> y = x;
  RowKernelsForCpu().soft_cap(kCap, 33, y.data());
  auto got = g;
  SoftCapGradient(kCap, y.data(), 33, got.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double t = std::tanh(static_cast<double>(x[i]) / kCap);
    EXPECT_NEAR(got[i], g[i] * (1 - t * t), 1e-6);
  }
}

TEST(SquaredNorm, IsTheSumOfSquares) {
  for (const int64_t n : kSizes) {
    const auto x = RandomRow(n, 3, 9);
    double want = 0;
    for (const float v : x) {
      want += static_cast<double>(v) * static_cast<double>(v);
    }
    EXPECT_NEAR(SquaredNorm(x.data(), n), want, 1e-12 * want);
  }
}

}  // namespace
}  // namespace narrow
