#include "validate/tasks/task.h"

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "formats/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Write(const std::string& name, const std::string& text) {
  const std::string path = JoinPath(::testing::TempDir(), name);
  EXPECT_TRUE(WriteTextFile(path, text).ok());
  return path;
}

std::string ErrorOf(const TaskRequest& request) {
  const auto task = LoadTask(request);
  EXPECT_FALSE(task.ok());
  return std::string(task.status().message());
}

TEST(ParseTaskFlag, NamesFixTheLayoutIfTheyAreOne) {
  EXPECT_EQ(ParseTaskFlag("a.csv")->path, "a.csv");
  EXPECT_EQ(ParseTaskFlag("a.csv")->name, "");
  const auto mmlu = ParseTaskFlag("mmlu=a=b.csv");
  EXPECT_EQ(mmlu->name, "mmlu");
  EXPECT_EQ(mmlu->layout, "mmlu");
  EXPECT_EQ(mmlu->path, "a=b.csv");
  const auto mine = ParseTaskFlag("mine=a.csv");
  EXPECT_EQ(mine->name, "mine");
  EXPECT_EQ(mine->layout, "");
  EXPECT_FALSE(ParseTaskFlag("=a.csv").ok());
  EXPECT_FALSE(ParseTaskFlag("mmlu=").ok());
  EXPECT_FALSE(ParseTaskFlag("").ok());
}

#ifdef __GLIBCXX__
// llama-perplexity draws with std::uniform_int_distribution, which Debian's
// build has from libstdc++.
TEST(ChooseQuestions, AreThoseOfLlamaPerplexity) {
  std::vector<int64_t> left(10042);
  for (size_t i = 0; i < left.size(); ++i) {
    left[i] = static_cast<int64_t>(i);
  }
  std::mt19937 random(1);
  std::vector<int64_t> expected;
  for (int i = 0; i < 400; ++i) {
    std::uniform_int_distribution<size_t> place(0, left.size() - 1);
    const size_t at = place(random);
    expected.push_back(left[at]);
    left.erase(left.begin() + static_cast<int64_t>(at));
  }
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(ChooseQuestions(10042, 400), expected);
}
#endif

TEST(ChooseQuestions, AllAreAll) {
  EXPECT_THAT(ChooseQuestions(4, 4), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(ChooseQuestions(4, 0), ElementsAre());
  EXPECT_THAT(ChooseQuestions(1, 1), ElementsAre(0));
}

TEST(LoadTask, WorkedExamplesAreOfTheSubjectAndNotTheQuestion) {
  const std::string folder = JoinPath(::testing::TempDir(), "shots");
  Write("shots/test/red_test.csv", "r1?,a,b,c,d,A\nr2?,a,b,c,d,B\n");
  Write("shots/test/blue_test.csv", "b1?,a,b,c,d,C\n");
  Write("shots/test/readme.md", "no questions");
  Write("shots/dev/red_dev.csv",
        "r1?,a,b,c,d,A\nr3?,a,b,c,d,D\nr4?,a,b,c,d,A\n");
  Write("shots/dev/blue_dev.csv", "b2?,a,b,c,d,A\nb3?,a,b,c,d,A\n");
  TaskRequest request = *ParseTaskFlag("mmlu=" + folder + "/test");
  request.few_shot_path = folder + "/dev";
  request.n_shots = 2;
  const auto task = LoadTask(request);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ(task->n_in_files, 3);
  ASSERT_EQ(task->questions.size(), 3u);
  const auto prefix = [&](size_t i) {
    return task->prefixes[task->questions[i].prefix];
  };
  const std::string about =
      "The following are multiple choice questions (with answers) about ";
  const std::string choices = "\nA. a\nB. b\nC. c\nD. d\nAnswer: ";
  EXPECT_EQ(prefix(0),
            about + "blue.\n\nb2?" + choices + "A\n\nb3?" + choices + "A\n\n");
  // r1 is the question itself.
  EXPECT_EQ(prefix(1),
            about + "red.\n\nr3?" + choices + "D\n\nr4?" + choices + "A\n\n");
  EXPECT_EQ(prefix(2),
            about + "red.\n\nr1?" + choices + "A\n\nr3?" + choices + "D\n\n");
  request.n_shots = 3;
  EXPECT_THAT(ErrorOf(request),
              AllOf(HasSubstr("3 worked examples"), HasSubstr("'blue'"),
                    HasSubstr("there are 2")));
}

TEST(LoadTask, ExamplesOfWinograndeHaveTheRightName) {
  const std::string path = Write(
      "winogrande_shots.jsonl",
      R"({"sentence": "a _ b", "option1": "x", "option2": "y", "answer": "2"})"
      "\n"
      R"({"sentence": "c _ d", "option1": "x", "option2": "y", "answer": "1"})");
  TaskRequest request = *ParseTaskFlag(path);
  request.few_shot_path = path;
  request.n_shots = 1;
  const auto task = LoadTask(request);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ(task->prefixes[task->questions[0].prefix], "c x d\n\n");
  EXPECT_EQ(task->prefixes[task->questions[1].prefix], "a y b\n\n");
}

TEST(LoadTask, WrongRequestsAreRefused) {
  const std::string mmlu = Write("one.csv", "r1?,a,b,c,d,A\n");
  TaskRequest request = *ParseTaskFlag(mmlu);
  EXPECT_EQ(LoadTask(request)->name, "mmlu");
  request.n_shots = 1;
  EXPECT_THAT(ErrorOf(request), HasSubstr("--few-shot"));
  request.n_shots = 0;
  request.few_shot_path = mmlu;
  EXPECT_THAT(ErrorOf(request), HasSubstr("--shots"));
  EXPECT_THAT(
      ErrorOf(*ParseTaskFlag("hellaswag=" + mmlu)),
      AllOf(HasSubstr("HellaSwag"), HasSubstr("line 1"), HasSubstr(mmlu)));
  EXPECT_THAT(ErrorOf(*ParseTaskFlag(JoinPath(::testing::TempDir(), "none"))),
              HasSubstr("none"));
  const std::string truth = Write(
      "truth.json",
      R"([{"question": "?", "mc1_targets": {"b": 1, "c": 0}, "mc2_targets": {"b": 1, "c": 0}}])");
  request = *ParseTaskFlag(truth);
  request.few_shot_path = truth;
  request.n_shots = 1;
  EXPECT_THAT(ErrorOf(request), HasSubstr("examples of its own"));
  EXPECT_THAT(
      ErrorOf(*ParseTaskFlag(Write(
          "short.jsonl",
          R"({"ctx_a": "x", "activity_label": "y", "endings": ["a"], "label": 0})"))),
      HasSubstr("two at least"));
  EXPECT_THAT(
      ErrorOf(*ParseTaskFlag(Write(
          "empty.jsonl",
          R"({"ctx_a": "x", "activity_label": "y", "endings": ["a", "[b]"], "label": 0})"))),
      HasSubstr("is empty"));
  std::filesystem::create_directories(
      JoinPath(::testing::TempDir(), "empty_folder"));
  EXPECT_THAT(
      ErrorOf(*ParseTaskFlag(JoinPath(::testing::TempDir(), "empty_folder"))),
      HasSubstr("no .csv"));
}

}  // namespace
}  // namespace narrow
