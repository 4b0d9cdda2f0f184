// The forward pass on a device against the processor's, over all families: the
// code of a card's threads on the CPU, and a card where there is one.

#include "calibration/device/device_runner.h"

#include <dirent.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/arch/checkpoint.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/device.h"

namespace narrow {
namespace {

using testing::HasSubstr;

constexpr int64_t kWindows = 3;
constexpr int64_t kTokens = 37;

std::vector<std::string> Fixtures() {
  std::vector<std::string> folders;
  for (const char* root : {"testdata/arch", "testdata/arch_options"}) {
    DIR* folder = opendir(root);
    while (const dirent* entry = folder ? readdir(folder) : nullptr) {
      const std::string name = entry->d_name;
      if (name[0] != '.' && !absl::StrContains(name, "BUILD")) {
        folders.push_back(absl::StrCat(root, "/", name));
      }
    }
    closedir(folder);
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*card);
  }
  return devices;
}

std::unique_ptr<Checkpoint> Open(const std::string& path) {
  CheckpointOptions options;
  options.skip_tokenizer = true;
  auto model = Checkpoint::Open(path, options);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

std::unique_ptr<ModelRunner> NewRunner(const Checkpoint& model,
                                       Precision precision,
                                       std::optional<Device> device) {
  RunnerOptions options;
  options.precision = precision;
  options.n_threads = 2;
  options.device = std::move(device);
  auto runner = ModelRunner::Create(&model, options);
  EXPECT_TRUE(runner.ok()) << runner.status();
  return runner.ok() ? *std::move(runner) : nullptr;
}

std::vector<int32_t> TokensOf(const Checkpoint& model) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < kWindows * kTokens; ++i) {
    ids.push_back(
        static_cast<int32_t>((i * i * 31 + i * 7) % model.config().vocab_size));
  }
  return ids;
}

// What a pass came to.
struct Pass {
  std::vector<std::vector<float>> blocks;  // hidden states after each
  std::vector<float> normed;
  std::vector<float> logits;
  std::vector<TokenScore> scores;
};

Pass RunPass(ModelRunner* runner, const std::vector<int32_t>& ids,
             Observer* observer = nullptr) {
  Pass pass;
  HiddenStates hidden;
  absl::Status status = runner->Embed(ids, kTokens, &hidden);
  for (int64_t i = 0; i < runner->n_blocks(); ++i) {
    status.Update(runner->RunBlock(i, observer, &hidden));
    status.Update(runner->Fetch(&hidden));
    pass.blocks.push_back(hidden.values);
  }
  status.Update(runner->FinalNorm(&hidden));
  pass.normed = hidden.values;
  const auto n_rows = static_cast<int64_t>(ids.size());
  pass.logits.resize(ids.size() * static_cast<size_t>(runner->vocab_size()));
  pass.scores.resize(ids.size());
  status.Update(runner->Logits(pass.normed.data(), n_rows, pass.logits.data()));
  status.Update(runner->LogProbs(pass.normed.data(), n_rows, ids.data(),
                                 pass.scores.data()));
  EXPECT_TRUE(status.ok()) << status;
  return pass;
}

void ExpectSame(const Pass& a, const Pass& b) {
  ASSERT_EQ(a.blocks.size(), b.blocks.size());
  for (size_t i = 0; i < a.blocks.size(); ++i) {
    ASSERT_TRUE(a.blocks[i] == b.blocks[i]) << "block " << i;
  }
  EXPECT_TRUE(a.normed == b.normed);
  EXPECT_TRUE(a.logits == b.logits);
  for (size_t r = 0; r < a.scores.size(); ++r) {
    ASSERT_EQ(a.scores[r].log_prob, b.scores[r].log_prob) << r;
    ASSERT_EQ(a.scores[r].top_token, b.scores[r].top_token) << r;
  }
}

// Rows by layer, expert and token; tokens of a layer must come in order.
class Recorder : public Observer {
 public:
  using Key = std::tuple<std::string, int, int64_t>;

  absl::Status OnInput(const LayerInput& input) override {
    int64_t& last = last_[{std::string(input.name), input.expert}];
    for (int64_t r = 0; r < input.n_rows; ++r) {
      const int64_t token = input.token(r);
      EXPECT_GE(token, last) << input.name;
      last = token + 1;
      std::vector<float> row(input.rows + r * input.n_cols,
                             input.rows + (r + 1) * input.n_cols);
      if (input.residual != nullptr) {
        row.insert(row.end(), input.residual + r * input.residual_cols,
                   input.residual + (r + 1) * input.residual_cols);
      }
      rows_[{std::string(input.name), input.expert, token}] = std::move(row);
    }
    return absl::OkStatus();
  }

