// The tasks of this folder against plain loops, and a card's against the
// processor's, bit for bit, where there is one. That their bits are those of
// calibration/backward/layers is seen by device_gradient_test there.

#include "kernels/gradients/device/device_gradients.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/test_device.h"

namespace narrow {
namespace {

using namespace gradient_threads;  // NOLINT: the tasks

// What `run` leaves, on each device the same; run(on) returns floats.
template <typename Run>
std::vector<float> OnEach(const Run& run) {
  std::vector<std::vector<float>> all;
  OnEachDevice([&](const TestDevice& on) { all.push_back(run(on)); });
  for (const std::vector<float>& other : all) {
    EXPECT_EQ(other, all.front());
  }
  return all.front();
}

// Close to what double says.
void ExpectNear(const std::vector<float>& got,
                const std::vector<double>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], wanted[i], 1e-5 * (1 + std::fabs(wanted[i]))) << i;
  }
}

TEST(DeviceGradientsTest, GoesBackThroughNormsOfChosenRows) {
  const int64_t n_rows = 5, n = 37, n_all = 9;
  const std::vector<int64_t> rows = {8, 0, 3, 4, 1};
  const auto x = NormalNumbers<float>(n_all * n, 1);
  const auto weight = NormalNumbers<float>(n, 2);
  const auto gradient = NormalNumbers<float>(n_rows * n, 3);
  const auto before = NormalNumbers<float>(n_all * n, 4);
  const std::vector<float> got = OnEach([&](const TestDevice& on) {
    const DeviceBuffer d_x = on.Upload(x), d_weight = on.Upload(weight),
                       d_gradient = on.Upload(gradient),
                       out = on.Upload(before), d_rows = on.Upload(rows);
    NormGradientTask task = {};
    task.x = d_x.as<float>();
    task.weight = d_weight.as<float>();
    task.gradient = d_gradient.as<float>();
    task.n_rows = n_rows;
    task.n = n;
    task.eps = 1e-5f;
    task.out = out.as<float>();
    task.add = true;
    task.rows = d_rows.as<int64_t>();
    EXPECT_TRUE(RunGradients(task, on.stream()).ok());
    return on.Download<float>(out);
  });
  std::vector<double> wanted(before.begin(), before.end());
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* const its = &x[static_cast<size_t>(rows[r] * n)];
    double square = 0, product = 0;
    for (int64_t i = 0; i < n; ++i) {
      square += double{its[i]} * its[i];
      product += double{weight[i]} * gradient[r * n + i] * its[i];
    }
    const double f = 1 / std::sqrt(square / n + 1e-5);
    for (int64_t i = 0; i < n; ++i) {
      wanted[static_cast<size_t>(rows[r] * n + i)] +=
          f * weight[i] * gradient[r * n + i] -
          its[i] * f * f * f * product / n;
    }
  }
  ExpectNear(got, wanted);
}

TEST(DeviceGradientsTest, GoesBackThroughGates) {
  const int64_t n_rows = 3, n = 35;
  const auto gate = NormalNumbers<float>(n_rows * n, 1, 3);
  const auto up = NormalNumbers<float>(n_rows * n, 2);
  const auto gradient = NormalNumbers<float>(n_rows * n, 3);
  const std::vector<float> got = OnEach([&](const TestDevice& on) {
    const DeviceBuffer d_gate = on.Upload(gate), d_up = on.Upload(up),
                       d_gradient = on.Upload(gradient);
    const DeviceBuffer both =
        on.Upload(std::vector<float>(static_cast<size_t>(2 * n_rows * n)));
    EXPECT_TRUE(
        RunGradients(
            GateGradientTask{d_gate.as<float>(), d_up.as<float>(),
                             d_gradient.as<float>(), row_threads::Gate::kSilu,
                             n_rows, n, both.as<float>()},
            on.stream())
            .ok());
    return on.Download<float>(both);
  });
  std::vector<double> wanted(got.size());
  for (int64_t i = 0; i < n_rows * n; ++i) {
    const double x = gate[i], s = 1 / (1 + std::exp(-x));
    double* const row = &wanted[static_cast<size_t>(i / n * 2 * n + i % n)];
    row[0] = gradient[i] * up[i] * (s + x * s * (1 - s));
    row[n] = gradient[i] * x * s;
  }
  ExpectNear(got, wanted);
}

