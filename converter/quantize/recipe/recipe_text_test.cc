#include "converter/quantize/recipe/recipe_text.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace narrow {
namespace {

TEST(RecipeText, ReadsBackWhatItWrites) {
  const char kText[] = R"(
    rule { method: "gptq" bits: 3 symmetric: false }
    override { pattern: "down_proj$" rule { bits: 8 group_size: -1 } }
    ignore: "lm_head"
    solver { damping: 0.05 column_order: "groups" sweep: false }
    calibration { file: "a.txt" file: "b.jsonl" samples: 16 seed: 7 }
  )";
  const auto recipe = ParseRecipe(kText, "recipe.txtpb");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_EQ(recipe->rule().bits(), 3);
  EXPECT_EQ(recipe->override(0).rule().group_size(), -1);
  EXPECT_EQ(recipe->calibration().file_size(), 2);
  EXPECT_FALSE(recipe->solver().has_refit());
  const std::string text = RecipeText(*recipe);
  const auto again = ParseRecipe(text, "again");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(RecipeText(*again), text);
}

struct Bad {
  const char* text;
  const char* says;
};

TEST(RecipeText, SaysWhatIsWrongAndWhere) {
  const Bad kBad[] = {
      {"rule { bit: 4 }", "the nearest is 'bits'; at line 1, column 11"},
      {"\nsolvers { }", "the nearest is 'solver'; at line 2"},
      {"rule { bits: many }", "at line 1, column 14"},
      {"rule { bits: 4", "at line 1"},
      {"override { rule { bits: 4 } }", "without a pattern"},
      {"calibration { samples: 1e9999999 }", "reading r.txtpb"},
  };
  for (const Bad& bad : kBad) {
    const auto recipe = ParseRecipe(bad.text, "r.txtpb");
    ASSERT_FALSE(recipe.ok()) << bad.text;
    EXPECT_EQ(recipe.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(recipe.status().message(), bad.says))
        << recipe.status();
  }
}

TEST(RecipeText, SetsFieldsOfARule) {
  LayerRule rule;
  EXPECT_TRUE(SetRuleField("bits", "3", &rule).ok());
  EXPECT_TRUE(SetRuleField("group", "64", &rule).ok());
  EXPECT_TRUE(SetRuleField("symmetric", "false", &rule).ok());
  EXPECT_TRUE(SetRuleField("method", "rtn", &rule).ok());
  EXPECT_EQ(rule.bits(), 3);
  EXPECT_EQ(rule.group_size(), 64);
  EXPECT_TRUE(rule.has_symmetric());
  EXPECT_EQ(rule.method(), "rtn");
  EXPECT_TRUE(absl::StrContains(SetRuleField("bitz", "3", &rule).message(),
                                "the nearest is 'bits'"));
  EXPECT_FALSE(SetRuleField("bits", "3 method: \"x\"", &rule).ok());
  EXPECT_FALSE(SetRuleField("bits", "x", &rule).ok());
  EXPECT_FALSE(SetRuleField("", "x", &rule).ok());
}

}  // namespace
}  // namespace narrow
