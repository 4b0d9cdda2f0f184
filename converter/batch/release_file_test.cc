#include "converter/batch/release_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kModel[] = "out: 'o' model { path: 'm/tiny.gguf' } ";

TEST(ParseRelease, FillsInNamesAndPaths) {
  const auto plan = ParseRelease(
      "out: 'release' model { path: 'models/gemma/' imatrix: 'g.gguf' } "
      "target { to: 'q4_k_m' } target { to: 'Q8_0' imatrix: 'none' name: 'big' "
      "} target { recipe { rule { method: 'hqq' bits: 3 } } } "
      "validation { text { file: 'wiki.txt' } max_kld: 0.1 }",
      "/srv/x/release.textproto");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->out, "/srv/x/release");
  const PlannedModel& model = plan->models[0];
  EXPECT_EQ(model.name, "gemma");
  EXPECT_EQ(model.path, "/srv/x/models/gemma/");
  ASSERT_EQ(model.targets.size(), 3u);
  EXPECT_EQ(model.targets[0].output, "/srv/x/release/gemma-Q4_K_M.gguf");
  EXPECT_EQ(model.targets[0].imatrix, "/srv/x/g.gguf");
  EXPECT_EQ(model.targets[1].output, "/srv/x/release/gemma-big.gguf");
  EXPECT_EQ(model.targets[1].imatrix, "");
  EXPECT_EQ(model.targets[2].output, "/srv/x/release/gemma-hqq-3bit");
  EXPECT_FALSE(model.targets[2].is_gguf);
  EXPECT_EQ(model.validation->text(0).name(), "wiki.txt");
  EXPECT_EQ(model.validation->text(0).file(0), "/srv/x/wiki.txt");
}

TEST(ParseRelease, ModelsMayHaveTheirOwnTargets) {
  const auto plan = ParseRelease(
      "out: 'o' target { to: 'Q8_0' } model { path: 'a' } "
      "model { path: 'b' target { to: 'Q4_0' } target { to: 'Q5_0' } }",
      "r");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->models[0].targets.size(), 1u);
  EXPECT_EQ(plan->models[1].targets.size(), 2u);
}

// Where a release lies and what it is called do not change what is made.
TEST(ParseRelease, SettingsHaveNoPaths) {
  const std::string text =
      "out: 'o' model { path: 'm' imatrix: 'i' } "
      "target { to: 'Q8_0' name: 'x' }";
  EXPECT_EQ(ParseRelease(text, "/a/r")->models[0].targets[0].settings,
            ParseRelease(text, "/b/s")->models[0].targets[0].settings);
}

struct Refusal {
  std::string text;
  std::string words;
};

TEST(ParseRelease, SaysWhatIsWrong) {
  const std::string model = kModel;
  const Refusal kCases[] = {
      {"model { path: 'm' }", "no out"},
      {"out: 'o'", "no model"},
      {model, "has no target"},
      {model + "target { }", "one of: to, recipe, recipe_file"},
      {model + "target { to: 'Q8_0' recipe { } }", "one of"},
      {model + "target { to: 'Q9_0' }", "Q8_0"},
      {model + "target { to: 'Q8_0' } target { to: 'q8_0' }", "two targets"},
      {model + "target { to: 'Q8_0' name: '../x' }", "no file name"},
      {model + "target { to: 'Q8_0' tensor_type: 'x' }", "PATTERN=TYPE"},
      {model + "target { recipe { rule { method: 'rtm' } } }", "rtn"},
      {model + "target { recipe { } pure: true }", "recipe has fields"},
      {model + "target { too: 'Q8_0' }", "the nearest is 'to'"},
      {model + "target { to: 'Q8_0' } validation { }",
       "without a text or a task"},
      {"out: 'o' model { } target { to: 'Q8_0' }", "without a path"},
  };
  for (const Refusal& row : kCases) {
    SCOPED_TRACE(row.text);
    const auto plan = ParseRelease(row.text, "r.textproto");
    ASSERT_FALSE(plan.ok());
    EXPECT_THAT(std::string(plan.status().message()), HasSubstr(row.words));
    EXPECT_THAT(std::string(plan.status().message()), HasSubstr("r.textproto"));
  }
}

TEST(ParseRelease, SolversAreOptionsOfConvert) {
  const auto plan = ParseRelease(
      "out: 'o' model { path: 'm' } calibration { file: 'a.txt' file: '/b' "
      "samples: 64 no_pack: true cover: 0 } "
      "target { to: 'Q4_K_M' solver: 'compensated' "
      "solver_options { order: 'one-shot' damping: 0.02 verify_kld: true } } "
      "target { to: 'Q4_0' solver: 'compensated' calibration { file: 'c' } } "
      "target { to: 'Q8_0' solver: 'none' }",
      "r/release.textproto");
  ASSERT_TRUE(plan.ok()) << plan.status();
  const std::vector<PlannedTarget>& targets = plan->models[0].targets;
  EXPECT_THAT(
      targets[0].solver,
      ElementsAre("--solver=compensated", "--order=one-shot", "--damping=0.02",
                  "--verify-kld", "--calibration=r/a.txt", "--calibration=/b",
                  "--samples=64", "--no-pack", "--cover=0"));
  EXPECT_THAT(targets[0].calibration, ElementsAre("r/a.txt", "/b"));
  EXPECT_TRUE(targets[0].is_one_shot);
  EXPECT_TRUE(targets[0].recipe.calibrated);
  // Paths are no settings, what is done with the text is.
  EXPECT_THAT(targets[0].settings, HasSubstr("samples: 64"));
  EXPECT_THAT(targets[0].settings, Not(HasSubstr("a.txt")));
  EXPECT_THAT(targets[1].solver,
              ElementsAre("--solver=compensated", "--calibration=r/c"));
  EXPECT_FALSE(targets[1].is_one_shot);
  EXPECT_TRUE(targets[2].solver.empty());
  EXPECT_FALSE(targets[2].recipe.calibrated);

  const auto message = [](const std::string& target) {
    return std::string(
        ParseRelease("out: 'o' model { path: 'm' } target {" + target + "}",
                     "r/release.textproto")
            .status()
            .message());
  };
  EXPECT_THAT(message("to: 'Q4_0' solver: 'compensated'"),
              HasSubstr("give a text"));
  EXPECT_THAT(message("to: 'Q4_0' solver_options { rounds: 2 }"),
              HasSubstr("none is named"));
  EXPECT_THAT(message("recipe { rule { bits: 4 } } solver: 'compensated'"),
              HasSubstr("of file types"));
}

TEST(ParseRelease, ValidationsHaveNumbersThatCanBe) {
  for (const std::string field :
       {"context: 1", "context: 2000000000", "chunks: 0", "chunks: -5",
        "max_kld: -1", "max_kld: nan", "max_rms_dp: 2", "min_top1: 7",
        "max_ppl_delta: -1", "error_rate: 0", "error_rate: 0.5"}) {
    const auto plan = ParseRelease(
        "out: 'o' model { path: 'm' } target { to: 'Q4_0' } validation { text "
        "{ file: 't' } " +
            field + " }",
        "r/release.textproto");
    EXPECT_THAT(
        std::string(plan.status().message()),
        HasSubstr("validation: " + field.substr(0, field.find(':')) + " is "))
        << field;
  }
}

}  // namespace
}  // namespace narrow
