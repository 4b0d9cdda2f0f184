// Runs under the statistics of a calibration text.

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/quantize_run.h"
#include "converter/quantize/recipe/method.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "converter/quantize/test_run.h"
#include "formats/base/file.h"
#include "formats/packing/packing.h"
#include "kernels/device.h"
#include "validate/perplexity/perplexity.h"

namespace narrow {
namespace {

// Mean KL divergence of a written model from the original.
double Divergence(const std::string& model, const std::string& out) {
  PerplexityOptions options;
  options.models = {model, out};
  options.texts = {"testdata/text/wikitext2-sample.txt"};
  options.windows.context = 48;
  options.windows.max_windows = 4;
  options.checkpoint.intermediate = "exact";
  options.checkpoint.decode_quantized = true;
  options.runner.precision = Precision::kExact;
  options.divergence = true;
  const auto report =
      MeasurePerplexity(options, [](size_t, const ScoreProgress&) {});
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? report->models[1].paired->divergence->mean.value : 1e9;
}

// Every scheme is solved under statistics by one solver, and reads back as
// what was solved (RunQuantize compares).
TEST(CalibratedRun, CompensatedForEveryMethodInEveryFormatThatTakesIt) {
  const std::string model = "testdata/arch/llama3";
  int n_written = 0;
  for (const Method& method : AllMethods()) {
    for (const Packing* packing : AllPackings()) {
      const std::string out = Folder("out");
      const auto result = Quantize(
          model,
          absl::StrCat(
              "rule { solver: \"compensated\" method: \"", method.name, "\"",
              method.kind == SchemeKind::kGroups ? " group_size: 32 " : " ",
              "} format: \"", packing->name,
              "\" calibration { file: "
              "\"testdata/text/wikitext2-sample.txt\" samples: 4 "
              "sample_tokens: 48 }"),
          out);
      SCOPED_TRACE(absl::StrCat(method.name, " ", packing->name));
      if (!result.ok()) {
        EXPECT_TRUE(absl::StrContains(result.status().message(), "format") ||
                    absl::IsUnimplemented(result.status()) ||
                    absl::IsInvalidArgument(result.status()))
            << result.status();
        EXPECT_FALSE(std::filesystem::exists(out));
        continue;
      }
      ++n_written;
      double error = 0;
      double rounding = 0;
      for (const LayerReport& report : result->reports) {
        EXPECT_LE(report.relative_error, report.error_rounding) << report.name;
        error += report.relative_error;
        rounding += report.error_rounding;
      }
      EXPECT_LT(error, 0.9 * rounding);
    }
  }
  EXPECT_GE(n_written, 15);
}

// What a preset makes of methods.
TEST(CalibratedRun, ThoroughGivesEveryMethodFeedbackOfErrors) {
  const auto input = OpenModelInput("testdata/arch/llama3", {});
  ASSERT_TRUE(input.ok()) << input.status();
  for (const auto& [rule, solver] :
       std::vector<std::pair<std::string, std::string>>{
           {"rule { method: \"nf4\" }", "compensated"},
           {"rule { method: \"gptq\" group_size: 32 }", "gptq"},
           {"rule { method: \"nf4\" solver: \"codebook\" }", "codebook"}}) {
    const auto recipe =
        ParseRecipe(absl::StrCat(rule,
                                 " preset: \"thorough\" calibration { file: "
                                 "\"testdata/text/wikitext2-sample.txt\" }"),
                    "test");
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    const auto plan = PlanQuantize(**input, *recipe, {});
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->layers[0].solver->name, solver) << rule;
  }
}

class KnownFamilies : public testing::TestWithParam<const char*> {};

// With calibration, on the fixture of a family: every layer is solved under
// statistics, with an error no worse than rounding's.
TEST_P(KnownFamilies, Calibrated) {
  const std::string model = absl::StrCat("testdata/arch/", GetParam());
  for (const char* rule :
       {"rule { method: \"gptq\" group_size: 32 } format: \"gptq\"",
        "rule { method: \"rtn\" group_size: 32 } format: \"gptq\"",
        "rule { method: \"awq\" bits: 8 group_size: 32 } format: "
        "\"compressed-tensors\"",
        "rule { method: \"smoothquant\" }",
        "rule { method: \"nf4\" solver: \"compensated\" }",
        "rule { method: \"nvfp4\" activations: \"static\" }",
        "rule { method: \"fp8\" activations: \"static\" }"}) {
    SCOPED_TRACE(rule);
    const std::string out = Folder("out");
    const auto result = Quantize(
        model,
        absl::StrCat(rule,
                     " "
                     "calibration { file: "
                     "\"testdata/text/wikitext2-sample.txt\" samples: 8 "
                     "sample_tokens: 48 }"),
        out);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_GT(result->reports.size(), 5u);
    for (const LayerReport& report : result->reports) {
      EXPECT_FALSE(report.name.empty());
      EXPECT_GE(report.n_tokens, 0) << report.name;
      EXPECT_LE(report.relative_error, report.error_rounding * 1.0001)
          << report.name;
      EXPECT_LT(report.relative_error, 0.1) << report.name;
    }
    EXPECT_LT(Divergence(model, out),
              absl::StrContains(rule, "bits: 8") ||
                      absl::StrContains(rule, "smoothquant")
                  ? 0.02
                  : 1.0);
  }
}

// Statistics are gathered on a device, the experts of a layer are solved in one
// pass there, and layers of one shape; the file is the same.
TEST(CalibratedRun, DevicesDoNotShow) {
  for (const char* family : {"qwen3_moe", "llama3"}) {
    const std::string model = absl::StrCat("testdata/arch/", family);
    const std::string recipe =
        "rule { method: \"gptq\" group_size: 32 } format: \"gptq\" "
        "calibration { file: \"testdata/text/wikitext2-sample.txt\" "
        "samples: 4 sample_tokens: 32 }";
    const std::string on_processor = Folder("on_processor");
    const std::string on_device = Folder("on_device");
    ASSERT_TRUE(Quantize(model, recipe, on_processor).ok());
    const auto result =
        Quantize(model, recipe, on_device, 2, int64_t{1} << 40, Device::Cpu());
    ASSERT_TRUE(result.ok()) << result.status();
    const auto a = MappedFile::Open(on_processor + "/model.safetensors");
    const auto b = MappedFile::Open(on_device + "/model.safetensors");
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ((*a)->bytes(), (*b)->bytes()) << family;
  }
}

INSTANTIATE_TEST_SUITE_P(All, KnownFamilies,
                         testing::Values("gemma2", "gemma3_text", "llama2",
                                         "llama3", "mistral", "mixtral", "phi3",
                                         "qwen2", "qwen3", "qwen3_moe"));

}  // namespace
}  // namespace narrow
