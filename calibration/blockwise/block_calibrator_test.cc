// Calibration of small models against slow sums over everything the runner
// shows, and its promises: groups, threads, memory limits and restarts change
// no bit.

#include "calibration/blockwise/block_calibrator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/blockwise/calibrator_fixture.h"
#include "calibration/weights/weights.h"
#include "formats/tensor.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

// Sums in double of every row that counts, each tensor and expert alone.
class SlowSums : public Observer {
 public:
  struct Sums {
    int64_t n_rows = 0;
    std::vector<double> gram;
  };

  explicit SlowSums(const std::vector<uint8_t>* counts) : counts_(counts) {}

  absl::Status OnInput(const LayerInput& input) override {
    Sums& sums = sums_[{std::string(input.name), input.expert}];
    const int64_t n = input.n_cols;
    sums.gram.resize(static_cast<size_t>(n * n));
    for (int64_t r = 0; r < input.n_rows; ++r) {
      if ((*counts_)[static_cast<size_t>(input.token(r))] == 0) {
        continue;
      }
      ++sums.n_rows;
      const float* x = input.rows + r * n;
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          sums.gram[static_cast<size_t>(i * n + j)] +=
              static_cast<double>(x[i]) * x[j];
        }
      }
    }
    return absl::OkStatus();
  }

  std::map<std::pair<std::string, int>, Sums> sums_;

 private:
  const std::vector<uint8_t>* const counts_;
};

class FamilyTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    opened_ = Open(absl::StrCat("testdata/arch/", GetParam()));
    ASSERT_NE(opened_.model, nullptr);
    samples_ = SomeSamples(*opened_.model);
  }

  Opened opened_;
  CalibrationSamples samples_;
};

TEST_P(FamilyTest, GramMatricesAreThoseOfTheForwardPass) {
  auto runner = ModelRunner::Create(opened_.model.get(), Exact(1).runner);
  ASSERT_TRUE(runner.ok());
  HiddenStates hidden;
  ASSERT_TRUE((*runner)->Embed(samples_.ids, kTokens, &hidden).ok());
  CalibrationOptions options = Exact(2);
  options.expert_rows_per_column = 0;  // as they are
  const auto calibrator = Create(opened_, samples_, options);
  ASSERT_NE(calibrator, nullptr);
  for (int64_t block = 0; block < calibrator->n_blocks(); ++block) {
    SlowSums slow(&samples_.counts);
    ASSERT_TRUE((*runner)->RunBlock(block, &slow, &hidden).ok());
    const BlockStats stats = Observe(calibrator.get(), Gram());
    for (const auto& [key, sums] : slow.sums_) {
      const LayerStats* s = stats.Find(key.first, key.second);
      ASSERT_NE(s, nullptr) << key.first;
      EXPECT_EQ(s->n_rows, sums.n_rows) << key.first;
      if (sums.n_rows == 0) {
        continue;
      }
      const int64_t n = s->n_cols;
      ASSERT_EQ(s->gram.size(), sums.gram.size()) << key.first;
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          // Blocks of 256 rows in float32; Cauchy-Schwarz.
          const double bound =
              256 * 0x1p-24 *
              std::sqrt(sums.gram[i * n + i] * sums.gram[j * n + j]);
          ASSERT_NEAR(s->gram[i * n + j], sums.gram[i * n + j], bound)
              << key.first << " " << i << ", " << j;
        }
      }
    }
    Advance(calibrator.get());
  }
  EXPECT_FALSE(calibrator->Observe(Gram(), {}).ok());
  ASSERT_TRUE((*runner)->FinalNorm(&hidden).ok());
  auto output = calibrator->ObserveOutput(Gram());
  ASSERT_TRUE(output.ok()) << output.status();
  const LayerStats* s = output->Find("output.weight", -1);
  ASSERT_NE(s, nullptr);
  double want = 0;
  for (size_t r = 0; r < samples_.ids.size(); ++r) {
    const double x = hidden.row(0, static_cast<int64_t>(r))[3];
    want += samples_.counts[r] != 0 ? x * x : 0;
  }
  EXPECT_DOUBLE_EQ(s->sum_sq[3], want);
}

