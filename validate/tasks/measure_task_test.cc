#include "validate/tasks/measure_task.h"

#include <cmath>
#include <string>
#include <vector>

#include "formats/json/json.h"
#include "formats/json/json_writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "validate/tasks/layouts/layout.h"
#include "validate/tasks/task_report.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

TaskItem Item(std::vector<std::string> choices, int64_t gold) {
  TaskItem item;
  item.contexts = {"q"};
  item.choices = std::move(choices);
  item.gold = gold;
  return item;
}

Task TaskOf(const char* layout, std::vector<TaskItem> items) {
  Task task;
  task.name = "mine";
  task.layout = FindTaskLayout(layout);
  task.files = {"f.jsonl"};
  task.prefixes = {""};
  task.n_in_files = 100;
  for (TaskItem& item : items) {
    task.questions.push_back({std::move(item), "f.jsonl", 1, 0});
  }
  return task;
}

TaskScores ScoresOf(std::vector<std::vector<ChoiceScore>> questions) {
  TaskScores scores;
  scores.questions = std::move(questions);
  scores.n_run = 50;
  scores.seconds = 2;
  return scores;
}

const TaskMetric& Metric(const TaskModelReport& model, const char* name) {
  for (const TaskMetric& metric : model.metrics) {
    if (metric.name == name) {
      return metric;
    }
  }
  ADD_FAILURE() << name;
  return model.metrics[0];
}

// -6 over 2 characters and -8 over 4: the sum prefers the first, characters
// the second; "éé" has two characters and four bytes. Tokens prefer the first.
TEST(MeasureTask, EachMetricHasItsMeasure) {
  const Task task =
      TaskOf("hellaswag", {Item({"\xc3\xa9\xc3\xa9", "abcd"}, 1)});
  TaskReport report = BeginTaskReport(task, TokenizedTask());
  AddTaskModel(task, ScoresOf({{{-6, -1}, {-8, -2}}}), "a", &report);
  const TaskModelReport& model = report.models[0];
  EXPECT_EQ(model.metrics[0].name, "acc_norm");
  EXPECT_EQ(Metric(model, "acc_norm").value, 1);
  EXPECT_EQ(Metric(model, "acc").value, 0);
  EXPECT_EQ(Metric(model, "acc_token").value, 0);
  EXPECT_EQ(model.tokens_per_second, 25);
  EXPECT_TRUE(std::isnan(Metric(model, "acc").error));
}

TEST(MeasureTask, TheFirstOfEqualsIsChosen) {
  const Task task = TaskOf("mmlu", {Item({"A", "B"}, 0), Item({"A", "B"}, 1)});
  TaskReport report = BeginTaskReport(task, TokenizedTask());
  AddTaskModel(task, ScoresOf({{{-1, 0}, {-1, 0}}, {{-1, 0}, {-1, 0}}}), "a",
               &report);
  EXPECT_EQ(report.models[0].metrics[0].n_right, 1);
  EXPECT_EQ(report.models[0].questions[1].chosen[0], 0);
}

TEST(MeasureTask, TruthIsAShareOfProbability) {
  TaskItem item = Item({"b", "a", "c", "d"}, 0);
  item.contenders = {0, 2, 3};
  item.true_choices = {1, 0};
  item.false_choices = {2, 3};
  const Task task = TaskOf("truthfulqa", {item});
  TaskReport report = BeginTaskReport(task, TokenizedTask());
  // Far below what exp can hold: only ratios count. "a" is the most probable,
  // but no contender.
  const double base = -2000;
  AddTaskModel(task,
               ScoresOf({{{base + std::log(2), 0},
                          {base + std::log(4), 0},
                          {base + std::log(1), 0},
                          {base + std::log(1), 0}}}),
               "a", &report);
  const TaskModelReport& model = report.models[0];
  EXPECT_NEAR(Metric(model, "mc2").value, 6.0 / 8, 1e-12);
  EXPECT_FALSE(Metric(model, "mc2").right_or_wrong);
  EXPECT_EQ(Metric(model, "mc1").value, 1);
}

