// The passes of a device against the processor's kernels, bit for bit: the code
// of the card's threads on the CPU, and a card where there is one.

#include "kernels/rows/device/device_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/rows/rows.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

using row_threads::BiasTask;
using row_threads::ColumnsTask;
using row_threads::CrossTask;
using row_threads::FiniteTask;
using row_threads::Gate;
using row_threads::GateTask;
using row_threads::MagnitudesTask;
using row_threads::MixTask;
using row_threads::NormTask;
using row_threads::PickTask;
using row_threads::RotateTask;
using row_threads::RowScore;
using row_threads::ScoreTask;
using row_threads::SoftmaxTask;
using row_threads::SoftmaxTerms;

TEST(DeviceRowsTest, NormsRowsOfAnyLength) {
  OnEachDevice([](const TestDevice& on) {
    for (const int64_t n : {1, 7, 16, 256, 640, 5000}) {
      const int64_t n_rows = 21;
      const std::vector<float> x = NormalNumbers<float>(n_rows * n, 1, 3);
      const std::vector<float> weight = NormalNumbers<float>(n, 2);
      const DeviceBuffer d_x = on.Upload(x);
      const DeviceBuffer d_weight = on.Upload(weight);
      const DeviceBuffer floats = on.Upload(std::vector<float>(x.size()));
      const DeviceBuffer halves = on.Upload(std::vector<uint16_t>(x.size()));
      ASSERT_TRUE(RunRows(NormTask{d_x.as<float>(),
                                   d_weight.as<float>(),
                                   n_rows,
                                   n,
                                   1e-6f,
                                   {floats.as<float>(), halves.as<uint16_t>()}},
                          on.stream())
                      .ok());
      std::vector<float> wanted(x.size());
      for (int64_t r = 0; r < n_rows; ++r) {
        RowKernelsForCpu().rms_norm(&x[r * n], weight.data(), n, 1e-6f,
                                    &wanted[r * n]);
      }
      const std::vector<float> values = on.Download<float>(floats);
      EXPECT_EQ(values, wanted);
      const std::vector<uint16_t> rounded = on.Download<uint16_t>(halves);
      for (size_t i = 0; i < rounded.size(); ++i) {
        EXPECT_EQ(rounded[i], Bf16FromFloat(values[i]));
      }
    }
  });
}

TEST(DeviceRowsTest, NormsHeadsInPlace) {
  OnEachDevice([](const TestDevice& on) {
    const int64_t n_tokens = 5, n_heads = 3, head_dim = 20, stride = 71;
    std::vector<float> x = NormalNumbers<float>(n_tokens * stride, 3);
    const std::vector<float> weight = NormalNumbers<float>(head_dim, 4);
    const DeviceBuffer d_x = on.Upload(x);
    const DeviceBuffer d_weight = on.Upload(weight);
    NormTask task = {d_x.as<float>(),
                     d_weight.as<float>(),
                     n_tokens * n_heads,
                     head_dim,
                     1e-5f,
                     {d_x.as<float>(), nullptr}};
    task.n_heads = n_heads;
    task.stride = stride;
    ASSERT_TRUE(RunRows(task, on.stream()).ok());
    for (int64_t i = 0; i < n_tokens * n_heads; ++i) {
      float* at = &x[i / n_heads * stride + i % n_heads * head_dim];
      RowKernelsForCpu().rms_norm(at, weight.data(), head_dim, 1e-5f, at);
    }
    EXPECT_EQ(on.Download<float>(d_x), x);
  });
}

