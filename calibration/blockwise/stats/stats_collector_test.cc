// The collector against slow sums in double, on made-up rows.

#include "calibration/blockwise/stats/stats_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace narrow {
namespace {

using ::testing::HasSubstr;

constexpr char kGate[] = "blk.0.ffn_gate_exps.weight";
constexpr char kUp[] = "blk.0.ffn_up_exps.weight";
constexpr char kDense[] = "blk.0.attn_q.weight";
constexpr int64_t kCols = 64;

struct Rows {
  std::vector<float> values;
  std::vector<int64_t> tokens;
  int64_t n() const { return static_cast<int64_t>(tokens.size()); }
};

Rows SomeRows(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.1f, 1);
  Rows rows;
  for (int64_t r = 0; r < n; ++r) {
    rows.tokens.push_back(2 * r + 1);
    for (int64_t j = 0; j < kCols; ++j) {
      rows.values.push_back(normal(random) * static_cast<float>(1 + j % 5));
    }
  }
  return rows;
}

LayerInput InputOf(const char* name, int expert, const Rows& rows) {
  LayerInput input;
  input.name = name;
  input.expert = expert;
  input.rows = rows.values.data();
  input.n_rows = rows.n();
  input.n_cols = kCols;
  if (expert >= 0) {
    input.tokens = rows.tokens;
  }
  return input;
}

class StatsCollectorTest : public testing::Test {
 protected:
  void SetUp() override {
    CheckpointOptions options;
    options.skip_tokenizer = true;
    auto model = Checkpoint::Open("testdata/arch/mixtral", options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    request_.needs.gram = true;
    uses_.assign(4096, TokenUse::kSummed);
  }

  StatsCollector New() {
    return StatsCollector(model_.get(), &pool_, request_, /*rows a column=*/1);
  }

  ThreadPool pool_{2};
  std::unique_ptr<Checkpoint> model_;
  ObserveRequest request_;
  std::vector<TokenUse> uses_;
};

// Sums of rows that count, in double.
struct Slow {
  std::vector<double> gram = std::vector<double>(kCols * kCols);
  std::vector<double> sum_sq = std::vector<double>(kCols);
  std::vector<double> sum_abs = std::vector<double>(kCols);
  std::vector<float> max_abs = std::vector<float>(kCols);
  int64_t n = 0;

