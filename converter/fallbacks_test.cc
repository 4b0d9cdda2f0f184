#include "converter/fallbacks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "calibration/importance/importance.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"

namespace narrow {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kImatrix[] = "testdata/imatrix/tiny-llama-imatrix.gguf";

std::unique_ptr<Checkpoint> Open(const std::string& path) {
  auto model = Checkpoint::Open(path, {});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

Recipe RecipeFor(FileType type) {
  Recipe recipe;
  recipe.file_type = type;
  recipe.mode = Mode::kStrict;
  return recipe;
}

TEST(FallbacksTest, LayersShareALineAndStrictListsEachTensor) {
  const auto model = Open("testdata/arch/llama2");  // rows of 64 and more
  const Plan plan =
      MakePlan(*model, RecipeFor(FileType::kQ4_K_S), nullptr).value();
  ASSERT_GT(plan.n_fallbacks, 0);
  const std::vector<std::string> lines = FallbackLines(plan);
  EXPECT_LT(lines.size(), static_cast<size_t>(plan.n_fallbacks));
  EXPECT_THAT(lines, Contains(HasSubstr("}.attn_q.weight: q4_k -> q5_0, rows "
                                        "of 64")));
  const std::vector<std::string> problems = StrictProblems(plan);
  EXPECT_EQ(problems.size(), static_cast<size_t>(plan.n_fallbacks));
  EXPECT_THAT(problems, Contains("tensor 'blk.0.attn_q.weight': wanted q4_k, "
                                 "whose blocks of 256 do not divide its rows "
                                 "of 64; compat mode writes q5_0"));
  const absl::Status status = StrictError(plan, problems.size());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--tensor-type"));
}

TEST(FallbacksTest, NothingToReportWhereAllFits) {
  const auto model = Open("testdata/tiny-llama");
  const Plan plan =
      MakePlan(*model, RecipeFor(FileType::kQ4_K_M), nullptr).value();
  EXPECT_THAT(FallbackLines(plan), IsEmpty());
  EXPECT_THAT(StrictProblems(plan), IsEmpty());
  EXPECT_TRUE(StrictError(plan, 0).ok());
}

TEST(FallbacksTest, StrictMissesImportanceUnlessItsLackWasChosen) {
  const auto model = Open("testdata/tiny-llama");
  ImportanceMatrix importance = ReadImportance(kImatrix).value();
  importance.entries.erase("blk.1.ffn_up.weight");
  Recipe recipe = RecipeFor(FileType::kQ4_K_M);
  recipe.mode = Mode::kStrict;
  const Plan plan = MakePlan(*model, recipe, &importance).value();
  EXPECT_THAT(StrictProblems(plan),
              Contains("tensor 'blk.1.ffn_up.weight' as q4_k: the importance "
                       "matrix has no entry"));
  recipe.missing_importance_chosen = true;
  EXPECT_THAT(StrictProblems(MakePlan(*model, recipe, &importance).value()),
              IsEmpty());
}

TEST(FallbacksTest, ADryRunNotesWhatAConversionRefuses) {
  const auto model = Open("testdata/tiny-llama");
  Recipe recipe = RecipeFor(FileType::kIQ2_XS);
  const auto refused = MakePlan(*model, recipe, nullptr);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("narrow imatrix MODEL --text FILE"));
  recipe.dry_run = true;
  const auto noted = MakePlan(*model, recipe, nullptr);
  ASSERT_TRUE(noted.ok()) << noted.status();
  EXPECT_THAT(noted->notes, Contains(HasSubstr("would be refused")));
}

}  // namespace
}  // namespace narrow