TEST(DeviceRowsTest, GatesAndCaps) {
  OnEachDevice([](const TestDevice& on) {
    const int64_t n = 3001;
    std::vector<float> gate = NormalNumbers<float>(n, 3, 4);
    gate[5] = 300;
    gate[6] = -300;
    gate[7] = -0.0f;
    const std::vector<float> up = NormalNumbers<float>(n, 4);
    const DeviceBuffer d_gate = on.Upload(gate);
    const DeviceBuffer d_up = on.Upload(up);
    for (const Gate kind : {Gate::kSilu, Gate::kGelu}) {
      const DeviceBuffer out = on.Upload(std::vector<float>(n));
      ASSERT_TRUE(RunRows(GateTask{d_gate.as<float>(),
                                   d_up.as<float>(),
                                   kind,
                                   n,
                                   {out.as<float>(), nullptr}},
                          on.stream())
                      .ok());
      std::vector<float> wanted(n);
      (kind == Gate::kSilu ? RowKernelsForCpu().gate_silu
                           : RowKernelsForCpu().gate_gelu)(
          gate.data(), up.data(), n, wanted.data());
      EXPECT_EQ(on.Download<float>(out), wanted);
    }
    std::vector<float> capped = gate;
    const DeviceBuffer d_y = on.Upload(up);
    ASSERT_TRUE(
        RunRows(MixTask{d_gate.as<float>(), 1, 0, 5, n, d_y.as<float>()},
                on.stream())
            .ok());
    RowKernelsForCpu().soft_cap(5, n, capped.data());
    EXPECT_EQ(on.Download<float>(d_y), capped);
  });
}

TEST(DeviceRowsTest, AddsWhatIsScaled) {
  OnEachDevice([](const TestDevice& on) {
    const int64_t n = 1000;
    const std::vector<float> x = NormalNumbers<float>(n, 5);
    std::vector<float> y = NormalNumbers<float>(n, 6);
    const DeviceBuffer d_x = on.Upload(x);
    const DeviceBuffer d_y = on.Upload(y);
    ASSERT_TRUE(
        RunRows(MixTask{d_x.as<float>(), 0.3f, 1, 0, n, d_y.as<float>()},
                on.stream())
            .ok());
    RowKernelsForCpu().add_scaled(x.data(), 0.3f, n, y.data());
    EXPECT_EQ(on.Download<float>(d_y), y);
  });
}

TEST(DeviceRowsTest, AddsABiasToSomeColumns) {
  OnEachDevice([](const TestDevice& on) {
    const int64_t n_rows = 7, n_cols = 30, stride = 41;
    std::vector<float> x = NormalNumbers<float>(n_rows * stride, 5);
    const std::vector<float> bias = NormalNumbers<float>(n_cols, 6);
    const DeviceBuffer d_x = on.Upload(x);
    const DeviceBuffer d_bias = on.Upload(bias);
    ASSERT_TRUE(RunRows(BiasTask{d_bias.as<float>(), n_rows, n_cols, stride,
                                 d_x.as<float>() + 2},
                        on.stream())
                    .ok());
    for (int64_t r = 0; r < n_rows; ++r) {
      RowKernelsForCpu().add_scaled(bias.data(), 1, n_cols, &x[r * stride + 2]);
    }
    EXPECT_EQ(on.Download<float>(d_x), x);
  });
}

TEST(DeviceRowsTest, SumsColumnsInTheOrderOfRows) {
  OnEachDevice([](const TestDevice& on) {
    const int64_t n_rows = 45, n_cols = 77;
    const std::vector<float> x = NormalNumbers<float>(n_rows * n_cols, 5);
    std::vector<double> sums(n_cols, 0.25), squares(n_cols, 1e9);
    const DeviceBuffer d_x = on.Upload(x);
    const DeviceBuffer d_sums = on.Upload(sums);
    const DeviceBuffer d_squares = on.Upload(squares);
    ASSERT_TRUE(
        RunRows(ColumnsTask{d_x.as<float>(), n_rows, n_cols,
                            d_sums.as<double>(), d_squares.as<double>()},
                on.stream())
            .ok());
    RowKernelsForCpu().add_columns(x.data(), n_cols, n_rows, n_cols,
                                   sums.data(), squares.data());
    EXPECT_EQ(on.Download<double>(d_sums), sums);
    EXPECT_EQ(on.Download<double>(d_squares), squares);
  });
}