// All statistics of a run with cross moments, blocks coarsened on the way.
std::vector<BlockStats> RunAll(const std::string& path,
                               const CalibrationOptions& options,
                               int64_t restart_at = -1) {
  Opened opened = Open(path);
  const CalibrationSamples samples = SomeSamples(*opened.model);
  auto calibrator = Create(opened, samples, options);
  std::vector<BlockStats> all;
  const std::string state = testing::TempDir() + "/block.state";
  while (calibrator->next_block() < calibrator->n_blocks()) {
    all.push_back(Observe(calibrator.get(), Gram(/*cross=*/true)));
    Coarsen(opened, calibrator->next_block());
    Advance(calibrator.get());
    if (calibrator->next_block() == restart_at) {
      EXPECT_TRUE(calibrator->Save(state, 77).ok());
      calibrator.reset();
      // Nothing is replaced in the new run.
      opened = Open(path);
      calibrator = Create(opened, samples, options);
      const absl::Status status = calibrator->Restore(state, 77);
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_EQ(calibrator->next_block(), restart_at);
    }
  }
  auto output = calibrator->ObserveOutput(Gram(/*cross=*/true));
  EXPECT_TRUE(output.ok()) << output.status();
  all.push_back(*std::move(output));
  return all;
}

TEST_P(FamilyTest, ThreadsGroupsLimitsAndRestartsChangeNoBit) {
  const std::string path = absl::StrCat("testdata/arch/", GetParam());
  const auto whole = RunAll(path, Exact(1));
  CalibrationOptions options = Exact(3);
  options.runner.max_cached_bytes = 0;
  // Three samples in memory, the others in a file.
  options.hidden_bytes =
      3 * kTokens * opened_.model->config().hidden_size * 4 + 1;
  options.group_samples = 2;
  options.spill_folder = testing::TempDir();
  const auto parts = RunAll(path, options, /*restart_at=*/2);
  ASSERT_EQ(whole.size(), parts.size());
  for (size_t i = 0; i < whole.size(); ++i) {
    ExpectSame(whole[i], parts[i]);
  }
}

TEST_P(FamilyTest, DriftVanishesUntilSomethingIsReplaced) {
  const auto calibrator = Create(opened_, samples_, Exact(2));
  ASSERT_NE(calibrator, nullptr);
  for (int64_t block = 0; block < 2; ++block) {
    const BlockStats stats = Observe(calibrator.get(), Gram(/*cross=*/true));
    for (const auto& [key, s] : stats.layers) {
      for (const double v : s->cross) {
        ASSERT_EQ(v, 0) << key.first;
      }
    }
    if (block == 0) {
      Advance(calibrator.get());
    }
  }
  // Within a block, inputs drift once an earlier layer is replaced.
  Coarsen(opened_, 1);
  const BlockStats stats = Observe(calibrator.get(), Gram(/*cross=*/true));
  double most = 0, most_first = 0;
  for (const auto& [key, s] : stats.layers) {
    for (const double v : s->cross) {
      most = std::max(most, std::fabs(v));
      if (absl::StrContains(key.first, "attn_q")) {
        most_first = std::max(most_first, std::fabs(v));
      }
    }
  }
  EXPECT_GT(most, 0.01);
  EXPECT_EQ(most_first, 0);
}

// The token embedding in steps of 1/8.
class RoundedEmbedding : public TensorSource, private RowSource {
 public:
  explicit RoundedEmbedding(const Checkpoint* model)
      : model_(*model), tensor_(*model->Find("token_embd.weight")) {
    view_.meta = tensor_.meta;
    view_.meta.type = QuantType::kF32;
    view_.rows = this;
  }
  absl::Span<const TensorView> tensors() const override { return {&view_, 1}; }
  const TensorView* Find(absl::string_view name) const override {
    return name == view_.meta.name ? &view_ : nullptr;
  }
  const Metadata& metadata() const override { return model_.metadata(); }
  absl::string_view format() const override { return "gguf"; }
  void Release(absl::Span<const uint8_t> /*range*/) const override {}

 private:
  absl::Status ReadRows(int64_t first_row, int64_t n_rows,
                        float* out) const override {
    const absl::Status status =
        narrow::ReadRows(model_, tensor_, first_row, n_rows, out);
    for (int64_t i = 0; i < n_rows * view_.meta.n_cols(); ++i) {
      out[i] = std::nearbyint(out[i] * 8) / 8;
    }
    return status;
  }

  const Checkpoint& model_;
  const CheckpointTensor& tensor_;
  TensorView view_;
};