// A chunk of two key-value heads with two query heads each, from the second
// tile of queries on, under a window.
TEST(DeviceGradientsTest, GoesBackThroughSharesThatAreSeen) {
  const QueryChunk chunk = {64, 70, 2, 2};
  const int64_t window = 20, first_key = 45, n = 134 - first_key;
  const int64_t n_rows = chunk.n_rows();
  ASSERT_EQ(n_rows, 280);
  const auto scores = NormalNumbers<float>(n_rows * n, 1);
  const auto gradient = NormalNumbers<float>(n_rows * n, 2);
  std::vector<float> shares;
  const std::vector<float> got = OnEach([&](const TestDevice& on) {
    const DeviceBuffer p = on.Upload(scores), g = on.Upload(gradient),
                       room = on.Upload(scores);
    EXPECT_TRUE(RunGradients(ShareGradientTask{chunk, n_rows, first_key, n,
                                               window, 2.0f, p.as<float>(),
                                               g.as<float>(), room.as<float>()},
                             on.stream())
                    .ok());
    shares = on.Download<float>(p);
    return on.Download<float>(g);
  });
  std::vector<double> wanted_shares(got.size()), wanted(got.size());
  for (int64_t row = 0; row < n_rows; ++row) {
    const int64_t token = chunk.QueryOf(row).token;
    const auto capped = [&](int64_t i) {
      return 2 * std::tanh(scores[static_cast<size_t>(row * n + i)] / 2.0);
    };
    double total = 0, mean = 0;
    const int64_t begin = token - window + 1 - first_key;
    const int64_t end = token + 1 - first_key;
    for (int64_t i = begin; i < end; ++i) {
      total += std::exp(capped(i));
    }
    for (int64_t i = begin; i < end; ++i) {
      const auto at = static_cast<size_t>(row * n + i);
      wanted_shares[at] = std::exp(capped(i)) / total;
      mean += wanted_shares[at] * gradient[at];
    }
    for (int64_t i = begin; i < end; ++i) {
      const auto at = static_cast<size_t>(row * n + i);
      const double ratio = capped(i) / 2;
      wanted[at] =
          wanted_shares[at] * (gradient[at] - mean) * (1 - ratio * ratio);
    }
  }
  ExpectNear(shares, wanted_shares);
  ExpectNear(got, wanted);
}

// Every query of a chunk has one row, and its rows are in the order of tiles.
TEST(DeviceGradientsTest, OrdersQueriesByTiles) {
  const QueryChunk chunk = {128, 70, 3, 2};
  std::vector<int> seen(6 * 70);
  for (int64_t row = 0; row < chunk.n_rows(); ++row) {
    const QueryChunk::Query at = chunk.QueryOf(row);
    ++seen[static_cast<size_t>(at.head * 70 + at.token - 128)];
  }
  EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
  EXPECT_EQ(chunk.QueryOf(63).token, 191);
  EXPECT_EQ(chunk.QueryOf(64).head, 1);
  EXPECT_EQ(chunk.QueryOf(64).token, 128);
  EXPECT_EQ(chunk.QueryOf(192).head, 0);
  EXPECT_EQ(chunk.QueryOf(192).token, 192);
  EXPECT_EQ(chunk.QueryOf(198).head, 1);
  EXPECT_EQ(chunk.QueryOf(210).head, 3);
}

// Labels drawn and one that is given, of a vocabulary of parts.
TEST(DeviceGradientsTest, DrawsLabelsAndTakesGradientsAtLogits) {
  const int64_t n_rows = 3, n = 2 * kPartTokens + 100;
  const auto logits = NormalNumbers<float>(n_rows * n, 1, 2);
  const std::vector<int32_t> labels = {-1, 7, -1};
  const std::vector<int64_t> tokens = {0, 1, 5};
  std::vector<RowDraws> draws;
  const std::vector<float> got = OnEach([&](const TestDevice& on) {
    const DeviceBuffer d_logits = on.Upload(logits),
                       d_labels = on.Upload(labels),
                       d_tokens = on.Upload(tokens);
    const DeviceBuffer tops = on.Upload(std::vector<float>(n_rows)),
                       part_tops = on.Upload(std::vector<float>(n_rows * 3)),
                       part_sums = on.Upload(std::vector<double>(n_rows * 3)),
                       d_draws = on.Upload(std::vector<RowDraws>(n_rows));
    const LogitRows all = {d_logits.as<float>(),
                           n_rows,
                           n,
                           tops.as<float>(),
                           part_tops.as<float>(),
                           part_sums.as<double>()};
    EXPECT_TRUE(
        RunGradients(PartTopTask{all, n_rows * 3, n}, on.stream()).ok());
    EXPECT_TRUE(RunGradients(RowTopTask{all}, on.stream()).ok());
    EXPECT_TRUE(
        RunGradients(PartSumTask{all, n_rows * 3, n}, on.stream()).ok());
    EXPECT_TRUE(RunGradients(DrawTask{all, n_rows, n, d_labels.as<int32_t>(),
                                      d_tokens.as<int64_t>(), 40, 3, 0,
                                      d_draws.as<RowDraws>()},
                             on.stream())
                    .ok());
    EXPECT_TRUE(RunGradients(LogitGradientTask{all, d_draws.as<RowDraws>(), 0},
                             on.stream())
                    .ok());
    draws = on.Download<RowDraws>(d_draws);
    return on.Download<float>(d_logits);
  });
  std::vector<double> wanted(got.size());
  for (int64_t r = 0; r < n_rows; ++r) {
    double total = 0;
    for (int64_t i = 0; i < n; ++i) {
      total += std::exp(double{logits[r * n + i]});
    }
    for (int64_t i = 0; i < n; ++i) {
      wanted[r * n + i] = std::exp(double{logits[r * n + i]}) / total;
    }
    const RowDraws& its = draws[static_cast<size_t>(r)];
    wanted[static_cast<size_t>(r * n + its.label)] -= 1;
    EXPECT_NEAR(its.total * std::exp(double{its.top}), total, 1e-4 * total);
    EXPECT_EQ(its.label, r == 1 ? 7 : its.tokens[0]);
    for (int d = 0; r != 1 && d < kDraws; ++d) {
      // The draw is where the running sum passes the number drawn.
      double target = Uniform(SeedOfDraw(3, d), 40 + tokens[r]) * total;
      int32_t at = 0;
      while ((target -= std::exp(double{logits[r * n + at]})) >= 0) {
        ++at;
      }
      EXPECT_EQ(its.tokens[d], at);
      EXPECT_EQ(its.factors[d], d % 2 == 0 ? -0.25f : 0.25f);
    }
  }
  ExpectNear(got, wanted);
}

