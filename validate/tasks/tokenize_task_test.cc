#include "validate/tasks/tokenize_task.h"

#include <memory>
#include <string>
#include <vector>

#include "formats/tokenizer/tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "validate/tasks/layouts/layout.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr int32_t kBos = 1000;
constexpr int32_t kEos = 1001;

// A token a byte, but " t" is one (2000); BOS before and EOS after, if asked.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(bool special) : special_(special) {}

  std::vector<int32_t> Encode(absl::string_view text,
                              const EncodeOptions&) const override {
    std::vector<int32_t> ids;
    if (special_) {
      ids.push_back(kBos);
    }
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == ' ' && i + 1 < text.size() && text[i + 1] == 't') {
        ids.push_back(2000);
        ++i;
      } else {
        ids.push_back(static_cast<unsigned char>(text[i]));
      }
    }
    if (special_) {
      ids.push_back(kEos);
    }
    return ids;
  }
  std::string Decode(absl::Span<const int32_t>, bool) const override {
    return "";
  }
  int64_t n_tokens() const override { return 3000; }
  std::optional<int32_t> bos_id() const override { return kBos; }
  std::optional<int32_t> eos_id() const override { return kEos; }
  bool adds_bos() const override { return special_; }
  bool adds_eos() const override { return special_; }

 private:
  const bool special_;
};

Task TaskOf(const char* layout, std::vector<TaskItem> items,
            const std::string& prefix = "") {
  Task task;
  task.name = layout;
  task.layout = FindTaskLayout(layout);
  task.prefixes = {prefix};
  for (TaskItem& item : items) {
    task.questions.push_back({std::move(item), "f.jsonl", 3, 0});
  }
  return task;
}

TaskItem Item(std::vector<std::string> contexts,
              std::vector<std::string> choices) {
  TaskItem item;
  item.contexts = std::move(contexts);
  item.choices = std::move(choices);
  return item;
}

TEST(TokenizeTask, ContextAndChoiceAreEncodedTogether) {
  const ByteTokenizer tokenizer(true);
  const auto tokens = TokenizeTask(
      tokenizer, 0, TaskOf("mmlu", {Item({"ab"}, {"tx", "u"})}), 2);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  const auto& choices = tokens->questions[0];
  // BOS a b | " t" x, and BOS a b | " " u: no EOS, BOS counts as context.
  EXPECT_THAT(choices[0].targets, ElementsAre(2000, 'x'));
  EXPECT_EQ(choices[0].begin, 3);
  EXPECT_EQ(choices[0].first_own, 0u);
  EXPECT_THAT(choices[1].targets, ElementsAre(' ', 'u'));
  EXPECT_THAT(tokens->windows[choices[0].window],
              ElementsAre(kBos, 'a', 'b', 2000));
  EXPECT_THAT(tokens->windows[choices[1].window],
              ElementsAre(kBos, 'a', 'b', ' '));
  EXPECT_EQ(tokens->n_tokens, 8);
}

// White space at the end of the context goes to the choice: "a:\n" and "x" are
// "a:" and "\n x".
TEST(TokenizeTask, WhiteSpaceBeforeAChoiceIsItsOwn) {
  const ByteTokenizer tokenizer(false);
  const auto tokens = TokenizeTask(
      tokenizer, 0, TaskOf("mmlu", {Item({"a:\n"}, {"x", "y"})}), 1);
  EXPECT_THAT(tokens->questions[0][0].targets, ElementsAre('\n', ' ', 'x'));
  EXPECT_EQ(tokens->questions[0][0].begin, 2);
}

TEST(TokenizeTask, LettersShareOneWindow) {
  const ByteTokenizer tokenizer(true);
  const auto tokens = TokenizeTask(
      tokenizer, 0,
      TaskOf("mmlu", {Item({"q"}, {"A", "B", "C"}), Item({"qr"}, {"A", "B"})}),
      1);
  ASSERT_THAT(tokens->windows, SizeIs(2));
  EXPECT_EQ(tokens->questions[0][0].window, tokens->questions[0][2].window);
  EXPECT_EQ(tokens->questions[1][0].window, tokens->questions[1][1].window);
  EXPECT_NE(tokens->questions[0][0].window, tokens->questions[1][0].window);
}