  const std::map<Key, std::vector<float>>& rows() const { return rows_; }

 private:
  std::map<std::pair<std::string, int>, int64_t> last_;
  std::map<Key, std::vector<float>> rows_;
};

class DeviceFamilyTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    model_ = Open(GetParam());
    ASSERT_NE(model_, nullptr);
    ids_ = TokensOf(*model_);
  }

  std::unique_ptr<Checkpoint> model_;
  std::vector<int32_t> ids_;
};

TEST_P(DeviceFamilyTest, ReproducibleNumbersAreTheProcessors) {
  const auto cpu = NewRunner(*model_, Precision::kReproducible, {});
  ASSERT_NE(cpu, nullptr);
  Recorder wanted_rows;
  const Pass wanted = RunPass(cpu.get(), ids_, &wanted_rows);
  for (const Device& device : Devices()) {
    SCOPED_TRACE(device.Description());
    const auto runner = NewRunner(*model_, Precision::kReproducible, device);
    ASSERT_NE(runner, nullptr);
    Recorder rows;
    ExpectSame(RunPass(runner.get(), ids_, &rows), wanted);
    EXPECT_TRUE(rows.rows() == wanted_rows.rows());
    const auto exact = NewRunner(*model_, Precision::kExact, device);
    ExpectSame(RunPass(exact.get(), ids_), wanted);
  }
}

TEST_P(DeviceFamilyTest, FastNumbersAreNearThem) {
  const auto cpu = NewRunner(*model_, Precision::kReproducible, {});
  const Pass wanted = RunPass(cpu.get(), ids_);
  double sum = 0, sum_sq = 0;
  for (const float logit : wanted.logits) {
    sum += logit;
    sum_sq += static_cast<double>(logit) * logit;
  }
  const double n = static_cast<double>(wanted.logits.size());
  const double spread = std::sqrt(sum_sq / n - (sum / n) * (sum / n));
  // As model_runner_test has it for the processor's; rounding the output
  // matrix's inputs and those of attention is within the factor.
  const double layers = static_cast<double>(cpu->n_blocks());
  const double bound =
      4 * std::sqrt(4 * layers + 1) * 0x1p-9 / std::sqrt(3.0) * spread;
  for (const Device& device : Devices()) {
    const auto runner = NewRunner(*model_, Precision::kFast, device);
    Recorder rows;
    const Pass pass = RunPass(runner.get(), ids_, &rows);
    std::vector<double> differences;
    for (size_t i = 0; i < pass.logits.size(); ++i) {
      differences.push_back(std::fabs(pass.logits[i] - wanted.logits[i]));
    }
    auto middle = differences.begin() + differences.size() / 2;
    std::nth_element(differences.begin(), middle, differences.end());
    std::printf("%s: median difference %.2e, bound %.2e\n", GetParam().c_str(),
                *middle, bound);
    EXPECT_GT(*middle, 0);
    EXPECT_LT(*middle, bound);
    EXPECT_FALSE(rows.rows().empty());
    ExpectSame(RunPass(runner.get(), ids_), pass);
  }
}

