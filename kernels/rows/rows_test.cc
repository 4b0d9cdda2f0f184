// Every variant against the definitions, over awkward sizes, and every
// variant bit for bit against the others.

#include "kernels/rows/rows.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr int64_t kSizes[] = {1, 2, 15, 16, 17, 31, 48, 100, 640, 1003};

std::vector<float> Normal(int64_t n, float spread, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) {
    v = normal(random);
  }
  return values;
}

class RowsTest : public testing::TestWithParam<const RowKernels*> {
 protected:
  void SetUp() override {
    if (GetParam()->isa > CpuIsa()) {
      GTEST_SKIP() << "this processor lacks it";
    }
  }
  const RowKernels& rows() const { return *GetParam(); }
  const RowKernels& reference() const { return RowKernelsReference(); }
};

// Elements agree within `ulps` units of 2^-24 relative, or `absolute`.
void ExpectNear(const std::vector<float>& got, const std::vector<float>& want,
                double relative, double absolute) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double bound = relative * std::fabs(want[i]) + absolute;
    ASSERT_NEAR(got[i], want[i], bound) << "at " << i << " of " << got.size();
  }
}

TEST_P(RowsTest, NormsAndGatesAreNearTheDefinition) {
  for (const int64_t n : kSizes) {
    const std::vector<float> x = Normal(n, 3, 1), y = Normal(n, 2, 2);
    std::vector<float> got(x.size()), want(x.size());
    // Three roundings of 2^-24 each.
    rows().rms_norm(x.data(), y.data(), n, 1e-6f, got.data());
    reference().rms_norm(x.data(), y.data(), n, 1e-6f, want.data());
    ExpectNear(got, want, 3e-7, 0);
    // The exponential's error of 2e-7 and a few roundings; in the argument of
    // GELU's exponential, up to 20 here, a rounding counts 20 times.
    rows().gate_silu(x.data(), y.data(), n, got.data());
    reference().gate_silu(x.data(), y.data(), n, want.data());
    ExpectNear(got, want, 2e-6, 1e-30);
    rows().gate_gelu(x.data(), y.data(), n, got.data());
    reference().gate_gelu(x.data(), y.data(), n, want.data());
    ExpectNear(got, want, 5e-6, 1e-6);
  }
}

TEST_P(RowsTest, GatesSurviveLargeInputs) {
  const std::vector<float> x = {-1e4f, -200, -100, -88, 88, 100, 200, 1e4f};
  const std::vector<float> ones(x.size(), 1);
  for (const auto gate : {rows().gate_silu, rows().gate_gelu}) {
    std::vector<float> got(x.size());
    gate(x.data(), ones.data(), static_cast<int64_t>(x.size()), got.data());
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(got[i], std::max(x[i], 0.0f), 1e-6f * std::fabs(x[i]));
    }
  }
}

TEST_P(RowsTest, ExponentialIsAccurate) {
  for (float x = -86.9f; x < 87.9f; x += 0.0137f) {
    std::vector<float> values = {x};
    rows().exp_in_place(0, 1, values.data());
    const double want = std::exp(static_cast<double>(x));
    ASSERT_NEAR(values[0], want, 2e-7 * want) << x;
  }
}

TEST_P(RowsTest, ExponentialSumsAgree) {
  for (const int64_t n : kSizes) {
    std::vector<float> x = Normal(n, 10, 3);
    const float top = rows().max(x.data(), n);
    EXPECT_EQ(top, reference().max(x.data(), n));
    const double want = reference().exp_sum(x.data(), top, n);
    const double got = rows().exp_sum(x.data(), top, n);
    // x - shift, below 88, is rounded to 2^-18 at worst; terms near the
    // largest, which make the sum, to 2^-24 * |x - shift|.
    EXPECT_NEAR(got, want, 2e-6 * want);
    EXPECT_EQ(rows().exp_in_place(top, n, x.data()), got);
  }
}

TEST_P(RowsTest, NanReachesTheSum) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t n : kSizes) {
    std::vector<float> x(static_cast<size_t>(n), 1.0f);
    x.back() = nan;
    EXPECT_TRUE(std::isnan(rows().exp_sum(x.data(), 1, n)));
    EXPECT_FALSE(rows().all_finite(x.data(), n));
    x.back() = -std::numeric_limits<float>::infinity();
    EXPECT_FALSE(rows().all_finite(x.data(), n));
    x.back() = std::numeric_limits<float>::max();
    EXPECT_TRUE(rows().all_finite(x.data(), n));
  }
}

TEST_P(RowsTest, SoftCapBounds) {
  for (const int64_t n : kSizes) {
    std::vector<float> got = Normal(n, 60, 4), want = got;
    rows().soft_cap(30, n, got.data());
    reference().soft_cap(30, n, want.data());
    // 1 - t loses at most 2^-24 of 1, times the cap.
    ExpectNear(got, want, 3e-7, 30 * 2e-7);
  }
}

TEST_P(RowsTest, RotationsAreNearTheDefinition) {
  for (const int64_t n : kSizes) {
    const std::vector<float> angles = Normal(n, 2, 5);
    std::vector<float> c(angles.size()), s(angles.size());
    for (size_t i = 0; i < angles.size(); ++i) {
      c[i] = std::cos(angles[i]);
      s[i] = std::sin(angles[i]);
    }
    std::vector<float> got = Normal(2 * n, 1, 6), want = got;
    rows().rotate_halves(c.data(), s.data(), n, got.data());
    reference().rotate_halves(c.data(), s.data(), n, want.data());
    ExpectNear(got, want, 0, 1e-6);
    rows().rotate_pairs(c.data(), s.data(), n, got.data());
    reference().rotate_pairs(c.data(), s.data(), n, want.data());
    ExpectNear(got, want, 0, 1e-6);
  }
}