// "a t" begins "a tx y": the shorter one asks within the longer one's window.
TEST(TokenizeTask, AChoiceThatBeginsAnotherSharesItsWindow) {
  const ByteTokenizer tokenizer(false);
  const auto tokens = TokenizeTask(
      tokenizer, 0, TaskOf("arc", {Item({"a"}, {"tx y", "tx", "t"})}), 1);
  ASSERT_THAT(tokens->windows, SizeIs(1));
  EXPECT_THAT(tokens->windows[0], ElementsAre('a', 2000, 'x', ' '));
  EXPECT_THAT(tokens->questions[0][2].targets, ElementsAre(2000));
}

// The mean of acc_token is over what follows the tokens that all share; acc
// is over all tokens of the choice.
TEST(TokenizeTask, TokensThatAllChoicesBeginWith) {
  const ByteTokenizer tokenizer(false);
  const auto tokens = TokenizeTask(
      tokenizer, 0, TaskOf("hellaswag", {Item({"c"}, {"abx", "aby"})}), 1);
  const TokenizedChoice& choice = tokens->questions[0][0];
  EXPECT_THAT(choice.targets, ElementsAre(' ', 'a', 'b', 'x'));
  EXPECT_EQ(choice.first_own, 0u);
  EXPECT_EQ(choice.first_different, 3u);
}

TEST(TokenizeTask, EachNameOfWinograndeHasItsContext) {
  const ByteTokenizer tokenizer(false);
  const auto tokens = TokenizeTask(
      tokenizer, 0,
      TaskOf("winogrande", {Item({"an", "eve"}, {"x.", "x."})}, "p "), 1);
  const auto& choices = tokens->questions[0];
  EXPECT_THAT(choices[0].targets, ElementsAre(' ', 'x', '.'));
  EXPECT_EQ(choices[0].begin, 4);
  EXPECT_EQ(choices[1].begin, 5);
  EXPECT_THAT(tokens->windows[choices[1].window],
              ElementsAre('p', ' ', 'e', 'v', 'e', ' ', 'x'));
}

TEST(TokenizeTask, LongQuestionsLoseTheirBeginningButNotBos) {
  const ByteTokenizer tokenizer(true);
  const Task task = TaskOf("mmlu", {Item({"abcdef"}, {"x", "yz"})});
  const auto tokens = TokenizeTask(tokenizer, 5, task, 1);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->n_truncated, 1);
  const auto& choices = tokens->questions[0];
  EXPECT_THAT(tokens->windows[choices[0].window],
              ElementsAre(kBos, 'd', 'e', 'f', ' '));
  EXPECT_EQ(choices[0].begin, 4);
  EXPECT_THAT(tokens->windows[choices[1].window],
              ElementsAre(kBos, 'e', 'f', ' ', 'y'));
  EXPECT_EQ(choices[1].begin, 3);
  const auto too_long = TokenizeTask(tokenizer, 2, task, 1);
  ASSERT_FALSE(too_long.ok());
  EXPECT_THAT(std::string(too_long.status().message()),
              ::testing::HasSubstr("line 3; reading f.jsonl"));
}

// Without BOS nothing stands before the first token of an empty context.
TEST(TokenizeTask, AnEmptyContextBeginsWithBos) {
  const ByteTokenizer tokenizer(false);
  const auto tokens =
      TokenizeTask(tokenizer, 0, TaskOf("mmlu", {Item({""}, {"x", "y"})}), 1);
  EXPECT_THAT(tokens->questions[0][0].targets, ElementsAre(' ', 'x'));
  EXPECT_THAT(tokens->windows[0], ElementsAre(kBos, ' '));
}

}  // namespace
}  // namespace narrow
