// The forward pass of every family against transformers' logits, and the
// promises of model_runner.h.
//
// NARROW_ARCH_FIXTURES names another folder of models with an
// expected.safetensors each, to check more than testdata holds.

#include "calibration/model_runner.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "calibration/feed_forward.h"
#include "calibration/weights/weights.h"
#include "formats/gguf/gguf_writer.h"
#include "formats/safetensors/safetensors_reader.h"
#include "gtest/gtest.h"
#include "kernels/cpu.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

std::vector<std::string> FixtureRoots() {
  const char* root = std::getenv("NARROW_ARCH_FIXTURES");
  if (root != nullptr) {
    return {root};
  }
  return {"testdata/arch", "testdata/arch_options"};
}

// Folders of models with expected logits.
std::vector<std::string> Fixtures() {
  std::vector<std::string> folders;
  for (const std::string& root : FixtureRoots()) {
    DIR* folder = opendir(root.c_str());
    if (folder == nullptr) {
      continue;
    }
    while (const dirent* entry = readdir(folder)) {
      const std::string path = absl::StrCat(root, "/", entry->d_name);
      if (OpenSafetensors(path + "/expected.safetensors").ok()) {
        folders.push_back(path);
      }
    }
    closedir(folder);
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::string BaseName(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

struct Expected {
  int64_t n_windows, n_tokens, n_vocab;
  std::vector<int32_t> ids;
  std::vector<float> logits;
};

Expected ReadExpected(const std::string& folder) {
  Expected e;
  auto source = OpenSafetensors(folder + "/expected.safetensors");
  EXPECT_TRUE(source.ok()) << source.status();
  const TensorView* ids = (*source)->Find("input_ids");
  const TensorView* logits = (*source)->Find("logits");
  e.n_windows = logits->meta.shape[0];
  e.n_tokens = logits->meta.shape[1];
  e.n_vocab = logits->meta.shape[2];
  std::vector<int64_t> wide(ids->data.size() / 8);
  std::memcpy(wide.data(), ids->data.data(), ids->data.size());
  e.ids.assign(wide.begin(), wide.end());
  e.logits.resize(logits->data.size() / 4);
  std::memcpy(e.logits.data(), logits->data.data(), logits->data.size());
  return e;
}

std::unique_ptr<Checkpoint> Open(const std::string& path) {
  CheckpointOptions options;
  options.skip_tokenizer = true;
  auto model = Checkpoint::Open(path, options);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

std::unique_ptr<ModelRunner> NewRunner(const Checkpoint& model,
                                       RunnerOptions options) {
  auto runner = ModelRunner::Create(&model, options);
  EXPECT_TRUE(runner.ok()) << runner.status();
  return runner.ok() ? *std::move(runner) : nullptr;
}

RunnerOptions Exact(int n_threads = 2) {
  RunnerOptions options;
  options.precision = Precision::kExact;
  options.n_threads = n_threads;
  return options;
}

// Hidden states after the final norm.
HiddenStates Forward(ModelRunner* runner, const std::vector<int32_t>& ids,
                     int64_t n_tokens, Observer* observer = nullptr) {
  HiddenStates hidden;
  absl::Status status = runner->Embed(ids, n_tokens, &hidden);
  EXPECT_TRUE(status.ok()) << status;
  for (int64_t i = 0; i < runner->n_blocks() && status.ok(); ++i) {
    status = runner->RunBlock(i, observer, &hidden);
    EXPECT_TRUE(status.ok()) << status;
  }
  status = runner->FinalNorm(&hidden);
  EXPECT_TRUE(status.ok()) << status;
  return hidden;
}

std::vector<float> LogitsOf(ModelRunner* runner, const HiddenStates& hidden) {
  const int64_t n_rows = hidden.n_windows * hidden.window_tokens;
  std::vector<float> logits(static_cast<size_t>(n_rows * runner->vocab_size()));
  const absl::Status status =
      runner->Logits(hidden.values.data(), n_rows, logits.data());
  EXPECT_TRUE(status.ok()) << status;
  return logits;
}

std::vector<double> LogSoftmax(const float* logits, int64_t n) {
  const double top = *std::max_element(logits, logits + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += std::exp(logits[i] - top);
  }
  std::vector<double> out;
  for (int64_t i = 0; i < n; ++i) {
    out.push_back(logits[i] - top - std::log(sum));
  }
  return out;
}

struct Difference {
  double most = 0;
  double median = 0;
  double spread = 0;  // of the expected log-probabilities
};

Difference Compare(const std::vector<float>& logits, const Expected& e) {
  Difference d;
  double sum = 0, sum_sq = 0;
  std::vector<double> all;
  for (int64_t r = 0; r < e.n_windows * e.n_tokens; ++r) {
    const auto got = LogSoftmax(logits.data() + r * e.n_vocab, e.n_vocab);
    const auto want = LogSoftmax(e.logits.data() + r * e.n_vocab, e.n_vocab);
    for (size_t i = 0; i < got.size(); ++i) {
      // A NaN must count.
      const double diff = std::fabs(got[i] - want[i]);
      d.most = diff <= d.most ? d.most : diff;
      all.push_back(diff);
      sum += want[i];
      sum_sq += want[i] * want[i];
    }
  }
  const double n = static_cast<double>(e.logits.size());
  std::nth_element(all.begin(), all.begin() + all.size() / 2, all.end());
  d.median = all[all.size() / 2];
  d.spread = std::sqrt(sum_sq / n - (sum / n) * (sum / n));
  return d;
}

class FamilyTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = GetParam();
    name_ = BaseName(folder_);
    expected_ = ReadExpected(folder_);
    model_ = Open(folder_);
    ASSERT_NE(model_, nullptr);
  }

  std::string folder_, name_;
  Expected expected_;
  std::unique_ptr<Checkpoint> model_;
};

TEST_P(FamilyTest, ExactPrecisionIsThatOfTransformers) {
  const auto runner = NewRunner(*model_, Exact());
  ASSERT_NE(runner, nullptr);
  const auto hidden = Forward(runner.get(), expected_.ids, expected_.n_tokens);
  const Difference d = Compare(LogitsOf(runner.get(), hidden), expected_);
  RecordProperty("max_difference", absl::StrCat(d.most));
  std::printf("%s: largest difference %.2e, spread %.3g\n", name_.c_str(),
              d.most, d.spread);
  EXPECT_LT(d.most, 1e-3);
}

TEST_P(FamilyTest, ReproducibleLogitsAreThoseOfTransformers) {
  RunnerOptions options;
  options.precision = Precision::kReproducible;
  const auto runner = NewRunner(*model_, options);
  ASSERT_NE(runner, nullptr);
  const auto hidden = Forward(runner.get(), expected_.ids, expected_.n_tokens);
  EXPECT_LT(Compare(LogitsOf(runner.get(), hidden), expected_).most, 1e-3);
}

TEST_P(FamilyTest, FastPrecisionIsNearIt) {
  RunnerOptions options;
  options.n_threads = 2;
  const auto runner = NewRunner(*model_, options);
  ASSERT_NE(runner, nullptr);
  const auto hidden = Forward(runner.get(), expected_.ids, expected_.n_tokens);
  const Difference d = Compare(LogitsOf(runner.get(), hidden), expected_);
  // Weights are bfloat16 already; rounding inputs to 8 bits puts a relative
  // error of 2^-9 / sqrt(3) into each of some four products in a row of each
  // block, which add up like a random walk and end in logits of this spread.
  // Attention and gates amplify in these models of wide weights: times 4. The
  // median, because where a router's choice tips over all is another.
  const double layers = static_cast<double>(runner->n_blocks());
  const double bound =
      4 * std::sqrt(4 * layers + 1) * 0x1p-9 / std::sqrt(3.0) * d.spread;
  std::printf("%s: median difference %.2e, bound %.2e\n", name_.c_str(),
              d.median, bound);
  EXPECT_LT(d.median, bound);
  if (!CpuHasBf16Products()) {
    EXPECT_LT(d.most, 1e-3);
  }
}

TEST_P(FamilyTest, ScoresAreThoseOfTheLogits) {
  const auto runner = NewRunner(*model_, Exact());
  ASSERT_NE(runner, nullptr);
  const auto hidden = Forward(runner.get(), expected_.ids, expected_.n_tokens);
  const auto logits = LogitsOf(runner.get(), hidden);
  const int64_t n_rows = hidden.n_windows * hidden.window_tokens;
  std::vector<int32_t> targets;
  for (int64_t r = 0; r < n_rows; ++r) {
    targets.push_back(static_cast<int32_t>(r * 7 % expected_.n_vocab));
  }
  std::vector<TokenScore> scores(targets.size());
  const absl::Status status = runner->LogProbs(hidden.values.data(), n_rows,
                                               targets.data(), scores.data());
  ASSERT_TRUE(status.ok()) << status;
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* row = logits.data() + r * expected_.n_vocab;
    const auto want = LogSoftmax(row, expected_.n_vocab);
    EXPECT_NEAR(scores[r].log_prob, want[targets[r]], 1e-6) << r;
    EXPECT_EQ(scores[r].top_token,
              std::max_element(row, row + expected_.n_vocab) - row)
        << r;
  }
}

// Threads, grouping of windows and kept weights must not change a bit, in
// any precision.
TEST_P(FamilyTest, NumbersDoNotDependOnThreadsOrGroups) {
  for (const Precision precision :
       {Precision::kExact, Precision::kFast, Precision::kReproducible}) {
    RunnerOptions options;
    options.precision = precision;
    options.n_threads = 1;
    const auto one = NewRunner(*model_, options);
    options.n_threads = 3;
    options.max_cached_bytes = 0;
    const auto three = NewRunner(*model_, options);
    ASSERT_TRUE(one != nullptr && three != nullptr);
    const auto whole = Forward(one.get(), expected_.ids, expected_.n_tokens);
    const auto same = Forward(three.get(), expected_.ids, expected_.n_tokens);
    EXPECT_EQ(whole.values, same.values);
    std::vector<float> apart;
    for (int64_t w = 0; w < expected_.n_windows; ++w) {
      const auto begin = expected_.ids.begin() + w * expected_.n_tokens;
      const auto part = Forward(
          three.get(), {begin, begin + expected_.n_tokens}, expected_.n_tokens);
      apart.insert(apart.end(), part.values.begin(), part.values.end());
    }
    EXPECT_EQ(whole.values, apart);

    const int64_t n_rows = expected_.n_windows * expected_.n_tokens;
    std::vector<TokenScore> scores(expected_.ids.size()), others = scores;
    ASSERT_TRUE(one->LogProbs(whole.values.data(), n_rows, expected_.ids.data(),
                              scores.data())
                    .ok());
    for (int64_t r = 0; r < n_rows; r += 5) {
      ASSERT_TRUE(three
                      ->LogProbs(whole.row(0, r),
                                 std::min<int64_t>(5, n_rows - r),
                                 expected_.ids.data() + r, &others[r])
                      .ok());
    }
    for (size_t r = 0; r < scores.size(); ++r) {
      EXPECT_EQ(scores[r].log_prob, others[r].log_prob) << r;
      EXPECT_EQ(scores[r].top_token, others[r].top_token) << r;
    }
  }
}

// Writes the model as GGUF with every tensor in `type`, norms in f32; without
// the tensor named `left_out`, and with `transposed`'s sizes exchanged.
std::string WriteGguf(const Checkpoint& model, const std::string& name,
                      QuantType type, absl::string_view left_out = "",
                      absl::string_view transposed = "") {
  const std::string path = testing::TempDir() + "/" + name + ".gguf";
  std::vector<TensorMeta> metas;
  std::vector<const CheckpointTensor*> tensors;
  for (const CheckpointTensor& tensor : model.tensors()) {
    if (tensor.meta.name == left_out) {
      continue;
    }
    tensors.push_back(&tensor);
    metas.push_back(tensor.meta);
    if (tensor.meta.name == transposed) {
      std::reverse(metas.back().shape.begin(), metas.back().shape.end());
    }
    metas.back().type = tensor.meta.shape.size() > 1 ? type : QuantType::kF32;
  }
  const auto writer = NewGgufWriter(path);
  absl::Status status = writer->Begin(metas, model.metadata());
  EXPECT_TRUE(status.ok()) << status;
  for (size_t i = 0; i < metas.size(); ++i) {
    const CheckpointTensor& tensor = *tensors[i];
    std::vector<float> values(static_cast<size_t>(metas[i].n_elements()));
    status = ReadRows(model, tensor, 0, tensor.meta.n_rows(), values.data());
    EXPECT_TRUE(status.ok()) << status;
    std::vector<uint8_t> bytes(static_cast<size_t>(metas[i].n_bytes()));
    FindCodec(metas[i].type)
        ->EncodeRows(values.data(), metas[i].n_rows(), metas[i].n_cols(),
                     nullptr, bytes.data());
    status = writer->Append(bytes);
    EXPECT_TRUE(status.ok()) << status;
  }
  status = writer->Finish();
  EXPECT_TRUE(status.ok()) << status;
  return path;
}

// The model as GGUF can say it: with no window where the family "llama" has
// one, and with the attention scale that llama.cpp derives from the head size.
// Returns the folder of such a model, maybe `folder` itself.
std::string FolderThatGgufCanSay(const std::string& folder,
                                 const std::string& name,
                                 const ModelConfig& model) {
  std::string config = ReadText(folder + "/config.json");
  const std::string before = config;
  if (absl::StrContains(config, "MistralForCausalLM")) {
    config = absl::StrReplaceAll(
        config, {{"\"sliding_window\": 16", "\"sliding_window\": null"}});
  }
  config = absl::StrReplaceAll(
      config, {{"\"query_pre_attn_scalar\": 48",
                absl::StrCat("\"query_pre_attn_scalar\": ", model.head_dim)}});
  if (config == before) {
    return folder;
  }
  const std::string copy = absl::StrCat(testing::TempDir(), "/", name);
  mkdir(copy.c_str(), 0755);
  for (const char* file :
       {"model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
    WriteText(copy + "/" + file, ReadText(folder + "/" + file));
  }
  WriteText(copy + "/config.json", config);
  return copy;
}

TEST_P(FamilyTest, GgufGivesTheSameLogits) {
  const std::string folder =
      FolderThatGgufCanSay(folder_, name_, model_->config());
  const auto model = Open(folder);
  ASSERT_NE(model, nullptr);
  if (folder != folder_) {
    const auto runner = NewRunner(*model, Exact());
    ASSERT_NE(runner, nullptr);
    expected_.logits = LogitsOf(
        runner.get(), Forward(runner.get(), expected_.ids, expected_.n_tokens));
  }
  for (const QuantType type : {QuantType::kF32, QuantType::kBF16}) {
    const auto gguf =
        Open(WriteGguf(*model, absl::StrCat(name_, TypeName(type)), type));
    ASSERT_NE(gguf, nullptr);
    const ModelConfig& is = gguf->config();
    const ModelConfig& was = model->config();
    if (is.layer_is_sliding != was.layer_is_sliding ||
        is.norm_topk_prob != was.norm_topk_prob) {
      GTEST_SKIP() << "GGUF has no key for an option of this model";
    }
    const auto runner = NewRunner(*gguf, Exact());
    ASSERT_NE(runner, nullptr);
    const auto hidden =
        Forward(runner.get(), expected_.ids, expected_.n_tokens);
    const Difference d = Compare(LogitsOf(runner.get(), hidden), expected_);
    EXPECT_LT(d.most, 1e-3) << TypeName(type);
  }
}

class RecordingObserver : public Observer {
 public:
  absl::Status OnInput(const LayerInput& input) override {
    const std::string name(input.name);
    n_cols_[name] = input.n_cols;
    n_rows_[name] += input.n_rows;
    most_expert_ = std::max(most_expert_, input.expert);
    for (int64_t i = 0; i < input.n_rows * input.n_cols; ++i) {
      finite_ = finite_ && std::isfinite(input.rows[i]);
    }
    int64_t& last = last_token_.emplace(name, -1).first->second;
    for (int64_t r = 0; r < input.n_rows; ++r) {
      if (input.expert != last_expert_[name]) {
        last_expert_[name] = input.expert;
        last = -1;
      }
      // Experts see some tokens, dense layers all, one after another.
      in_order_ = in_order_ && (input.expert >= 0 ? input.token(r) > last
                                                  : input.token(r) == last + 1);
      last = input.token(r);
      n_seen_[name][last] += 1;
    }
    return absl::OkStatus();
  }

  std::map<std::string, int64_t> n_cols_, n_rows_, last_token_;
  std::map<std::string, int> last_expert_;
  std::map<std::string, std::map<int64_t, int64_t>> n_seen_;
  bool in_order_ = true;
  int most_expert_ = -1;
  bool finite_ = true;
};

TEST_P(FamilyTest, ObserverSeesTheInputsOfEveryMatrix) {
  const auto runner = NewRunner(*model_, Exact());
  ASSERT_NE(runner, nullptr);
  RecordingObserver observer;
  Forward(runner.get(), expected_.ids, expected_.n_tokens, &observer);
  const ModelConfig& c = model_->config();
  const int64_t n_all = expected_.n_windows * expected_.n_tokens;
  for (const CheckpointTensor& tensor : model_->tensors()) {
    const std::string& name = tensor.meta.name;
    const bool is_matrix = tensor.layer >= 0 && tensor.meta.shape.size() > 1;
    ASSERT_EQ(observer.n_cols_.count(name), is_matrix ? 1 : 0) << name;
    if (is_matrix) {
      EXPECT_EQ(observer.n_cols_[name], tensor.meta.n_cols()) << name;
      const bool stacked = tensor.meta.shape.size() == 3;
      EXPECT_EQ(observer.n_rows_[name],
                stacked ? n_all * c.n_experts_used : n_all)
          << name;
      // Every token goes to as many experts as the model uses.
      ASSERT_EQ(observer.n_seen_[name].size(), static_cast<size_t>(n_all));
      for (const auto& [token, n] : observer.n_seen_[name]) {
        ASSERT_EQ(n, stacked ? c.n_experts_used : 1) << name << " " << token;
      }
    }
  }
  EXPECT_TRUE(observer.in_order_);
  EXPECT_EQ(observer.most_expert_, c.n_experts - 1);
  EXPECT_TRUE(observer.finite_);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, FamilyTest, testing::ValuesIn(Fixtures()),
                         [](const auto& info) { return BaseName(info.param); });

TEST(ModelRunnerTest, ThereAreFixturesOfEveryFamily) {
  EXPECT_GE(Fixtures().size(), 1u);
  if (std::getenv("NARROW_ARCH_FIXTURES") == nullptr) {
    EXPECT_EQ(Fixtures().size(), 14u);
  }
}

class OneModelTest : public testing::Test {
 protected:
  void SetUp() override {
    model_ = Open("testdata/arch/llama3");
    ASSERT_NE(model_, nullptr);
    runner_ = NewRunner(*model_, Exact());
    ASSERT_NE(runner_, nullptr);
  }
  std::unique_ptr<Checkpoint> model_;
  std::unique_ptr<ModelRunner> runner_;
};

TEST_F(OneModelTest, RejectsIdsOutsideTheVocabulary) {
  HiddenStates hidden;
  const std::vector<int32_t> ids = {1, 2, 3, 320};
  absl::Status status = runner_->Embed(ids, 2, &hidden);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(
      absl::StrContains(status.message(), "token 1 of window 1 is number 320"))
      << status;
  EXPECT_FALSE(runner_->Embed({1, 2, 3}, 2, &hidden).ok());
  EXPECT_FALSE(runner_->Embed({-1}, 1, &hidden).ok());
  const std::vector<float> row(64);
  TokenScore score;
  const int32_t target = 320;
  status = runner_->LogProbs(row.data(), 1, &target, &score);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(OneModelTest, NamesMissingAndMisshapenTensors) {
  const auto create = [&](absl::string_view left_out,
                          absl::string_view transposed) {
    const auto gguf = Open(
        WriteGguf(*model_, "damaged", QuantType::kF32, left_out, transposed));
    return gguf == nullptr ? absl::UnknownError("did not open")
                           : ModelRunner::Create(gguf.get(), Exact()).status();
  };
  EXPECT_TRUE(create("", "").ok());
  absl::Status status = create("blk.1.ffn_down.weight", "");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(
      absl::StrContains(status.message(), "'blk.1.ffn_down.weight' is missing"))
      << status;
  status = create("", "blk.2.ffn_up.weight");
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(
      status.message(),
      "'blk.2.ffn_up.weight' is [64, 128], the configuration needs [128, 64]"))
      << status;
}

TEST_F(OneModelTest, NamesThePlaceOfValuesThatAreNotFinite) {
  HiddenStates hidden;
  ASSERT_TRUE(runner_->Embed({1, 2, 3, 4, 5, 6}, 3, &hidden).ok());
  hidden.values[64 * 4 + 7] = 3e38f;
  hidden.values[64 * 4 + 8] = NAN;
  const absl::Status status = runner_->RunBlock(1, nullptr, &hidden);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), "blk.1")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "window 1, token 1"))
      << status;
}

