#include "validate/perplexity/report.h"

#include <limits>
#include <string>

#include "formats/json/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ModelReport MakeModel(const std::string& path, double shift) {
  TextScores scores;
  for (int i = 0; i < 6; ++i) {
    scores.nll.push_back(2 + 0.25 * i + shift * (i % 2));
    scores.top_tokens.push_back(i);
    scores.is_top.push_back(i < 3);
  }
  scores.window_sizes = {3, 3};
  ModelReport model;
  model.path = path;
  model.tensor_bytes = 3 << 20;
  model.n_weights = 4 << 20;
  model.summary = Summarize(scores);
  model.tokens_per_second = 1234.4;
  return model;
}

PerplexityReport MakeReport(int n_models) {
  PerplexityReport report;
  report.text_paths = {"a \"quoted\".txt"};
  report.n_text_tokens = 1030;
  for (int i = 0; i < n_models; ++i) {
    report.models.push_back(MakeModel("model-" + std::to_string(i), 0.125 * i));
    if (i > 0) {
      PairedSummary paired;
      paired.perplexity_difference = {-0.25, 0.125, 0.5};
      paired.perplexity_ratio = {0.975, 0.0125, 0.05};
      paired.same_top_share = {0.875, 0.0625};
      report.models.back().paired = paired;
    }
  }
  return report;
}

TEST(Report, JsonReadsBack) {
  const PerplexityReport report = MakeReport(2);
  const auto json = JsonDocument::Parse(ReportJson(report), "report.json");
  ASSERT_TRUE(json.ok()) << json.status();
  const JsonValue root = (*json)->root();
  const JsonValue settings = *root.Get("settings");
  EXPECT_EQ(*settings.Get("protocol")->GetString(), "llama.cpp");
  EXPECT_EQ(*settings.Get("context")->GetInteger(), 512);
  EXPECT_FALSE(settings.Find("stride").has_value());
  EXPECT_EQ(*root.Get("text")->Get("tokens")->GetInteger(), 1030);
  const auto models = *root.Get("models")->GetElements();
  ASSERT_EQ(models.size(), 2);
  const BlockEstimate& perplexity = report.models[0].summary.perplexity;
  EXPECT_EQ(*models[0].Get("perplexity")->GetNumber(), perplexity.value);
  EXPECT_EQ(*models[0].Get("perplexity_error")->GetNumber(), perplexity.error);
  EXPECT_EQ(*models[0].Get("perplexity_window_error")->GetNumber(),
            perplexity.window_error);
  EXPECT_EQ(*models[0].Get("bits_per_weight")->GetNumber(), 6);
  EXPECT_EQ(models[0].Get("windows")->GetElements()->size(), 2);
  EXPECT_FALSE(models[0].Find("against_first").has_value());
  EXPECT_EQ(*models[1]
                 .Get("against_first")
                 ->Get("perplexity_difference_window_error")
                 ->GetNumber(),
            0.5);
}

TEST(Report, UnknownErrorsAreNullInJsonAndAbsentInTheTable) {
  PerplexityReport report = MakeReport(1);
  report.models[0].summary.perplexity = {
      4, std::numeric_limits<double>::quiet_NaN(),
      std::numeric_limits<double>::quiet_NaN()};
  const auto json = JsonDocument::Parse(ReportJson(report), "report.json");
  ASSERT_TRUE(json.ok()) << json.status();
  const JsonValue model = (*(*json)->root().Get("models")->GetElements())[0];
  EXPECT_TRUE(model.Get("perplexity_error")->is_null());
  EXPECT_THAT(RenderReport(report), Not(HasSubstr("4.0000 ±")));
}

TEST(Report, OneModelEndsAsLlamaPerplexityDoes) {
  PerplexityReport report = MakeReport(1);
  report.models[0].summary.perplexity = {102.84066, 4.198604, 5};
  const std::string text = RenderReport(report);
  EXPECT_THAT(text, HasSubstr("102.8407 ± 4.1986"));
  EXPECT_THAT(text, HasSubstr("Final estimate: PPL = 102.8407 +/- 4.19860\n"));
  EXPECT_THAT(text, Not(HasSubstr("difference")));
}

TEST(Report, TableOfSeveralModels) {
  PerplexityReport report = MakeReport(3);
  report.windows.protocol = Protocol::kHuggingFace;
  report.windows.stride = 256;
  const std::string text = RenderReport(report);
  EXPECT_THAT(text, HasSubstr("2 windows of 512, stride 256: 6 tokens"));
  EXPECT_THAT(text, HasSubstr("reference"));
  EXPECT_THAT(text, HasSubstr("-0.2500 ± 0.1250  0.97500 ± 0.01250  "
                              "87.50 ± 6.25      1234\n"));
  EXPECT_THAT(text, Not(HasSubstr("Final estimate")));
}

}  // namespace
}  // namespace narrow
