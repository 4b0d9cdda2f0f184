// Against transformers on a real model and text, and what must not change
// a result. Goldens: testdata/perplexity/tiny-llama.json.

#include "validate/perplexity/perplexity.h"

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "formats/base/file.h"
#include "formats/json/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/device.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

constexpr char kModel[] = "testdata/tiny-llama";
constexpr char kText[] = "testdata/text/wikitext2-sample.txt";

PerplexityOptions Exact(int64_t max_windows) {
  PerplexityOptions options;
  options.models = {kModel};
  options.texts = {kText};
  options.windows.max_windows = max_windows;
  options.checkpoint.intermediate = "f32";
  options.runner.precision = Precision::kExact;
  return options;
}

PerplexityReport Measure(const PerplexityOptions& options) {
  auto report = MeasurePerplexity(options, nullptr);
  EXPECT_TRUE(report.ok()) << report.status();
  if (report.ok()) {
    return *std::move(report);
  }
  PerplexityReport empty;  // for tests that go on
  empty.models.resize(options.models.size());
  return empty;
}

// What is the same for two runs that should agree to the last bit.
std::vector<double> Numbers(const PerplexityReport& report) {
  std::vector<double> numbers;
  for (const ModelReport& model : report.models) {
    const PerplexitySummary& s = model.summary;
    numbers.insert(numbers.end(),
                   {s.perplexity.value, s.perplexity.error,
                    s.perplexity.window_error, s.top_share.value});
    for (const WindowSummary& window : s.windows) {
      numbers.push_back(window.mean_nll);
    }
  }
  return numbers;
}

void ExpectGolden(const JsonValue& golden) {
  PerplexityOptions options = Exact(*golden.Get("chunks")->GetInteger());
  options.windows.context = *golden.Get("context")->GetInteger();
  options.windows.stride = *golden.Get("stride")->GetInteger();
  if (options.windows.stride > 0) {
    options.windows.protocol = Protocol::kHuggingFace;
  }
  const PerplexityReport report = Measure(options);
  ASSERT_EQ(report.models.size(), 1);
  EXPECT_EQ(report.n_text_tokens, *golden.Get("text_tokens")->GetInteger());
  const PerplexitySummary& summary = report.models[0].summary;
  const auto windows = *golden.Get("windows")->GetElements();
  ASSERT_EQ(summary.windows.size(), windows.size());
  double nll_sum = 0;
  int64_t n_scored = 0;
  for (size_t i = 0; i < windows.size(); ++i) {
    const double sum = *windows[i].Get("nll_sum")->GetNumber();
    const int64_t n = *windows[i].Get("tokens_scored")->GetInteger();
    EXPECT_EQ(summary.windows[i].n_scored, n);
    // Two float32 passes that sum in different orders: log-probabilities
    // differ by 1e-5, means by 1e-6.
    EXPECT_NEAR(summary.windows[i].mean_nll, sum / n, 1e-5) << "window " << i;
    nll_sum += sum;
    n_scored += n;
  }
  EXPECT_EQ(summary.n_scored, n_scored);
  const double perplexity = std::exp(nll_sum / n_scored);
  EXPECT_NEAR(summary.perplexity.value, perplexity, 5e-4 * perplexity);
}

TEST(Perplexity, IsThatOfTransformers) {
  const auto goldens =
      JsonDocument::ReadFile("testdata/perplexity/tiny-llama.json");
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  const auto cases = *(*goldens)->root().Get("cases")->GetElements();
  ASSERT_GE(cases.size(), 4);
  for (const JsonValue& golden : cases) {
    SCOPED_TRACE(*golden.Get("stride")->GetInteger());
    ExpectGolden(golden);
  }
}

// transformers 5.23.0: 102.84779; llama-perplexity 0.7.0 prints
// "Final estimate: PPL = 102.8407 +/- 4.19860" for the BF16 file.
TEST(Perplexity, IsThatOfLlamaPerplexity) {
  const BlockEstimate perplexity =
      Measure(Exact(20)).models[0].summary.perplexity;
  EXPECT_NEAR(perplexity.value, 102.84779, 0.001);
  EXPECT_NEAR(perplexity.error, 4.19886, 0.0002);
}

// BF16 products keep 8 bits of each factor: errors of 2^-9 each, averaged
// over sums, move a log-probability by about 0.01 and their mean by less.
TEST(Perplexity, FastPrecisionIsNear) {
  PerplexityOptions options = Exact(10);
  const double exact = Measure(options).models[0].summary.mean_nll.value;
  options.runner.precision = Precision::kFast;
  EXPECT_NEAR(Measure(options).models[0].summary.mean_nll.value, exact, 5e-3);
}

TEST(Perplexity, IsTheSameForAnyThreadsAndGroups) {
  for (Precision precision : {Precision::kExact, Precision::kFast}) {
    PerplexityOptions options = Exact(5);
    options.runner.precision = precision;
    options.runner.n_threads = 1;
    const std::vector<double> numbers = Numbers(Measure(options));
    options.runner.n_threads = 3;
    EXPECT_EQ(Numbers(Measure(options)), numbers);
    options.score.hidden_bytes = 2 * 512 * 256 * 4;  // two windows
    EXPECT_EQ(Numbers(Measure(options)), numbers);
  }
}