TEST(DeviceRowsTest, MagnitudesOfColumnsAreTheProcessors) {
  OnEachDevice([](const TestDevice& on) {
    const int64_t n_rows = 45, n_cols = 77;
    const std::vector<float> x = NormalNumbers<float>(n_rows * n_cols, 5);
    std::vector<float> weights = NormalNumbers<float>(n_rows, 6);
    weights[3] = 0;
    const DeviceBuffer d_x = on.Upload(x);
    const DeviceBuffer d_weights = on.Upload(weights);
    for (const bool weighted : {false, true}) {
      std::vector<double> squares(n_cols, 1e9), magnitudes(n_cols, 0.25);
      std::vector<float> most(x.begin(), x.begin() + n_cols), least = most;
      const DeviceBuffer d_squares = on.Upload(squares);
      const DeviceBuffer d_magnitudes = on.Upload(magnitudes);
      const DeviceBuffer d_most = on.Upload(std::vector<float>(n_cols, 1e6f));
      const DeviceBuffer d_least = on.Upload(std::vector<float>(n_cols, -1e6f));
      // The first rows begin the extremes, the others go on with them.
      for (const int64_t first : {int64_t{0}, int64_t{20}}) {
        const int64_t n = first == 0 ? 20 : n_rows - 20;
        ASSERT_TRUE(
            RunRows(
                MagnitudesTask{
                    d_x.as<float>() + first * n_cols, n, n_cols,
                    weighted ? d_weights.as<float>() + first : nullptr,
                    d_squares.as<double>(), d_magnitudes.as<double>(),
                    d_most.as<float>(), d_least.as<float>(), first == 0},
                on.stream())
                .ok());
      }
      RowKernelsForCpu().add_magnitudes(
          x.data(), n_cols, n_rows, n_cols, weighted ? weights.data() : nullptr,
          {squares.data(), magnitudes.data(), most.data(), least.data()});
      EXPECT_EQ(on.Download<double>(d_squares), squares);
      EXPECT_EQ(on.Download<double>(d_magnitudes), magnitudes);
      EXPECT_EQ(on.Download<float>(d_most), most);
      EXPECT_EQ(on.Download<float>(d_least), least);
    }
  });
}

TEST(DeviceRowsTest, PicksRowsAndWhatTheirPartnersDifferBy) {
  OnEachDevice([](const TestDevice& on) {
    const int64_t n_cols = 33;
    const std::vector<float> x = NormalNumbers<float>(9 * n_cols, 5);
    const std::vector<float> y = NormalNumbers<float>(5 * n_cols, 6);
    const std::vector<int64_t> rows = {8, 0, 3, 3}, partners = {4, -1, 0, 1};
    const DeviceBuffer d_x = on.Upload(x), d_y = on.Upload(y);
    const DeviceBuffer d_rows = on.Upload(rows);
    const DeviceBuffer d_partners = on.Upload(partners);
    const std::vector<float> zeros(rows.size() * n_cols);
    const DeviceBuffer picked = on.Upload(zeros), others = on.Upload(zeros);
    const DeviceBuffer differences = on.Upload(zeros);
    ASSERT_TRUE(RunRows(PickTask{d_x.as<float>(), d_rows.as<int64_t>(), 4,
                                 n_cols, d_y.as<float>(),
                                 d_partners.as<int64_t>(), picked.as<float>(),
                                 others.as<float>(), differences.as<float>()},
                        on.stream())
                    .ok());
    const auto got = on.Download<float>(picked),
               other = on.Download<float>(others),
               difference = on.Download<float>(differences);
    for (size_t r = 0; r < rows.size(); ++r) {
      for (int64_t j = 0; j < n_cols; ++j) {
        const size_t at = r * n_cols + static_cast<size_t>(j);
        const float value = x[static_cast<size_t>(rows[r] * n_cols + j)];
        const float partner =
            partners[r] < 0 ? value
                            : y[static_cast<size_t>(partners[r] * n_cols + j)];
        ASSERT_EQ(got[at], value);
        ASSERT_EQ(other[at], partner);
        ASSERT_EQ(difference[at], partner - value);
      }
    }
  });
}

TEST(DeviceRowsTest, FindsRowsThatAreNotFinite) {
  OnEachDevice([](const TestDevice& on) {
    const int64_t n_rows = 40, n = 30, stride = 33;
    std::vector<float> x = NormalNumbers<float>(n_rows * stride, 5);
    std::vector<uint8_t> wanted(n_rows);
    x[3 * stride + 29] = HUGE_VALF;
    x[17 * stride] = std::nanf("");
    x[18 * stride + 30] = HUGE_VALF;  // between rows
    wanted[3] = wanted[17] = 1;
    const DeviceBuffer d_x = on.Upload(x);
    const DeviceBuffer flags = on.Upload(std::vector<uint8_t>(n_rows));
    ASSERT_TRUE(RunRows(FiniteTask{d_x.as<float>(), n_rows, n, stride,
                                   flags.as<uint8_t>()},
                        on.stream())
                    .ok());
    EXPECT_EQ(on.Download<uint8_t>(flags), wanted);
  });
}

