// A judge's verdicts against divergences computed from whole logits, plainly.

#include "converter/compensated/block_judge.h"

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calibration/weights/weights.h"
#include "converter/compensated/checkpoint_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr int64_t kTokens = 24;

class BlockJudgeTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    CheckpointOptions options;
    options.skip_tokenizer = true;
    auto opened = Checkpoint::Open(GetParam(), options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    model_ = *std::move(opened);
    std::vector<std::string> names;
    for (const CheckpointTensor& tensor : model_->tensors()) {
      if (tensor.meta.shape.size() > 1) {
        names.push_back(tensor.meta.name);
      }
    }
    auto overlay = std::make_unique<OverlaySource>(
        std::make_unique<CheckpointSource>(model_.get(), names), names);
    overlay_ = overlay.get();
    shown_ = Checkpoint::WithRows(*model_, std::move(overlay));
    // Windows calibrated on, then two to judge on.
    samples_.sample_tokens = kTokens;
    for (int32_t i = 0; i < 5 * kTokens; ++i) {
      samples_.ids.push_back(i * 37 % 311);
      samples_.counts.push_back(i < 3 * kTokens ? 1 : 0);
    }
    verify_.n_windows = 2;
    verify_.counts.assign(2 * kTokens, 1);
    verify_.counts[5] = 0;
  }

  absl::StatusOr<std::unique_ptr<BlockJudge>> Judge(
      int n_threads = 2, std::optional<Device> device = {}) {
    JudgeOptions options;
    options.n_threads = n_threads;
    options.device = std::move(device);
    options.on_device_note = [this](absl::string_view note) {
      notes_.emplace_back(note);
    };
    return BlockJudge::Create(shown_.get(), overlay_, samples_, verify_,
                              options);
  }

  // Of the windows to judge on, as `shown_` is now, before `block`.
  HiddenStates StatesBefore(int64_t block) {
    RunnerOptions options;
    options.precision = Precision::kReproducible;
    auto runner = ModelRunner::Create(shown_.get(), options);
    EXPECT_TRUE(runner.ok()) << runner.status();
    HiddenStates hidden;
    EXPECT_TRUE(
        (*runner)
            ->Embed(absl::MakeConstSpan(samples_.ids).subspan(3 * kTokens),
                    kTokens, &hidden)
            .ok());
    for (int64_t b = 0; b < block; ++b) {
      EXPECT_TRUE((*runner)->RunBlock(b, nullptr, &hidden).ok());
    }
    return hidden;
  }

  // Logits of the judged tokens in the whole model as it is shown now.
  std::vector<std::vector<double>> LogProbs() {
    RunnerOptions options;
    options.precision = Precision::kReproducible;
    auto runner = ModelRunner::Create(shown_.get(), options);
    HiddenStates hidden = StatesBefore((*runner)->n_blocks());
    EXPECT_TRUE((*runner)->FinalNorm(&hidden).ok());
    const int64_t n_vocab = (*runner)->vocab_size();
    std::vector<std::vector<double>> all;
    for (int64_t t = 0; t < 2 * kTokens; ++t) {
      std::vector<float> logits(static_cast<size_t>(n_vocab));
      EXPECT_TRUE((*runner)->Logits(hidden.row(0, t), 1, logits.data()).ok());
      double sum = 0;
      for (const float logit : logits) {
        sum += std::exp(double{logit});
      }
      std::vector<double> row;
      for (const float logit : logits) {
        row.push_back(double{logit} - std::log(sum));
      }
      if (verify_.counts[static_cast<size_t>(t)] != 0) {
        all.push_back(std::move(row));
      }
    }
    return all;
  }

  static double Divergence(const std::vector<std::vector<double>>& p,
                           const std::vector<std::vector<double>>& q) {
    double sum = 0;
    for (size_t t = 0; t < p.size(); ++t) {
      for (size_t i = 0; i < p[t].size(); ++i) {
        sum += std::exp(p[t][i]) * (p[t][i] - q[t][i]);
      }
    }
    return sum / static_cast<double>(p.size());
  }

  // Shows `name` times `factor`.
  absl::Status Scale(const std::string& name, float factor) {
    const CheckpointTensor* tensor = model_->Find(name);
    std::vector<float> values(static_cast<size_t>(tensor->meta.n_elements()));
    const absl::Status status =
        ReadRows(*model_, *tensor, 0, tensor->meta.n_rows(), values.data());
    for (float& value : values) {
      value *= factor;
    }
    return status.ok() ? overlay_->Replace(name, std::move(values)) : status;
  }

  std::unique_ptr<Checkpoint> model_, shown_;
  OverlaySource* overlay_ = nullptr;
  CalibrationSamples samples_;
  VerifyWindows verify_;
  std::vector<std::string> notes_;
};