  void Add(const float* x) {
    for (int64_t i = 0; i < kCols; ++i) {
      sum_sq[i] += static_cast<double>(x[i]) * x[i];
      sum_abs[i] += std::fabs(static_cast<double>(x[i]));
      max_abs[i] = std::max(max_abs[i], std::fabs(x[i]));
      for (int64_t j = 0; j < kCols; ++j) {
        gram[i * kCols + j] += static_cast<double>(x[i]) * x[j];
      }
    }
    ++n;
  }
};

// A block's sum of 256 products in float32 has a relative error, against the
// sum of the products' magnitudes, of 256 * 2^-24 at most.
void ExpectNear(const std::vector<double>& got, const std::vector<double>& want,
                const std::vector<double>& diagonal) {
  ASSERT_EQ(got.size(), want.size());
  for (int64_t i = 0; i < kCols; ++i) {
    for (int64_t j = 0; j < kCols; ++j) {
      const double bound = 256 * 0x1p-24 * std::sqrt(diagonal[i] * diagonal[j]);
      ASSERT_NEAR(got[i * kCols + j], want[i * kCols + j], bound)
          << i << ", " << j;
    }
  }
}

TEST_F(StatsCollectorTest, SumsRowsThatCountWhateverTheCalls) {
  const Rows rows = SomeRows(1500, 3);
  for (size_t i = 0; i < uses_.size(); i += 7) {
    uses_[i] = TokenUse::kNone;
  }
  Slow slow;
  for (int64_t r = 0; r < 1500; ++r) {
    if (uses_[static_cast<size_t>(r)] == TokenUse::kSummed) {
      slow.Add(rows.values.data() + r * kCols);
    }
  }
  StatsCollector whole = New();
  whole.BeginGroup(0, 4096, uses_.data(), nullptr);
  ASSERT_TRUE(whole.OnInput(InputOf(kDense, -1, rows)).ok());
  const BlockStats stats = whole.Finish();
  const LayerStats* s = stats.Find(kDense, -1);
  ASSERT_NE(s, nullptr);
  EXPECT_EQ(s->n_rows, slow.n);
  EXPECT_EQ(s->n_cols, kCols);
  EXPECT_EQ(s->sum_sq, slow.sum_sq);
  EXPECT_EQ(s->sum_abs, slow.sum_abs);
  EXPECT_EQ(s->max_abs, slow.max_abs);
  EXPECT_EQ(std::max(s->max_value, -s->min_value),
            *std::max_element(slow.max_abs.begin(), slow.max_abs.end()));
  EXPECT_LT(s->min_value, 0);
  EXPECT_EQ(s->shrinkage, 0);
  EXPECT_DOUBLE_EQ(s->MeanSquare(3), slow.sum_sq[3] / slow.n);
  ExpectNear(s->gram, slow.gram, slow.sum_sq);

  // In calls of 100 rows, and in groups of 300.
  StatsCollector parts = New();
  for (int64_t r = 0; r < 1500; r += 100) {
    parts.BeginGroup(r / 300, 300, uses_.data() + r / 300 * 300, nullptr);
    LayerInput input = InputOf(kDense, -1, rows);
    input.rows += r * kCols;
    input.n_rows = 100;
    input.first_token = r % 300;
    ASSERT_TRUE(parts.OnInput(input).ok());
  }
  const BlockStats same = parts.Finish();
  EXPECT_EQ(same.Find(kDense, -1)->gram, s->gram);
  EXPECT_EQ(same.Find(kDense, -1)->sum_sq, s->sum_sq);
}

// Where all rows count, whole blocks are not copied first.
TEST_F(StatsCollectorTest, BlocksAreTheSameWhereverRowsLie) {
  const Rows rows = SomeRows(1500, 3);
  const auto sums_of = [&](const std::vector<int64_t>& calls) {
    StatsCollector collector = New();
    int64_t first = 0;
    for (const int64_t n : calls) {
      collector.BeginGroup(first, 4096, uses_.data(), nullptr);
      LayerInput input = InputOf(kDense, -1, rows);
      input.rows += first * kCols;
      input.n_rows = n;
      EXPECT_TRUE(collector.OnInput(input).ok());
      first += n;
    }
    EXPECT_EQ(first, 1500);
    return collector.Finish();
  };
  const BlockStats want = sums_of(std::vector<int64_t>(1500, 1));
  const LayerStats& s = *want.Find(kDense, -1);
  EXPECT_EQ(s.n_rows, 1500);
  for (const std::vector<int64_t>& calls :
       {std::vector<int64_t>{1500}, {300, 212, 512, 476}, {256, 1, 999, 244}}) {
    const BlockStats stats = sums_of(calls);
    const LayerStats& t = *stats.Find(kDense, -1);
    EXPECT_EQ(t.n_rows, 1500);
    EXPECT_EQ(t.weight, 1500);
    EXPECT_EQ(t.gram, s.gram);
    EXPECT_EQ(t.sum_sq, s.sum_sq);
    EXPECT_EQ(t.sum_abs, s.sum_abs);
    EXPECT_EQ(t.max_abs, s.max_abs);
    EXPECT_EQ(t.min_value, s.min_value);
  }
  Rows bad = rows;
  bad.values[700 * kCols + 6] = HUGE_VALF;
  StatsCollector collector = New();
  collector.BeginGroup(0, 4096, uses_.data(), nullptr);
  EXPECT_THAT(
      std::string(collector.OnInput(InputOf(kDense, -1, bad)).message()),
      HasSubstr("sample 0, token 700, column 6"));
}

// Rows on a device, in calls that begin and end anywhere in a block.
TEST_F(StatsCollectorTest, SumsOnADeviceAreTheSame) {
  request_.needs.cross = true;
  for (size_t i = 3; i < uses_.size(); i += 7) {
    uses_[i] = i % 3 == 0 ? TokenUse::kHeldOut : TokenUse::kNone;
  }
  const Rows z = SomeRows(1500, 3), x = SomeRows(1500, 4);
  const Device device = Device::Cpu();
  auto stream = device.NewStream();
  ASSERT_TRUE(stream.ok());
  for (const bool cross : {true, false}) {
    request_.needs.cross = cross;
    for (const std::vector<int64_t>& calls :
         {std::vector<int64_t>{1500}, {300, 1, 211, 512, 476}}) {
      StatsCollector here = New(), there = New();
      int64_t first = 0;
      for (size_t call = 0; call < calls.size(); ++call) {
        LayerInput input = InputOf(kDense, -1, z);
        input.rows += first * kCols;
        input.n_rows = calls[call];
        LayerInput original = InputOf(kDense, -1, x);
        original.rows += first * kCols;
        original.n_rows = calls[call];
        InputRecorder recorder, recorder_there;
        ASSERT_TRUE(recorder.OnInput(original).ok());
        const auto on_device = [&](const LayerInput& of) {
          DeviceInput of_device;
          of_device.input = of;  // the processor's memory is the device's
          of_device.number = static_cast<int64_t>(call) + 1;
          of_device.device = &device;
          of_device.stream = &*stream;
          return of_device;
        };
        ASSERT_TRUE(recorder_there.OnDevice(on_device(original)).ok());
        here.BeginGroup(first, 4096, uses_.data() + first,
                        cross ? &recorder : nullptr);
        ASSERT_TRUE(here.OnInput(input).ok());
        there.BeginGroup(first, 4096, uses_.data() + first,
                         cross ? &recorder_there : nullptr);
        ASSERT_TRUE(there.OnDevice(on_device(input)).ok());
        first += calls[call];
      }
      ASSERT_TRUE(there.Fetch().ok());
      const BlockStats stats = there.Finish(), wanted = here.Finish();
      const LayerStats& s = *stats.Find(kDense, -1);
      const LayerStats& t = *wanted.Find(kDense, -1);
      EXPECT_EQ(s.n_rows, t.n_rows);
      EXPECT_EQ(s.weight, t.weight);
      EXPECT_EQ(s.gram, t.gram);
      EXPECT_EQ(s.cross, t.cross);
      EXPECT_EQ(s.sum_sq, t.sum_sq);
      EXPECT_EQ(s.sum_abs, t.sum_abs);
      EXPECT_EQ(s.max_abs, t.max_abs);
      EXPECT_EQ(s.max_value, t.max_value);
      EXPECT_EQ(s.min_value, t.min_value);
      ASSERT_NE(s.held_out, nullptr);
      EXPECT_EQ(s.held_out->inputs, t.held_out->inputs);
      EXPECT_EQ(s.held_out->originals, t.held_out->originals);
      EXPECT_EQ(s.held_out->weights, t.held_out->weights);
    }
  }
}

TEST_F(StatsCollectorTest, RowsThatDoNotCountMayHoldAnything) {
  Rows rows = SomeRows(8, 3);
  rows.values[5 * kCols + 1] = std::nanf("");
  uses_[5] = TokenUse::kNone;
  StatsCollector collector = New();
  collector.BeginGroup(0, 8, uses_.data(), nullptr);
  ASSERT_TRUE(collector.OnInput(InputOf(kDense, -1, rows)).ok());
  const BlockStats stats = collector.Finish();
  EXPECT_EQ(stats.Find(kDense, -1)->n_rows, 7);
  for (const double v : stats.Find(kDense, -1)->gram) {
    ASSERT_TRUE(std::isfinite(v));
  }
}

TEST_F(StatsCollectorTest, NamesTensorSampleTokenAndColumn) {
  Rows rows = SomeRows(24, 3);
  rows.values[21 * kCols + 6] = HUGE_VALF;
  StatsCollector collector = New();
  collector.BeginGroup(/*first_sample=*/10, /*sample_tokens=*/8, uses_.data(),
                       nullptr);
  absl::Status status = collector.OnInput(InputOf(kDense, -1, rows));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the input of blk.0.attn_q.weight is not finite, first "
                        "at sample 12, token 5, column 6"));
  StatsCollector experts = New();
  experts.BeginGroup(10, 8, uses_.data(), nullptr);
  status = experts.OnInput(InputOf(kGate, 2, rows));
  // Row 21 is of token 43.
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the input of blk.0.ffn_gate_exps.weight, expert 2, is "
                        "not finite, first at sample 15, token 3, column 6"));
}