TEST(DeviceRowsTest, RotatesHeadsOfTokens) {
  OnEachDevice([](const TestDevice& on) {
    const int64_t n_tokens = 6, n_positions = 3, n_heads = 3;
    const int64_t head_dim = 20, n_pairs = 8;
    const int64_t stride = n_heads * head_dim + 4;
    for (const bool halves : {true, false}) {
      std::vector<float> x = NormalNumbers<float>(n_tokens * stride, 7);
      std::vector<float> cosines, sines;
      for (const float angle :
           NormalNumbers<float>(n_positions * n_pairs, 8, 2)) {
        cosines.push_back(std::cos(angle));
        sines.push_back(std::sin(angle));
      }
      const DeviceBuffer d_x = on.Upload(x);
      const DeviceBuffer d_cosines = on.Upload(cosines);
      const DeviceBuffer d_sines = on.Upload(sines);
      ASSERT_TRUE(
          RunRows(RotateTask{d_x.as<float>(), d_cosines.as<float>(),
                             d_sines.as<float>(), n_tokens, n_heads, head_dim,
                             stride, n_pairs, halves, n_positions},
                  on.stream())
              .ok());
      for (int64_t t = 0; t < n_tokens; ++t) {
        for (int64_t h = 0; h < n_heads; ++h) {
          const int64_t angle = t % n_positions * n_pairs;
          (halves ? RowKernelsForCpu().rotate_halves
                  : RowKernelsForCpu().rotate_pairs)(
              &cosines[angle], &sines[angle], n_pairs,
              &x[t * stride + h * head_dim]);
        }
      }
      EXPECT_EQ(on.Download<float>(d_x), x);
    }
  });
}

// The scores of rows whose logits come in parts of `part`.
std::vector<RowScore> ScoresOf(const TestDevice& on,
                               const std::vector<float>& logits,
                               const std::vector<int32_t>& targets, int64_t n,
                               int64_t part) {
  const auto n_rows = static_cast<int64_t>(targets.size());
  const DeviceBuffer d_targets = on.Upload(targets);
  const DeviceBuffer slices = on.Upload(std::vector<RowScore>(targets.size()));
  const DeviceBuffer scores = on.Upload(std::vector<RowScore>(targets.size()));
  for (int64_t first = 0; first < n; first += part) {
    const int64_t n_here = std::min(part, n - first);
    std::vector<float> some;
    for (int64_t r = 0; r < n_rows; ++r) {
      some.insert(some.end(), logits.begin() + r * n + first,
                  logits.begin() + r * n + first + n_here);
    }
    const DeviceBuffer d_logits = on.Upload(some);
    EXPECT_TRUE(RunRows(ScoreTask{d_logits.as<float>(), d_targets.as<int32_t>(),
                                  n_rows, n_here, first, 64, 256,
                                  slices.as<RowScore>(), scores.as<RowScore>()},
                        on.stream())
                    .ok());
  }
  return on.Download<RowScore>(scores);
}

TEST(DeviceRowsTest, ScoresOfTargets) {
  OnEachDevice([](const TestDevice& on) {
    for (const int64_t n : {2, 255, 1300}) {
      const int64_t n_rows = 18;
      std::vector<float> logits = NormalNumbers<float>(n_rows * n, 9, 5);
      std::vector<int32_t> targets;
      for (int64_t r = 0; r < n_rows; ++r) {
        targets.push_back(static_cast<int32_t>(r * 71 % n));
      }
      // Of equal ones, the first token.
      logits[n_rows / 2 * n] = logits[n_rows / 2 * n + n - 1] = 100;
      const auto scores = ScoresOf(on, logits, targets, n, n);
      const auto in_parts = ScoresOf(on, logits, targets, n, 512);
      for (int64_t r = 0; r < n_rows; ++r) {
        const float* row = &logits[r * n];
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) {
          sum += std::exp(static_cast<double>(row[i]));
        }
        EXPECT_EQ(scores[r].top_token, std::max_element(row, row + n) - row);
        EXPECT_EQ(scores[r].target_logit, row[targets[r]]);
        // Each term has an error below 2e-7.
        EXPECT_NEAR(scores[r].top + std::log(scores[r].sum), std::log(sum),
                    2e-7);
        EXPECT_EQ(scores[r].sum, in_parts[r].sum);
        EXPECT_EQ(scores[r].top_token, in_parts[r].top_token);
      }
    }
  });
}