// Five questions: both right, two lost, one gained, both wrong.
TEST(MeasureTask, PairsWithTheFirstModel) {
  const Task task =
      TaskOf("mmlu", std::vector<TaskItem>(5, Item({"A", "B"}, 0)));
  const auto scores = [](const std::vector<bool>& right) {
    std::vector<std::vector<ChoiceScore>> questions;
    for (bool r : right) {
      questions.push_back({{r ? -1.0 : -3.0, 0}, {-2, 0}});
    }
    return ScoresOf(questions);
  };
  TaskReport report = BeginTaskReport(task, TokenizedTask());
  AddTaskModel(task, scores({true, true, true, false, false}), "a", &report);
  AddTaskModel(task, scores({true, false, false, true, false}), "b", &report);
  EXPECT_FALSE(report.models[0].metrics[0].paired.has_value());
  const PairedTaskMetric& paired = *report.models[1].metrics[0].paired;
  EXPECT_EQ(paired.n_lost, 2);
  EXPECT_EQ(paired.n_gained, 1);
  EXPECT_EQ(paired.mcnemar_p, 1);
  EXPECT_NEAR(paired.difference.value, -0.2, 1e-12);
  // Differences 0, -1, -1, 1, 0: variance 2.8 / 4, over 5.
  EXPECT_NEAR(paired.difference.error, std::sqrt(2.8 / 4 / 5), 1e-12);
  const TaskMetric& first = report.models[0].metrics[0];
  EXPECT_EQ(first.n_right, 3);
  EXPECT_LT(first.low, 0.6);
  EXPECT_GT(first.high, 0.6);
}

TEST(MeasureTask, SubjectsHaveTheirShares) {
  std::vector<TaskItem> items(3, Item({"A", "B"}, 0));
  items[0].subject = items[2].subject = "red";
  items[1].subject = "blue";
  const Task task = TaskOf("mmlu", items);
  TaskReport report = BeginTaskReport(task, TokenizedTask());
  AddTaskModel(
      task,
      ScoresOf({{{-1, 0}, {-2, 0}}, {{-1, 0}, {-2, 0}}, {{-3, 0}, {-2, 0}}}),
      "a", &report);
  const auto& groups = report.models[0].groups;
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].name, "red");
  EXPECT_EQ(groups[0].value, 0.5);
  EXPECT_EQ(groups[1].n_questions, 1);
}

TEST(TaskReport, JsonAndTable) {
  const Task task = TaskOf("mmlu", {Item({"A", "B"}, 0), Item({"A", "B"}, 1)});
  TokenizedTask tokens;
  tokens.n_truncated = 1;
  TaskReport report = BeginTaskReport(task, tokens);
  AddTaskModel(task, ScoresOf({{{-1, 0}, {-2, 0}}, {{-2, 0}, {-1, 0}}}),
               "a\x1b", &report);
  AddTaskModel(task, ScoresOf({{{-1, 0}, {-2, 0}}, {{-1, 0}, {-2, 0}}}), "b",
               &report);
  TaskJsonOptions options;
  options.questions = true;
  JsonWriter json(JsonWriter::kIndented);
  AddTaskReportsJson({report}, options, &json);
  const auto document = JsonDocument::Parse(json.text(), "json");
  ASSERT_TRUE(document.ok()) << document.status();
  const auto tasks = document->get()->root().GetElements();
  const JsonValue one = (*tasks)[0];
  EXPECT_EQ(*one.Get("name")->GetString(), "mine");
  EXPECT_EQ(*one.Get("questions")->GetInteger(), 2);
  EXPECT_EQ(one.Get("warnings")->GetElements()->size(), 1u);
  const auto models = *one.Get("models")->GetElements();
  const auto metrics = *models[1].Get("metrics")->GetElements();
  const JsonValue paired = *metrics[0].Get("against_first");
  EXPECT_EQ(*paired.Get("lost")->GetInteger(), 1);
  EXPECT_EQ(*paired.Get("difference")->GetNumber(), -0.5);
  const auto questions = *models[1].Get("questions")->GetElements();
  EXPECT_EQ(*questions[1].Get("acc")->Get("chosen")->GetInteger(), 0);

  const std::string table = RenderTaskReports({report});
  EXPECT_THAT(table, HasSubstr("100.00"));
  EXPECT_THAT(table, HasSubstr("-50.00"));
  EXPECT_THAT(table, HasSubstr("mine, 2"));
  // A name from outside commands no terminal.
  EXPECT_THAT(table, ::testing::Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace narrow