TEST_P(RowsTest, SumsAndBfloat16AreExact) {
  for (const int64_t n : kSizes) {
    std::vector<float> x = Normal(n, 1e3, 7);
    x[0] = std::numeric_limits<float>::quiet_NaN();
    std::vector<uint16_t> got(x.size()), want(x.size());
    rows().to_bf16(x.data(), n, got.data());
    reference().to_bf16(x.data(), n, want.data());
    EXPECT_EQ(got, want);
    std::vector<float> y = Normal(n, 1, 8), z = y;
    const std::vector<float> addend = Normal(n, 1, 9);
    rows().add_scaled(addend.data(), 0.3f, n, y.data());
    reference().add_scaled(addend.data(), 0.3f, n, z.data());
    EXPECT_EQ(y, z);
    rows().scale(y.data(), 0.7f, n, y.data());
    reference().scale(z.data(), 0.7f, n, z.data());
    EXPECT_EQ(y, z);
  }
}

TEST_P(RowsTest, ColumnSumsAreThoseOfTheDefinitionInAnyPieces) {
  constexpr int64_t kRows = 37, kExtra = 3;
  for (const int64_t n : kSizes) {
    const int64_t stride = n + kExtra;
    const std::vector<float> x = Normal(kRows * stride, 100, 12);
    std::vector<double> sums(static_cast<size_t>(n), 0.5), squares(sums);
    std::vector<double> want_sums(sums), want_squares(sums);
    reference().add_columns(x.data(), stride, kRows, n, want_sums.data(),
                            want_squares.data());
    for (const auto& piece : {std::make_pair(0, 1), std::make_pair(1, 20),
                              std::make_pair(20, 37)}) {
      rows().add_columns(x.data() + piece.first * stride, stride,
                         piece.second - piece.first, n, sums.data(),
                         squares.data());
    }
    EXPECT_EQ(sums, want_sums) << n;
    EXPECT_EQ(squares, want_squares) << n;
  }
}

TEST_P(RowsTest, MagnitudesAreThoseOfTheDefinitionInAnyPieces) {
  constexpr int64_t kRows = 37, kExtra = 3;
  struct Sums {
    explicit Sums(int64_t n)
        : squares(static_cast<size_t>(n), 0.5),
          magnitudes(squares),
          most(squares.size(), -0.25f),
          least(squares.size(), 0.25f) {}
    ColumnMagnitudes places() {
      return {squares.data(), magnitudes.data(), most.data(), least.data()};
    }
    std::vector<double> squares, magnitudes;
    std::vector<float> most, least;
  };
  const std::vector<float> weights = Normal(kRows, 1, 13);
  for (const int64_t n : kSizes) {
    for (const bool weighted : {false, true}) {
      const int64_t stride = n + kExtra;
      const std::vector<float> x = Normal(kRows * stride, 100, 12);
      Sums sums(n), want(n);
      reference().add_magnitudes(x.data(), stride, kRows, n,
                                 weighted ? weights.data() : nullptr,
                                 want.places());
      for (const auto& piece : {std::make_pair(0, 1), std::make_pair(1, 20),
                                std::make_pair(20, 37)}) {
        rows().add_magnitudes(x.data() + piece.first * stride, stride,
                              piece.second - piece.first, n,
                              weighted ? weights.data() + piece.first : nullptr,
                              sums.places());
      }
      EXPECT_EQ(sums.squares, want.squares) << n;
      EXPECT_EQ(sums.magnitudes, want.magnitudes) << n;
      EXPECT_EQ(sums.most, want.most) << n;
      EXPECT_EQ(sums.least, want.least) << n;
    }
  }
}

// The variants share a source; this shows that compilers kept its meaning.
TEST_P(RowsTest, VariantsGiveTheSameBits) {
  const RowKernels& plain = *AllRowKernels().back();
  for (const int64_t n : kSizes) {
    const std::vector<float> x = Normal(n, 4, 10), y = Normal(n, 4, 11);
    std::vector<float> got(x.size()), want(x.size());
    const auto expect_same = [&](const char* what) {
      ASSERT_EQ(std::memcmp(got.data(), want.data(), got.size() * 4), 0)
          << what << " of " << n;
    };
    rows().rms_norm(x.data(), y.data(), n, 1e-5f, got.data());
    plain.rms_norm(x.data(), y.data(), n, 1e-5f, want.data());
    expect_same("rms_norm");
    rows().gate_silu(x.data(), y.data(), n, got.data());
    plain.gate_silu(x.data(), y.data(), n, want.data());
    expect_same("gate_silu");
    rows().gate_gelu(x.data(), y.data(), n, got.data());
    plain.gate_gelu(x.data(), y.data(), n, want.data());
    expect_same("gate_gelu");
    got = want = x;
    rows().soft_cap(5, n, got.data());
    plain.soft_cap(5, n, want.data());
    expect_same("soft_cap");
    got = want = x;
    const float top = rows().max(x.data(), n);
    EXPECT_EQ(rows().exp_in_place(top, n, got.data()),
              plain.exp_in_place(top, n, want.data()));
    expect_same("exp_in_place");
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, RowsTest,
                         testing::ValuesIn(AllRowKernels().begin(),
                                           AllRowKernels().end()),
                         [](const auto& info) {
                           return std::string(info.param->name);
                         });

}  // namespace
}  // namespace narrow