// Terms as validate/measures takes them from kernels/rows.
TEST(DeviceRowsTest, TermsOfTwoModelsAreTheProcessors) {
  OnEachDevice([](const TestDevice& on) {
    for (const int64_t n : {5, 16, 333}) {
      const int64_t n_rows = 18, p_stride = n + 3, q_stride = n;
      std::vector<float> p = NormalNumbers<float>(n_rows * p_stride, 1, 5);
      std::vector<float> q = NormalNumbers<float>(n_rows * q_stride, 2, 5);
      p[n - 1] = q[0] = -INFINITY;
      p[p_stride] = p[p_stride + n - 1] = 100;
      std::vector<int32_t> targets;
      for (int64_t r = 0; r < n_rows; ++r) {
        targets.push_back(static_cast<int32_t>(r * 7 % n));
      }
      const DeviceBuffer d_p = on.Upload(p), d_q = on.Upload(q);
      const DeviceBuffer d_targets = on.Upload(targets);
      const DeviceBuffer d_terms =
          on.Upload(std::vector<SoftmaxTerms>(targets.size()));
      const DeviceBuffer d_sums =
          on.Upload(std::vector<double>(targets.size()));
      ASSERT_TRUE(RunRows(SoftmaxTask{d_p.as<float>(), n_rows, n, p_stride,
                                      d_targets.as<int32_t>(),
                                      d_terms.as<SoftmaxTerms>()},
                          on.stream())
                      .ok());
      ASSERT_TRUE(
          RunRows(CrossTask{d_p.as<float>(), d_q.as<float>(), n_rows, n,
                            p_stride, q_stride, d_terms.as<SoftmaxTerms>(),
                            d_sums.as<double>()},
                  on.stream())
              .ok());
      const auto terms = on.Download<SoftmaxTerms>(d_terms);
      const auto sums = on.Download<double>(d_sums);
      for (int64_t r = 0; r < n_rows; ++r) {
        const RowKernels& rows = RowKernelsForCpu();
        std::vector<float> exps(&p[r * p_stride], &p[r * p_stride] + n);
        const float top = rows.max(exps.data(), n);
        EXPECT_EQ(terms[r].top, top);
        EXPECT_EQ(terms[r].top_token,
                  std::find(exps.begin(), exps.end(), top) - exps.begin());
        EXPECT_EQ(terms[r].target_logit, exps[targets[r]]);
        EXPECT_EQ(terms[r].sum, rows.exp_sum(exps.data(), top, n));
        rows.exp_in_place(top, n, exps.data());
        double chains[16] = {};
        for (int64_t i = 0; i < n; ++i) {
          const float difference = p[r * p_stride + i] - q[r * q_stride + i];
          chains[i % 16] += static_cast<double>(exps[i]) * difference;
        }
        double sum = 0;
        for (const double chain : chains) {
          sum += chain;
        }
        // Where one has no probability the sum is no number.
        EXPECT_TRUE(sums[r] == sum || (sum != sum && sums[r] != sums[r]));
      }
    }
  });
}

TEST(DeviceRowsTest, UniformLogitsGiveTheVocabulary) {
  OnEachDevice([](const TestDevice& on) {
    const RowScore score =
        ScoresOf(on, std::vector<float>(1000, 3.5f), {17}, 1000, 1000).front();
    EXPECT_EQ(score.sum, 1000);
    EXPECT_EQ(score.target_logit - score.top, 0);
  });
}

}  // namespace
}  // namespace narrow