TEST_F(OneModelTest, ManyWindowsAreThoseAlone) {
  // More rows than a step and a slice of the head take.
  std::vector<int32_t> ids;
  for (int i = 0; i < 40 * 130; ++i) {
    ids.push_back((i * 31 + i / 130) % 320);
  }
  const auto all = Forward(runner_.get(), ids, 130);
  std::vector<TokenScore> scores(ids.size());
  ASSERT_TRUE(runner_
                  ->LogProbs(all.values.data(),
                             static_cast<int64_t>(ids.size()), ids.data(),
                             scores.data())
                  .ok());
  for (const int window : {0, 8, 39}) {
    const auto begin = ids.begin() + window * 130;
    const auto alone = Forward(runner_.get(), {begin, begin + 130}, 130);
    EXPECT_EQ(0, std::memcmp(alone.values.data(), all.row(window, 0),
                             alone.values.size() * sizeof(float)));
    TokenScore score;
    ASSERT_TRUE(
        runner_->LogProbs(alone.row(0, 129), 1, &ids[window * 130], &score)
            .ok());
    TokenScore& other = scores[static_cast<size_t>(window * 130 + 129)];
    ASSERT_TRUE(
        runner_->LogProbs(all.row(window, 129), 1, &ids[window * 130], &other)
            .ok());
    EXPECT_EQ(score.log_prob, other.log_prob);
  }
}

TEST(ChooseExpertsTest, TiesGoToTheLowerIndexAndWeightsRescale) {
  const std::vector<float> logits = {0, 2, 1, 2, 1};
  const auto plain = ChooseExperts(logits, 3, false);
  ASSERT_EQ(plain.size(), 3u);
  EXPECT_EQ(plain[0].expert, 1);
  EXPECT_EQ(plain[1].expert, 2);
  EXPECT_EQ(plain[2].expert, 3);
  const double total = 1 + 2 * std::exp(1.0) + 2 * std::exp(2.0);
  EXPECT_NEAR(plain[0].weight, std::exp(2.0) / total, 1e-7);
  EXPECT_NEAR(plain[1].weight, std::exp(1.0) / total, 1e-7);
  const auto rescaled = ChooseExperts(logits, 3, true);
  EXPECT_NEAR(rescaled[0].weight + rescaled[1].weight + rescaled[2].weight, 1,
              1e-6);
  EXPECT_NEAR(rescaled[0].weight / rescaled[1].weight, std::exp(1.0), 1e-5);
}

}  // namespace
}  // namespace narrow
