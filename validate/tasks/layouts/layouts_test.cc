#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "validate/tasks/layouts/layout.h"
#include "validate/tasks/records.h"

namespace narrow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The first question of a file, by the layout that its content shows.
TaskItem First(const std::string& text, const std::string& path,
               const std::string& layout_name) {
  const auto file = ParseRecords(text, path);
  EXPECT_TRUE(file.ok()) << file.status();
  const auto layout = DetectTaskLayout(*file);
  EXPECT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ((*layout)->name, layout_name);
  const auto item = (*layout)->read(file->records[0]);
  EXPECT_TRUE(item.ok()) << item.status();
  return item.ok() ? *item : TaskItem();
}

std::string ErrorOf(const std::string& layout, const std::string& text) {
  const auto file = ParseRecords(text, "f");
  EXPECT_TRUE(file.ok()) << file.status();
  const auto item = FindTaskLayout(layout)->read(file->records[0]);
  EXPECT_FALSE(item.ok());
  return std::string(item.status().message());
}

TEST(Layouts, AreFoundByName) {
  for (const TaskLayout* layout : TaskLayouts()) {
    EXPECT_EQ(FindTaskLayout(layout->name), layout);
    EXPECT_FALSE(layout->metrics.empty()) << layout->name;
  }
  EXPECT_EQ(FindTaskLayout("nothing"), nullptr);
}

TEST(Layouts, AnUnknownRecordIsNamedByItsFields) {
  const auto file = ParseRecords("{\"foo\": 1, \"bar\": 2}", "f.jsonl");
  const auto layout = DetectTaskLayout(*file);
  ASSERT_FALSE(layout.ok());
  EXPECT_THAT(std::string(layout.status().message()),
              AllOf(HasSubstr("'foo', 'bar'"), HasSubstr("hellaswag"),
                    HasSubstr("line 1"), HasSubstr("f.jsonl")));
}

// Marks of WikiHow are taken out as lm-evaluation-harness 0.4 does: " [title]"
// becomes ". ", other brackets go, then pairs of spaces become one.
TEST(Hellaswag, TextsAreCleanedAsTheHarnessDoes) {
  const TaskItem item = First(
      R"({"ind": 24, "activity_label": "Home and Garden", "ctx_a": "[header] How to clean [title] Sweep. [step] Use a broom.", "ctx_b": "the MAN", "ctx": "unused", "endings": [" takes [a] it. ", "runs  [title] Away", "open [ bracket", "[x] [y] z"], "label": 2})"
      "\n",
      "hellaswag_val.jsonl", "hellaswag");
  EXPECT_THAT(item.contexts,
              ElementsAre("Home and Garden: How to clean. Sweep. Use a "
                          "broom. The man"));
  EXPECT_THAT(item.choices,
              ElementsAre("takes it.", "runs . Away", "open [ bracket", " z"));
  EXPECT_EQ(item.gold, 2);
  EXPECT_EQ(item.id, "24");
}

TEST(Hellaswag, BlocksAreTakenAsTheyAre) {
  const TaskItem item =
      First("A: b. he\n3\nx [y]\nb\nc\nd\n", "hs.txt", "hellaswag");
  EXPECT_THAT(item.contexts, ElementsAre("A: b. he"));
  EXPECT_THAT(item.choices, ElementsAre("x [y]", "b", "c", "d"));
  EXPECT_EQ(item.gold, 3);
  EXPECT_THAT(ErrorOf("hellaswag", "A: b. he\n7\na\nb\nc\nd\n"),
              AllOf(HasSubstr("choice 7"), HasSubstr("has 4")));
}

TEST(Hellaswag, QuestionsWithoutAnAnswerAreRefused) {
  EXPECT_THAT(
      ErrorOf(
          "hellaswag",
          R"({"activity_label": "A", "ctx_a": "x", "endings": ["a", "b"]})"),
      HasSubstr("test set"));
}

TEST(Arc, NestedFlatAndColumns) {
  const std::string context = "Question: Which?\nAnswer:";
  const TaskItem nested = First(
      R"({"id": "M_1", "question": {"stem": "Which?", "choices": [{"text": "one", "label": "1"}, {"text": "two", "label": "2"}]}, "answerKey": "2"})",
      "ARC-Challenge-Test.jsonl", "arc");
  EXPECT_THAT(nested.contexts, ElementsAre(context));
  EXPECT_THAT(nested.choices, ElementsAre("one", "two"));
  EXPECT_EQ(nested.gold, 1);
  EXPECT_EQ(nested.id, "M_1");
  const TaskItem flat = First(
      R"({"id": "x", "question": "Which?", "choices": {"text": ["one", "two"], "label": ["A", "B"]}, "answerKey": "A"})",
      "arc.jsonl", "arc");
  EXPECT_THAT(flat.contexts, ElementsAre(context));
  EXPECT_THAT(flat.choices, ElementsAre("one", "two"));
  EXPECT_EQ(flat.gold, 0);
  const TaskItem columns = First(
      "questionID,AnswerKey,question,subject\n"
      "Q1,C,\"Which? (A) one (B) two, or (C) three\",\n",
      "ARC-Easy-Dev.csv", "arc");
  EXPECT_THAT(columns.contexts, ElementsAre(context));
  EXPECT_THAT(columns.choices, ElementsAre("one", "two, or", "three"));
  EXPECT_EQ(columns.gold, 2);
  EXPECT_EQ(columns.id, "Q1");
  EXPECT_THAT(
      ErrorOf(
          "arc",
          R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "E"})"),
      AllOf(HasSubstr("'E'"), HasSubstr("A, B")));
  EXPECT_THAT(ErrorOf("arc", "question,AnswerKey\nno choices,A\n"),
              HasSubstr("has no choices"));
}