// Expert 0 has rows enough, 1 some, 2 and 3 none.
TEST_F(StatsCollectorTest, ShrinksExpertsWithFewRowsTowardsAll) {
  const Rows many = SomeRows(200, 1), few = SomeRows(16, 2);
  StatsCollector collector = New();
  collector.BeginGroup(0, 4096, uses_.data(), nullptr);
  for (const char* name : {kGate, kUp}) {
    ASSERT_TRUE(collector.OnInput(InputOf(name, 0, many)).ok());
  }
  for (const char* name : {kGate, kUp}) {
    ASSERT_TRUE(collector.OnInput(InputOf(name, 1, few)).ok());
  }
  const BlockStats stats = collector.Finish();
  EXPECT_EQ(stats.layers.size(), 8u);
  Slow own0, own1, all;
  for (int64_t r = 0; r < many.n(); ++r) {
    own0.Add(many.values.data() + r * kCols);
    all.Add(many.values.data() + r * kCols);
  }
  for (int64_t r = 0; r < few.n(); ++r) {
    own1.Add(few.values.data() + r * kCols);
    all.Add(few.values.data() + r * kCols);
  }
  for (const char* name : {kGate, kUp}) {
    const LayerStats* s0 = stats.Find(name, 0);
    ASSERT_NE(s0, nullptr);
    EXPECT_EQ(s0->n_rows, 200);
    EXPECT_EQ(s0->shrinkage, 0);
    ExpectNear(s0->gram, own0.gram, own0.sum_sq);

    const LayerStats* s1 = stats.Find(name, 1);
    EXPECT_EQ(s1->n_rows, 16);
    EXPECT_DOUBLE_EQ(s1->shrinkage, 0.75);
    std::vector<double> gram, diagonal;
    for (size_t i = 0; i < own1.gram.size(); ++i) {
      gram.push_back(16 *
                     (0.25 * own1.gram[i] / 16 + 0.75 * all.gram[i] / 216));
    }
    for (size_t i = 0; i < kCols; ++i) {
      diagonal.push_back(gram[i * kCols + i]);
      EXPECT_NEAR(s1->sum_sq[i], diagonal[i], 1e-12 * diagonal[i]);
      EXPECT_FLOAT_EQ(s1->max_abs[i],
                      0.25f * own1.max_abs[i] + 0.75f * all.max_abs[i]);
    }
    ExpectNear(s1->gram, gram, diagonal);

    for (const int expert : {2, 3}) {
      const LayerStats* none = stats.Find(name, expert);
      EXPECT_EQ(none->n_rows, 0);
      EXPECT_EQ(none->shrinkage, 1);
      EXPECT_DOUBLE_EQ(none->MeanSquare(7), all.sum_sq[7] / 216);
      EXPECT_EQ(none->max_abs, all.max_abs);
    }
  }
  // Fed by one input: one value.
  EXPECT_EQ(stats.Find(kGate, 1), stats.Find(kUp, 1));
}