TEST(Perplexity, ModelAgainstItselfLosesNothing) {
  PerplexityOptions options = Exact(3);
  options.models = {kModel, kModel};
  const PerplexityReport report = Measure(options);
  ASSERT_EQ(report.models.size(), 2);
  EXPECT_FALSE(report.models[0].paired.has_value());
  ASSERT_TRUE(report.models[1].paired.has_value());
  const PairedSummary& paired = *report.models[1].paired;
  EXPECT_EQ(paired.mean_nll_difference.value, 0);
  EXPECT_EQ(paired.mean_nll_difference.error, 0);
  EXPECT_EQ(paired.perplexity_ratio.value, 1);
  EXPECT_EQ(paired.perplexity_ratio.window_error, 0);
  EXPECT_EQ(paired.same_top_share.value, 1);
  EXPECT_EQ(report.models[0].bits_per_weight(), 16);  // BF16
}

TEST(Perplexity, ProgressNamesTheModel) {
  PerplexityOptions options = Exact(2);
  options.models = {kModel, kModel};
  std::vector<size_t> models;
  ASSERT_TRUE(MeasurePerplexity(options, [&](size_t model,
                                             const ScoreProgress& progress) {
                EXPECT_EQ(progress.tokens_total, 1024);
                models.push_back(model);
              }).ok());
  EXPECT_EQ(models.front(), 0);
  EXPECT_EQ(models.back(), 1);
}

TEST(Perplexity, RefusesAShortText) {
  const std::string path = JoinPath(::testing::TempDir(), "short.txt");
  ASSERT_TRUE(WriteTextFile(path, "A few words only.").ok());
  PerplexityOptions options = Exact(-1);
  options.texts = {path};
  const auto report = MeasurePerplexity(options, nullptr);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(report.status().message()),
      HasSubstr("and 1024 are needed (two windows of 512); reading " + path));
}

TEST(Perplexity, RefusesSettingsBeforeItReads) {
  PerplexityOptions options = Exact(-1);
  options.windows.protocol = Protocol::kHuggingFace;
  options.windows.stride = 513;
  options.texts = {"no/such/text.txt"};
  const auto report = MeasurePerplexity(options, nullptr);
  EXPECT_EQ(std::string(report.status().message()),
            "stride of 513 tokens; 1 to 512 (the context) are possible");
}

TEST(Perplexity, WarnsOfWindowsBeyondTheModelsContext) {
  PerplexityOptions options = Exact(1);
  options.windows.context = 600;
  const PerplexityReport report = Measure(options);
  ASSERT_EQ(report.warnings.size(), 1);
  EXPECT_THAT(report.warnings[0], HasSubstr("windows have 600 tokens, the "
                                            "model was made for 512"));
}

// A copy of the model with one token renamed.
std::string ModelWithOtherVocabulary() {
  namespace fs = std::filesystem;
  const std::string folder = JoinPath(::testing::TempDir(), "renamed");
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const char* name :
       {"config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json"}) {
    const auto text = ReadTextFile(JoinPath(kModel, name), 1 << 24);
    EXPECT_TRUE(text.ok()) << text.status();
    EXPECT_TRUE(WriteTextFile(JoinPath(folder, name),
                              absl::StrReplaceAll(*text, {{"<|end_of_text|>",
                                                           "<|end_of_book|>"}}))
                    .ok());
  }
  return folder;
}

TEST(Perplexity, RefusesAnotherVocabularyBeforeAnythingRuns) {
  PerplexityOptions options = Exact(2);
  options.models = {kModel, kModel, ModelWithOtherVocabulary()};
  bool ran = false;
  const auto report = MeasurePerplexity(
      options, [&](size_t, const ScoreProgress&) { ran = true; });
  EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(report.status().message()),
              HasSubstr("token 1 is '<|end_of_text|>' in testdata/tiny-llama"));
  EXPECT_FALSE(ran);
}

TEST(Perplexity, RefusesAMissingCandidateBeforeAnythingRuns) {
  PerplexityOptions options = Exact(2);
  options.models = {kModel, "no/such/model.gguf"};
  bool ran = false;
  const auto report = MeasurePerplexity(
      options, [&](size_t, const ScoreProgress&) { ran = true; });
  EXPECT_THAT(std::string(report.status().message()),
              HasSubstr("no/such/model.gguf"));
  EXPECT_FALSE(ran);
}

// The code of a card's threads, which the processor runs slowly.
TEST(Perplexity, ADeviceMeasuresTheSame) {
  PerplexityOptions options = Exact(4);
  options.windows.context = 64;
  options.models = {kModel, kModel};
  options.divergence = true;
  options.runner.precision = Precision::kReproducible;
  const PerplexityReport wanted = Measure(options);
  options.runner.device = Device::Cpu();
  const PerplexityReport report = Measure(options);
  EXPECT_EQ(Numbers(report), Numbers(wanted));
  EXPECT_LT(report.models[1].paired->divergence->mean.value, 1e-12);
  options.runner.precision = Precision::kFast;
  const PerplexityReport fast = Measure(options);
  const double ratio = fast.models[0].summary.perplexity.value /
                       wanted.models[0].summary.perplexity.value;
  std::printf("in bfloat16 %.6f times as much\n", ratio);
  // Losses of single tokens differ by some 2^-9 of a logit's size, up and
  // down: of 124 tokens' mean, a tenth of that. On a whole text 0.05 %.
  EXPECT_NEAR(ratio, 1, 0.002);
  // Weights in turns, and fewer windows at once.
  std::vector<std::string> notes;
  options.runner.precision = Precision::kReproducible;
  options.models = {kModel};
  options.divergence = false;
  options.runner.device = Device::Cpu(8000000);
  options.runner.on_device_note = [&](absl::string_view note) {
    notes.emplace_back(note);
  };
  const PerplexityReport little = Measure(options);
  EXPECT_EQ(little.models[0].summary.perplexity.value,
            wanted.models[0].summary.perplexity.value);
  EXPECT_FALSE(notes.empty());
}

}  // namespace
}  // namespace narrow