TEST(DeviceGradientsTest, PicksSumsAndScattersRows) {
  const int64_t n_rows = 4, n = 19, stride = 23;
  const std::vector<int64_t> rows = {6, 2, 0, 5};
  const auto x = NormalNumbers<float>(7 * stride, 1);
  const auto scales = NormalNumbers<float>(7, 2);
  std::vector<double> sums;
  std::vector<float> scattered, norms, dots;
  const std::vector<float> got = OnEach([&](const TestDevice& on) {
    const DeviceBuffer d_x = on.Upload(x), d_rows = on.Upload(rows),
                       d_scales = on.Upload(scales);
    const DeviceBuffer out = on.Upload(std::vector<float>(n_rows * n)),
                       d_sums = on.Upload(std::vector<double>(n, 0.5)),
                       all = on.Upload(std::vector<float>(7 * n, 1)),
                       d_norms = on.Upload(std::vector<float>(7)),
                       d_dots = on.Upload(std::vector<float>(n_rows));
    const auto ok = [&](const auto& task) {
      EXPECT_TRUE(RunGradients(task, on.stream()).ok());
    };
    ok(PickScaledTask{d_x.as<float>(), d_rows.as<int64_t>(), n_rows, n, stride,
                      d_scales.as<float>(), false, out.as<float>()});
    ok(ColumnSquaresTask{d_x.as<float>(), d_rows.as<int64_t>(), n_rows, n,
                         stride, 2, d_sums.as<double>()});
    ok(ScatterTask{out.as<float>(), d_rows.as<int64_t>(), n_rows, n,
                   d_scales.as<float>(), all.as<float>()});
    ok(RowNormTask{d_x.as<float>(), 7, n, stride, d_norms.as<float>()});
    ok(DotTask{all.as<float>(), d_rows.as<int64_t>(), out.as<float>(), n_rows,
               n, d_dots.as<float>()});
    sums = on.Download<double>(d_sums);
    scattered = on.Download<float>(all);
    norms = on.Download<float>(d_norms);
    dots = on.Download<float>(d_dots);
    return on.Download<float>(out);
  });
  std::vector<double> wanted(got.size()), wanted_all(7 * n, 1), wanted_norms(7),
      wanted_dots(n_rows);
  for (int64_t j = 0; j < n; ++j) {
    double sum = 0.5;
    for (int64_t r = 0; r < n_rows; ++r) {
      const double value = x[static_cast<size_t>(rows[r] * stride + j)];
      wanted[r * n + j] = value * scales[rows[r]];
      wanted_all[rows[r] * n + j] += wanted[r * n + j] * scales[r];
      sum += 2 * value * value;
    }
    EXPECT_NEAR(sums[j], sum, 1e-12);
  }
  for (int64_t r = 0; r < 7; ++r) {
    double square = 0;
    for (int64_t j = 0; j < n; ++j) {
      square += std::pow(double{x[r * stride + j]}, 2);
    }
    wanted_norms[r] = std::sqrt(square);
  }
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t j = 0; j < n; ++j) {
      wanted_dots[r] += wanted_all[rows[r] * n + j] * wanted[r * n + j];
    }
  }
  ExpectNear(got, wanted);
  ExpectNear(scattered, wanted_all);
  ExpectNear(norms, wanted_norms);
  ExpectNear(dots, wanted_dots);
}

}  // namespace
}  // namespace narrow