// The quantized stream begins with the file's embedding, the original's with
// its own.
TEST_P(FamilyTest, AnEmbeddingOfItsOwnDriftsFromTheBeginning) {
  const auto rounded = Checkpoint::WithRows(
      *opened_.model, std::make_unique<RoundedEmbedding>(opened_.model.get()));
  CalibrationOptions options = Exact(2);
  const BlockStats plain =
      Observe(Create(opened_, samples_, options).get(), Gram());
  const auto of_rounded =
      BlockCalibrator::Create(rounded.get(), nullptr, samples_, options);
  ASSERT_TRUE(of_rounded.ok()) << of_rounded.status();
  const BlockStats expected = Observe(of_rounded->get(), Gram());

  options.keep_original = true;
  options.embedding = rounded.get();
  const auto calibrator = Create(opened_, samples_, options);
  ASSERT_NE(calibrator, nullptr);
  const BlockStats seen = Observe(calibrator.get(), Gram(/*cross=*/true));
  const auto energy = [](const std::vector<double>& moments, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      sum += moments[static_cast<size_t>(i * n + i)];
    }
    return sum;
  };
  bool drifts = false;
  for (const auto& [key, s] : seen.layers) {
    EXPECT_EQ(s->gram, expected.Find(key.first, key.second)->gram) << key.first;
    drifts = drifts || energy(s->cross, s->n_cols) != 0;
  }
  EXPECT_TRUE(drifts);

  options.keep_original = false;
  options.order = CalibrationOrder::kOriginal;
  ExpectSame(Observe(Create(opened_, samples_, options).get(), Gram()), plain);
}

TEST_P(FamilyTest, PaddingCountsNothingWhateverItIs) {
  const auto calibrator = Create(opened_, samples_, Exact(2));
  CalibrationSamples other = samples_;
  for (size_t i = 0; i < other.ids.size(); ++i) {
    // Padding at the ends of samples, not the masked beginnings.
    if (other.counts[i] == 0 && i % kTokens >= 17) {
      other.ids[i] = (other.ids[i] + 11) % 300;
    }
  }
  ASSERT_NE(other.ids, samples_.ids);
  const auto padded = Create(opened_, other, Exact(2));
  for (int64_t block = 0; block < calibrator->n_blocks(); ++block) {
    ExpectSame(Observe(calibrator.get(), Gram()),
               Observe(padded.get(), Gram()));
    Advance(calibrator.get());
    Advance(padded.get());
  }
}

