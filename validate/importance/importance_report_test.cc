#include "validate/importance/importance_report.h"

#include <gtest/gtest.h>

#include <string>

#include "calibration/importance/importance_sums.h"
#include "formats/json/json.h"

namespace narrow {
namespace {

ImportanceCollection TinyLlama() {
  auto sums = ReadImportanceSums("testdata/imatrix/tiny-llama-imatrix.gguf");
  EXPECT_TRUE(sums.ok()) << sums.status();
  return *sums;
}

int Count(const std::string& text, const std::string& what) {
  int n = 0;
  for (size_t at = text.find(what); at != std::string::npos;
       at = text.find(what, at + 1)) {
    ++n;
  }
  return n;
}

TEST(ImportanceReportTest, TablesHaveEveryTensorAndLayer) {
  const std::string text = ImportanceTables(StatisticsOf(TinyLlama()));
  EXPECT_EQ(Count(text, ".weight"), 28);
  EXPECT_NE(text.find("blk.1.attn_output.weight  -0.0062"), std::string::npos)
      << text;
  EXPECT_EQ(text.find("nan"), std::string::npos);
}

TEST(ImportanceReportTest, JsonHasTheFigures) {
  const ImportanceCollection sums = TinyLlama();
  const std::string text = ImportanceStatisticsJson(sums, StatisticsOf(sums));
  const auto json = JsonDocument::Parse(text, "report");
  ASSERT_TRUE(json.ok()) << json.status();
  const auto tensors = (*json)->root().Get("tensors")->GetElements();
  ASSERT_TRUE(tensors.ok());
  EXPECT_EQ(tensors->size(), 28u);
  EXPECT_EQ((*json)->root().Get("layers")->GetElements()->size(), 4u);
  EXPECT_TRUE((*tensors)[0].Get("gain")->is_null());
}

TEST(ImportanceReportTest, PictureHasACellForEveryTensorAndABarForEveryLayer) {
  const ImportanceCollection sums = TinyLlama();
  const std::string svg = ImportancePicture(sums, StatisticsOf(sums));
  EXPECT_EQ(svg.find("<svg xmlns"), 0u);
  EXPECT_EQ(Count(svg, "</svg>"), 1);
  EXPECT_EQ(Count(svg, ".weight: "), 28);
  EXPECT_EQ(Count(svg, "<title>layer "), 3);  // the first has none before it
  EXPECT_EQ(svg.find("no token"), std::string::npos);
}

TEST(ImportanceReportTest, PictureShowsExpertsWithoutData) {
  ImportanceCollection sums;
  ImportanceSums experts;
  experts.n_matrices = 4;
  experts.n_cols = 1;
  experts.sum_sq = {1, 0, 0, 0};
  experts.counts = {3, 0, 0, 0};
  sums.entries["blk.0.ffn_up_exps.weight"] = experts;
  const std::string svg = ImportancePicture(sums, StatisticsOf(sums));
  EXPECT_NE(svg.find("no token"), std::string::npos);
  EXPECT_NE(svg.find("layer 0: 0.7500"), std::string::npos);
}

TEST(ImportanceReportTest, NamesCannotBreakThePicture) {
  ImportanceCollection sums;
  ImportanceSums zero;
  zero.n_matrices = 1;
  zero.n_cols = 1;
  zero.sum_sq = {0};
  zero.counts = {1};
  sums.entries["</text><script>&\"\x01\xff"] = zero;
  sums.path = "a<b>.gguf";
  const std::string svg = ImportancePicture(sums, StatisticsOf(sums));
  EXPECT_EQ(svg.find("<script"), std::string::npos);
  EXPECT_EQ(svg.find('\x01'), std::string::npos);
  EXPECT_EQ(svg.find("a<b"), std::string::npos);
  // Without any tensor there is still a picture.
  const ImportanceCollection none;
  EXPECT_EQ(Count(ImportancePicture(none, StatisticsOf(none)), "</svg>"), 1);
}

}  // namespace
}  // namespace narrow