TEST(Mmlu, OriginalRowsColumnsAndJson) {
  const std::string context = "Q?\nA. w\nB. x\nC. y\nD. z\nAnswer:";
  for (
      const auto& [text, path] :
      std::vector<std::pair<std::string, std::string>>{
          {" Q? ,w,x,y,z,C\n", "dir/high_school_physics_test.csv"},
          {"question,choice0,choice1,choice2,choice3,answer\nQ?,w,x,y,z,2\n",
           "dir/high_school_physics_dev.csv"},
          {"question,A,B,C,D,answer\nQ?,w,x,y,z,C\n",
           "high_school_physics_val.csv"},
          {R"({"question": "Q?", "subject": "high_school_physics", "choices": ["w", "x", "y", "z"], "answer": 2})",
           "all.jsonl"}}) {
    SCOPED_TRACE(path);
    const TaskItem item = First(text, path, "mmlu");
    EXPECT_THAT(item.contexts, ElementsAre(context));
    EXPECT_THAT(item.choices, ElementsAre("A", "B", "C", "D"));
    EXPECT_EQ(item.gold, 2);
    EXPECT_EQ(item.subject, "high_school_physics");
  }
  EXPECT_EQ(FindTaskLayout("mmlu")->description("high_school_physics"),
            "The following are multiple choice questions (with answers) about "
            "high school physics.\n\n");
  EXPECT_THAT(ErrorOf("mmlu", "question,A,B,answer\nQ?,w,x,C\n"),
              AllOf(HasSubstr("answer is C"), HasSubstr("has 2")));
  EXPECT_THAT(ErrorOf("mmlu", "question,choice0,choice1,answer\nQ?,w,x,2\n"),
              HasSubstr("choice 2"));
}

TEST(Wmdp, IsToldFromMmluByTheFile) {
  const std::string text =
      R"([{"question": "Q?", "choices": ["w", "x"], "answer": 1}])";
  const TaskItem item = First(text, "dir/cyber-questions.json", "wmdp");
  EXPECT_EQ(item.subject, "cybersecurity");
  EXPECT_EQ(item.gold, 1);
  EXPECT_EQ(First(text, "wmdp.json", "wmdp").subject, "");
  EXPECT_EQ(FindTaskLayout("wmdp")->description(""),
            "The following are multiple choice questions (with answers).\n\n");
  First(text, "other.json", "mmlu");
}

TEST(Truthfulqa, ColumnsAndBothFormsOfJson) {
  const std::string columns =
      "Type,Question,Best Answer,Correct Answers,Incorrect Answers\n"
      "t,Why?,b,\"a; b ;\",c; d\n";
  const TaskItem item = First(columns, "TruthfulQA.csv", "truthfulqa");
  EXPECT_THAT(item.contexts[0], EndsWith("Barcelona, Spain.\n\nQ: Why?\nA:"));
  EXPECT_THAT(item.choices, ElementsAre("b", "a", "c", "d"));
  EXPECT_EQ(item.gold, 0);
  EXPECT_THAT(item.contenders, ElementsAre(0, 2, 3));
  EXPECT_THAT(item.true_choices, ElementsAre(1, 0));
  EXPECT_THAT(item.false_choices, ElementsAre(2, 3));
  for (
      const std::string& text :
      {std::string(
           R"([{"question": "Why?", "mc1_targets": {"b": 1, "c": 0}, "mc2_targets": {"a": 1, "b": 1, "c": 0}}])"),
       std::string(
           R"({"question": "Why?", "mc1_targets": {"choices": ["b", "c"], "labels": [1, 0]}, "mc2_targets": {"choices": ["a", "b", "c"], "labels": [1, 1, 0]}})")}) {
    const TaskItem json = First(text, "mc_task.json", "truthfulqa");
    EXPECT_EQ(json.contexts, item.contexts);
    EXPECT_THAT(json.choices, ElementsAre("b", "c", "a"));
    EXPECT_EQ(json.gold, 0);
    EXPECT_THAT(json.contenders, ElementsAre(0, 1));
    EXPECT_THAT(json.true_choices, ElementsAre(2, 0));
    EXPECT_THAT(json.false_choices, ElementsAre(1));
  }
  EXPECT_THAT(
      ErrorOf(
          "truthfulqa",
          R"({"question": "Why?", "mc1_targets": {"choices": ["b", "c"], "labels": [0, 0]}})"),
      HasSubstr("a true answer"));
}

TEST(Winogrande, EachNameIsPutIntoTheGap) {
  for (
      const auto& [text, path] :
      std::vector<std::pair<std::string, std::string>>{
          {R"({"qID": "3-1", "sentence": "Ann asked Eve, so _ answered.", "option1": "Ann", "option2": "Eve", "answer": "2"})",
           "dev.jsonl"},
          {"3-1,\"Ann asked Eve, so _ answered.\",Ann,Eve,2\n",
           "winogrande.csv"}}) {
    SCOPED_TRACE(path);
    const TaskItem item = First(text, path, "winogrande");
    EXPECT_THAT(item.contexts,
                ElementsAre("Ann asked Eve, so Ann", "Ann asked Eve, so Eve"));
    EXPECT_THAT(item.choices, ElementsAre("answered.", "answered."));
    EXPECT_EQ(item.gold, 1);
    EXPECT_THAT(item.contenders, IsEmpty());
  }
  EXPECT_THAT(
      ErrorOf(
          "winogrande",
          R"({"sentence": "a b", "option1": "a", "option2": "b", "answer": "1"})"),
      HasSubstr("no gap"));
  EXPECT_THAT(
      ErrorOf(
          "winogrande",
          R"({"sentence": "a _ b", "option1": "a", "option2": "b", "answer": ""})"),
      HasSubstr("test set"));
}

}  // namespace
}  // namespace narrow