TEST_P(FamilyTest, OriginalOrderDoesNotSeeWhatIsReplaced) {
  CalibrationOptions options = Exact(2);
  options.order = CalibrationOrder::kOriginal;
  const auto original = Create(opened_, samples_, options);
  const auto quantized = Create(opened_, samples_, Exact(2));
  const Opened untouched = Open(absl::StrCat("testdata/arch/", GetParam()));
  const auto plain = Create(untouched, samples_, Exact(2));
  Coarsen(opened_, 0);
  for (const auto* calibrator : {&original, &quantized, &plain}) {
    Advance(calibrator->get());
  }
  const BlockStats want = Observe(plain.get(), Gram());
  ExpectSame(Observe(original.get(), Gram()), want);
  const char* const name = "blk.1.attn_output.weight";
  EXPECT_NE(Observe(quantized.get(), Gram()).Find(name, -1)->gram,
            want.Find(name, -1)->gram);
  EXPECT_EQ(original->Observe(Gram(/*cross=*/true), {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(quantized->Observe(Gram(/*cross=*/true), {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyTest,
                         testing::Values("llama3", "mixtral", "phi3",
                                         "qwen3_moe", "gemma3_text"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

class BlockCalibratorTest : public testing::Test {
 protected:
  void SetUp() override {
    opened_ = Open("testdata/arch/llama3");
    ASSERT_NE(opened_.model, nullptr);
    samples_ = SomeSamples(*opened_.model);
  }

  absl::Status CreateError(const CalibrationSamples& samples) {
    return BlockCalibrator::Create(opened_.model.get(), opened_.overlay,
                                   samples, Exact(1))
        .status();
  }

  Opened opened_;
  CalibrationSamples samples_;
};

TEST_F(BlockCalibratorTest, LayersFedByOneInputShareTheirStatistics) {
  const auto calibrator = Create(opened_, samples_, Exact(1));
  const BlockStats stats = Observe(calibrator.get(), Gram());
  EXPECT_EQ(stats.layers.size(), 7u);
  EXPECT_EQ(stats.Find("blk.0.attn_q.weight", -1),
            stats.Find("blk.0.attn_v.weight", -1));
  EXPECT_EQ(stats.Find("blk.0.ffn_gate.weight", -1),
            stats.Find("blk.0.ffn_up.weight", -1));
  EXPECT_NE(stats.Find("blk.0.attn_q.weight", -1),
            stats.Find("blk.0.ffn_up.weight", -1));
  StatsNeeds columns;
  columns.columns = true;
  const BlockStats small = Observe(calibrator.get(), columns);
  EXPECT_TRUE(small.Find("blk.0.attn_q.weight", -1)->gram.empty());
  EXPECT_EQ(small.Find("blk.0.attn_q.weight", -1)->sum_sq,
            stats.Find("blk.0.attn_q.weight", -1)->sum_sq);
}

TEST_F(BlockCalibratorTest, RefusesSamplesThatDoNotFit) {
  EXPECT_THAT(std::string(CreateError({}).message()),
              HasSubstr("there is no calibration sample"));
  CalibrationSamples other = samples_;
  other.ids[kTokens * 2 + 3] = 320;
  EXPECT_THAT(std::string(CreateError(other).message()),
              HasSubstr("token 3 of calibration sample 2 is number 320, but "
                        "the model's vocabulary has 320"));
  other = samples_;
  std::fill(other.counts.begin(), other.counts.end(), 0);
  EXPECT_THAT(std::string(CreateError(other).message()),
              HasSubstr("no token of the 25 calibration samples counts"));
  other = samples_;
  other.counts.pop_back();
  EXPECT_THAT(std::string(CreateError(other).message()),
              HasSubstr("600 ids and 599 counts"));
}

TEST_F(BlockCalibratorTest, NamesTheLayerSampleAndTokenOfWhatIsNotFinite) {
  const auto calibrator = Create(opened_, samples_, Exact(2));
  // Infinite products of the token's own row only.
  const char* const name = "model.layers.0.mlp.up_proj.weight";
  const TensorView* view = opened_.overlay->Find(name);
  std::vector<float> values(static_cast<size_t>(view->meta.n_elements()),
                            3e38f);
  ASSERT_TRUE(opened_.overlay->Replace(name, values).ok());
  const auto stats = calibrator->Observe(Gram(), {});
  EXPECT_EQ(stats.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(stats.status().message()),
              HasSubstr("the input of blk.0.ffn_down.weight is not finite, "
                        "first at sample 0, token 0, column 0"));
  // As Advance would find it; the samples are then spoilt.
  EXPECT_EQ(calibrator->Advance({}).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(calibrator->Advance({}).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(calibrator->Save(testing::TempDir() + "/spoilt", 1).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(BlockCalibratorTest, StopsWhenAsked) {
  std::atomic<bool> cancelled{false};
  CalibrationOptions options = Exact(1);
  options.cancelled = &cancelled;
  const auto calibrator = Create(opened_, samples_, options);
  cancelled = true;
  EXPECT_EQ(calibrator->Advance({}).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calibrator->Observe(Gram(), {}).status().code(),
            absl::StatusCode::kCancelled);
  // Nothing was begun.
  cancelled = false;
  Advance(calibrator.get());
}

TEST_F(BlockCalibratorTest, RefusesStatesOfOtherRunsAndDamagedOnes) {
  const std::string path = testing::TempDir() + "/one.state";
  const auto calibrator = Create(opened_, samples_, Exact(1));
  Advance(calibrator.get());
  ASSERT_TRUE(calibrator->Save(path, 1).ok());
  const auto restore = [&](BlockCalibrator* to, uint64_t fingerprint) {
    const absl::Status status = to->Restore(path, fingerprint);
    EXPECT_TRUE(status.ok() || absl::IsDataLoss(status)) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(restore(calibrator.get(), 2), HasSubstr("other options"));
  CalibrationSamples other = samples_;
  other.counts[0] ^= 1;
  EXPECT_THAT(restore(Create(opened_, other, Exact(1)).get(), 1),
              HasSubstr("other samples"));
  const Opened another = Open("testdata/arch/llama2");
  EXPECT_THAT(restore(Create(another, samples_, Exact(1)).get(), 1),
              HasSubstr("another model"));
  CalibrationOptions both = Exact(1);
  both.keep_original = true;
  EXPECT_THAT(restore(Create(opened_, samples_, both).get(), 1),
              HasSubstr("no hidden states of the original model"));

  std::ifstream file(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(file)), {});
  const auto fresh = Create(opened_, samples_, Exact(1));
  const BlockStats first = Observe(fresh.get(), Gram());
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    std::string bad = good;
    if (i % 2 == 0) {
      bad.resize(random() % bad.size());
    } else {
      bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    }
    std::ofstream(path, std::ios::binary) << bad;
    EXPECT_EQ(fresh->Restore(path, 1).code(), absl::StatusCode::kDataLoss) << i;
  }
  std::ofstream(path, std::ios::binary) << good << "x";
  EXPECT_THAT(restore(fresh.get(), 1), HasSubstr("bytes follow"));
  // What failed has changed nothing.
  ExpectSame(Observe(fresh.get(), Gram()), first);
  std::ofstream(path, std::ios::binary) << good;
  EXPECT_EQ(restore(fresh.get(), 1), "");
  EXPECT_EQ(fresh->next_block(), 1);
  EXPECT_EQ(fresh->Restore(path + ".none", 1).code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace narrow