TEST_F(StatsCollectorTest, CrossMomentsPairTokens) {
  request_.needs.cross = true;
  const Rows z = SomeRows(30, 1);
  Rows x = SomeRows(30, 2);
  // The original model sent every third token elsewhere.
  Rows kept;
  for (int64_t r = 0; r < 30; ++r) {
    if (r % 3 != 0) {
      kept.tokens.push_back(x.tokens[r]);
      kept.values.insert(kept.values.end(), x.values.begin() + r * kCols,
                         x.values.begin() + (r + 1) * kCols);
    }
  }
  InputRecorder recorder;
  ASSERT_TRUE(recorder.OnInput(InputOf(kGate, 0, kept)).ok());
  ASSERT_TRUE(recorder.OnInput(InputOf(kUp, 0, kept)).ok());
  EXPECT_EQ(recorder.Find(kGate, 0, x.tokens[1]),
            recorder.Find(kUp, 0, x.tokens[1]));
  EXPECT_EQ(recorder.Find(kGate, 0, x.tokens[3]), nullptr);
  EXPECT_EQ(recorder.Find(kGate, 1, x.tokens[1]), nullptr);

  StatsCollector collector(model_.get(), &pool_, request_, /*rows a column=*/0);
  collector.BeginGroup(0, 4096, uses_.data(), &recorder);
  ASSERT_TRUE(collector.OnInput(InputOf(kUp, 0, z)).ok());
  const BlockStats stats = collector.Finish();
  const LayerStats* s = stats.Find(kUp, 0);
  EXPECT_EQ(s->n_rows, 30);
  for (int64_t i = 0; i < kCols; ++i) {
    for (int64_t j = 0; j < kCols; ++j) {
      double want = 0, magnitude = 0;
      for (int64_t r = 0; r < 30; ++r) {
        if (r % 3 != 0) {
          const double drift =
              x.values[r * kCols + i] - z.values[r * kCols + i];
          want += drift * z.values[r * kCols + j];
          magnitude += std::fabs(drift * z.values[r * kCols + j]);
        }
      }
      ASSERT_NEAR(s->cross[i * kCols + j], want, 30 * 0x1p-24 * magnitude);
    }
  }
}

}  // namespace
}  // namespace narrow