TEST_P(BlockJudgeTest, MeasuresTheDivergenceOfTheWholeModel) {
  const std::vector<std::vector<double>> original = LogProbs();
  auto judge = Judge();
  ASSERT_TRUE(judge.ok()) << judge.status();
  EXPECT_EQ((*judge)->n_positions(), 2 * kTokens - 1);
  const int64_t n_blocks = model_->config().n_layers;
  for (int64_t block = 0; block <= n_blocks; ++block) {
    SCOPED_TRACE(block);
    const std::string name = block < n_blocks ? "blk." + std::to_string(block) +
                                                    ".attn_output.weight"
                                              : "output.weight";
    if (model_->Find(name) == nullptr) {
      continue;  // the embedding serves
    }
    // What came before counts too.
    if (block > 0) {
      ASSERT_TRUE(Scale("blk.0.attn_output.weight", 1.3f).ok());
    }
    const HiddenStates states = StatesBefore(block);
    const float factors[] = {1, 0.8f, -0.5f};
    const auto kl = (*judge)->Divergences(block, states, 3, [&](int variant) {
      return Scale(name, factors[variant]);
    });
    ASSERT_TRUE(kl.ok()) << kl.status();
    for (int variant = 0; variant < 3; ++variant) {
      ASSERT_TRUE(Scale(name, factors[variant]).ok());
      const double plain = Divergence(original, LogProbs());
      // Sums of some hundred products of float32 exponentials.
      EXPECT_NEAR((*kl)[static_cast<size_t>(variant)], plain,
                  1e-5 * plain + 2e-6);
    }
    if (block == 0) {
      EXPECT_LT((*kl)[0], 1e-14);  // the original itself, but for rounding
    }
    EXPECT_LT((*kl)[1], (*kl)[2]);
    overlay_->Restore(name);
  }
}

TEST_P(BlockJudgeTest, ThreadsDoNotMatter) {
  const auto show = [&](int variant) {
    return Scale("blk.0.attn_output.weight", variant == 0 ? 0.9f : 0.1f);
  };
  std::vector<double> first;
  for (const int n_threads : {1, 3}) {
    auto judge = Judge(n_threads);
    ASSERT_TRUE(judge.ok()) << judge.status();
    const auto kl = (*judge)->Divergences(0, StatesBefore(0), 2, show);
    ASSERT_TRUE(kl.ok()) << kl.status();
    if (first.empty()) {
      first = *kl;
    }
    EXPECT_EQ(*kl, first);
  }
}

// With memory for all of it, for the runners and little more, and for nothing.
TEST_P(BlockJudgeTest, ADeviceDoesNotMatter) {
  const auto show = [&](int variant) {
    return Scale("blk.0.attn_output.weight", variant == 0 ? 0.9f : 0.1f);
  };
  const auto verdict = [&](std::optional<Device> device) {
    auto judge = Judge(1, std::move(device));
    EXPECT_TRUE(judge.ok()) << judge.status();
    auto kl = judge.ok() ? (*judge)->Divergences(0, StatesBefore(0), 2, show)
                         : absl::StatusOr<std::vector<double>>(judge.status());
    EXPECT_TRUE(kl.ok()) << kl.status();
    return kl.ok() ? *std::move(kl) : std::vector<double>();
  };
  const std::vector<double> wanted = verdict({});
  EXPECT_EQ(verdict(Device::Cpu()), wanted);
  EXPECT_TRUE(notes_.empty());
  for (const int64_t n_bytes : {1000000, 10000}) {
    EXPECT_EQ(verdict(Device::Cpu(n_bytes)), wanted);
  }
  EXPECT_THAT(notes_, testing::Contains(
                          testing::HasSubstr("the processor judges blocks: ")));
}

TEST_P(BlockJudgeTest, NeedsATokenThatCounts) {
  verify_.counts.assign(verify_.counts.size(), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(Judge().status()));
}

TEST_P(BlockJudgeTest, LooksAtEvenlySpreadPlaces) {
  verify_.n_windows = 60;
  samples_.ids.assign(static_cast<size_t>(60 * kTokens), 7);
  samples_.counts.assign(samples_.ids.size(), 0);
  verify_.counts.assign(samples_.ids.size(), 1);
  const auto judge = Judge();
  ASSERT_TRUE(judge.ok()) << judge.status();
  EXPECT_EQ((*judge)->n_positions(), BlockJudge::kMostPositions);
}

INSTANTIATE_TEST_SUITE_P(Families, BlockJudgeTest,
                         testing::Values("testdata/arch/llama3",
                                         "testdata/arch/gemma3_text",
                                         "testdata/arch/mixtral"));

}  // namespace
}  // namespace narrow
