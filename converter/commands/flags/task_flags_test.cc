#include "converter/commands/flags/task_flags.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

// Of a command line that begins after the program's name.
absl::StatusOr<std::vector<TaskRequest>> Parse(std::vector<std::string> line) {
  CLI::App app;
  TaskFlags flags;
  AddTaskFlags(&app, &flags);
  std::reverse(line.begin(), line.end());
  app.parse(line);
  return TaskRequestsFromFlags(flags);
}

std::string ErrorOf(const std::vector<std::string>& line) {
  const auto requests = Parse(line);
  EXPECT_FALSE(requests.ok());
  return std::string(requests.status().message());
}

TEST(TaskFlags, ExamplesGoToTheTaskNamed) {
  const auto requests =
      Parse({"--task", "mmlu=test", "--task", "hellaswag=val.jsonl", "--tasks",
             "400", "--few-shot", "mmlu=dev"});
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 2u);
  EXPECT_EQ((*requests)[0].layout, "mmlu");
  EXPECT_EQ((*requests)[0].few_shot_path, "dev");
  EXPECT_EQ((*requests)[0].n_shots, 5);
  EXPECT_EQ((*requests)[0].max_questions, 400);
  EXPECT_EQ((*requests)[1].few_shot_path, "");
  EXPECT_EQ((*requests)[1].n_shots, 0);
}

TEST(TaskFlags, ExamplesWithoutANameAreForAllThatTakeThem) {
  const auto requests = Parse({"--task", "truthfulqa=t.csv", "--task", "a.csv",
                               "--few-shot", "dev.csv", "--shots", "2"});
  ASSERT_TRUE(requests.ok()) << requests.status();
  EXPECT_EQ((*requests)[0].n_shots, 0);
  EXPECT_EQ((*requests)[1].name, "a");
  EXPECT_EQ((*requests)[1].n_shots, 2);
  EXPECT_EQ((*requests)[1].few_shot_path, "dev.csv");
}

TEST(TaskFlags, ContradictionsAreRefused) {
  EXPECT_THAT(ErrorOf({"--task", "a.csv", "--shots", "2"}),
              HasSubstr("--few-shot"));
  EXPECT_THAT(ErrorOf({"--tasks", "2"}), HasSubstr("--task"));
  EXPECT_THAT(ErrorOf({"--few-shot", "a.csv"}), HasSubstr("--task"));
  EXPECT_THAT(ErrorOf({"--task", "a.csv", "--few-shot", "mmlu=dev.csv"}),
              HasSubstr("no task takes"));
  EXPECT_THAT(ErrorOf({"--task", "a=x.csv", "--task", "a=y.csv"}),
              HasSubstr("two tasks"));
  EXPECT_THAT(
      ErrorOf({"--task", "a.csv", "--few-shot", "b", "--few-shot", "c"}),
      HasSubstr("twice"));
  EXPECT_THAT(ErrorOf({"--task", "=a.csv"}), HasSubstr("no name"));
}

}  // namespace
}  // namespace narrow