TEST_P(DeviceFamilyTest, PartsAndTheirEndsAreTheWhole) {
  for (const Device& device : Devices()) {
    const auto runner = NewRunner(*model_, Precision::kReproducible, device);
    HiddenStates whole, parts;
    ASSERT_TRUE(runner->Embed(ids_, kTokens, &whole).ok());
    ASSERT_TRUE(runner->RunBlock(0, nullptr, &whole).ok());
    ASSERT_TRUE(runner->Fetch(&whole).ok());
    ASSERT_TRUE(runner->Embed(ids_, kTokens, &parts).ok());
    const BlockSites sites = runner->SitesOfBlock(0);
    const ModelRunner::InnerCols cols = runner->InnerColsOfBlock(0);
    const auto inner_of = [&](const Recorder& seen, size_t site) {
      std::vector<float> inner;
      for (size_t t = 0; t < ids_.size(); ++t) {
        const std::vector<float>& row =
            seen.rows().at({sites[site].back(), -1, static_cast<int64_t>(t)});
        inner.insert(
            inner.end(), row.begin(),
            row.begin() + (site == 1 ? cols.attention : cols.feed_forward));
      }
      return inner;
    };
    Recorder input, attention, feed_forward;
    ASSERT_TRUE(runner->RunAttention(0, PartEnd::kInput, &input, &parts).ok());
    EXPECT_EQ(std::get<0>(input.rows().rbegin()->first), sites[0].back());
    ASSERT_TRUE(
        runner->RunAttention(0, PartEnd::kInner, &attention, &parts).ok());
    ASSERT_TRUE(
        runner->EndAttention(0, inner_of(attention, 1).data(), &parts).ok());
    if (cols.feed_forward > 0) {
      ASSERT_TRUE(
          runner->RunFeedForward(0, PartEnd::kInner, &feed_forward, &parts)
              .ok());
      ASSERT_TRUE(
          runner->EndFeedForward(0, inner_of(feed_forward, 3).data(), &parts)
              .ok());
    } else {
      ASSERT_TRUE(
          runner->RunFeedForward(0, PartEnd::kOutput, nullptr, &parts).ok());
    }
    ASSERT_TRUE(runner->Fetch(&parts).ok());
    EXPECT_TRUE(parts.values == whole.values);
  }
}

TEST_P(DeviceFamilyTest, NumbersThatAreNotFiniteHaveAPlace) {
  for (const Device& device : Devices()) {
    const auto runner = NewRunner(*model_, Precision::kFast, device);
    HiddenStates hidden;
    ASSERT_TRUE(runner->Embed(ids_, kTokens, &hidden).ok());
    ASSERT_TRUE(runner->Fetch(&hidden).ok());
    hidden.values[(1 * kTokens + 5) * hidden.hidden_size + 2] = HUGE_VALF;
    const absl::Status status = runner->RunBlock(0, nullptr, &hidden);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("window 1, token 5"));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, DeviceFamilyTest,
                         testing::ValuesIn(Fixtures()), [](const auto& param) {
                           std::string name = param.param;
                           for (char& c : name) {
                             c = std::isalnum(c) ? c : '_';
                           }
                           return name;
                         });

// A device whose memory holds some of the weights, and rows a few at a time.
TEST(DeviceRunnerTest, AModelLargerThanTheMemoryRuns) {
  for (const char* folder :
       {"testdata/arch/llama3", "testdata/arch/qwen3_moe"}) {
    const auto model = Open(folder);
    ASSERT_NE(model, nullptr);
    const std::vector<int32_t> ids = TokensOf(*model);
    const auto cpu = NewRunner(*model, Precision::kReproducible, {});
    const Pass wanted = RunPass(cpu.get(), ids);
    int64_t weight_bytes = 0;
    for (const CheckpointTensor& tensor : model->tensors()) {
      weight_bytes += 4 * tensor.meta.n_elements();
    }
    // Down to where not even the largest group and a window have room.
    bool was_short = false, refused = false;
    for (int64_t limit = 2 * weight_bytes; limit > 20000; limit -= limit / 4) {
      std::vector<std::string> notes;
      RunnerOptions options;
      options.precision = Precision::kReproducible;
      options.n_threads = 1;
      options.device = Device::Cpu(limit);
      options.on_device_note = [&](absl::string_view note) {
        notes.emplace_back(note);
      };
      auto runner = ModelRunner::Create(model.get(), options);
      absl::Status status = runner.status();
      HiddenStates hidden;
      if (status.ok()) {
        status.Update((*runner)->Embed(ids, kTokens, &hidden));
      }
      for (int64_t i = 0; status.ok() && i < (*runner)->n_blocks(); ++i) {
        status.Update((*runner)->RunBlock(i, nullptr, &hidden));
      }
      if (!status.ok()) {
        EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
        std::printf("%s with %lld of %lld bytes: %s\n", folder,
                    static_cast<long long>(limit),
                    static_cast<long long>(weight_bytes),
                    status.ToString().c_str());
        refused = true;
        break;
      }
      ASSERT_TRUE((*runner)->Fetch(&hidden).ok());
      EXPECT_TRUE(hidden.values == wanted.blocks.back()) << limit;
      was_short = was_short || !notes.empty();
    }
    EXPECT_TRUE(was_short) << folder;
    EXPECT_TRUE(refused) << folder;
  }
}

}  // namespace
}  // namespace narrow
