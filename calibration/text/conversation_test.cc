// Masks of an assistant's tokens, with templates written in C++.

#include "calibration/text/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

struct Turn {
  std::string role, content;
};

// Renders by a function of all turns and whether an answer is asked for.
class FakeTemplate : public ChatTemplate {
 public:
  using Function = std::function<absl::StatusOr<std::string>(
      const std::vector<Turn>&, bool, const std::string&)>;
  explicit FakeTemplate(Function function) : function_(std::move(function)) {}

  absl::StatusOr<std::string> Render(
      const JsonValue& messages,
      const ChatRenderOptions& options) const override {
    std::vector<Turn> turns;
    const auto elements = messages.GetElements();
    for (const JsonValue& m : *elements) {
      turns.push_back({std::string(*m.Find("role")->GetString()),
                       std::string(*m.Find("content")->GetString())});
    }
    return function_(turns, options.add_generation_prompt,
                     options.variables_json);
  }

 private:
  const Function function_;
};

// "<|begin_of_text|>role: content<|end_of_text|>" for each turn.
std::string Plain(const std::vector<Turn>& turns, bool asks,
                  const std::string& variables) {
  std::string text = variables;
  for (const Turn& turn : turns) {
    absl::StrAppend(&text, "<|begin_of_text|>", turn.role, ":\n", turn.content,
                    "<|end_of_text|>");
  }
  if (asks) {
    absl::StrAppend(&text, "<|begin_of_text|>assistant:\n");
  }
  return text;
}

class ConversationTest : public testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = Tokenizer::FromHfDirectory("testdata/tiny-llama");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  absl::StatusOr<TokenRecord> Tokenize(FakeTemplate::Function function,
                                       const std::string& messages,
                                       bool assistant_only,
                                       const std::string& tools = "") {
    auto document = JsonDocument::Parse(messages, "messages");
    EXPECT_TRUE(document.ok()) << document.status();
    const FakeTemplate chat(std::move(function));
    if (tools.empty()) {
      return TokenizeConversation(chat, *tokenizer_, (*document)->root(),
                                  nullptr, assistant_only);
    }
    auto list = JsonDocument::Parse(tools, "tools");
    const JsonValue root = (*list)->root();
    return TokenizeConversation(chat, *tokenizer_, (*document)->root(), &root,
                                assistant_only);
  }

  // The text of the tokens that count, runs apart.
  std::vector<std::string> Counted(const TokenRecord& record) {
    std::vector<std::string> runs;
    std::vector<int32_t> run;
    for (size_t i = 0; i <= record.ids.size(); ++i) {
      if (i < record.ids.size() && record.counts[i] == 1) {
        run.push_back(record.ids[i]);
      } else if (!run.empty()) {
        runs.push_back(tokenizer_->Decode(run, /*skip_special=*/false));
        run.clear();
      }
    }
    return runs;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

constexpr char kTwoTurns[] =
    R"([{"role":"system","content":"Be brief."},
        {"role":"user","content":"What is it?"},
        {"role":"assistant","content":"A tree.","n":12345678901},
        {"role":"user","content":"And that?"},
        {"role":"assistant","content":"The house of \"é\"."}])";

TEST_F(ConversationTest, CountsAllOrTheAssistantsTokens) {
  auto all = Tokenize(Plain, kTwoTurns, /*assistant_only=*/false);
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_EQ(Counted(*all).size(), 1u);
  EXPECT_EQ(Counted(*all)[0],
            "<|begin_of_text|>system:\nBe brief.<|end_of_text|>"
            "<|begin_of_text|>user:\nWhat is it?<|end_of_text|>"
            "<|begin_of_text|>assistant:\nA tree.<|end_of_text|>"
            "<|begin_of_text|>user:\nAnd that?<|end_of_text|>"
            "<|begin_of_text|>assistant:\nThe house of \"é\".<|end_of_text|>");
  auto masked = Tokenize(Plain, kTwoTurns, /*assistant_only=*/true);
  ASSERT_TRUE(masked.ok()) << masked.status();
  EXPECT_EQ(masked->ids, all->ids);
  EXPECT_EQ(Counted(*masked),
            std::vector<std::string>({"A tree.<|end_of_text|>",
                                      "The house of \"é\".<|end_of_text|>"}));
}

TEST_F(ConversationTest, GivesToolsToTheTemplate) {
  const auto record =
      Tokenize(Plain, kTwoTurns, true, R"([{"name":"f","limit":3}])");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_THAT(tokenizer_->Decode(record->ids, false),
              HasSubstr(R"({"tools":[{"name":"f","limit":3}]})"));
  EXPECT_EQ(Counted(*record).size(), 2u);
}

// As templates of reasoning models do: only the last answer keeps what is in
// brackets, and answers are asked for with an opened bracket.
TEST_F(ConversationTest, CountsWhatRewritingLeaves) {
  const auto rewriting = [](const std::vector<Turn>& turns, bool asks,
                            const std::string& variables) {
    std::vector<Turn> shown = turns;
    for (size_t i = 0; i + 1 < shown.size(); ++i) {
      const size_t end = shown[i].content.find(']');
      if (shown[i].role == "assistant" && end != std::string::npos) {
        shown[i].content = shown[i].content.substr(end + 1);
      }
    }
    return Plain(shown, asks, variables) + (asks ? "[" : "");
  };
  const auto record = Tokenize(rewriting,
                               R"([{"role":"user","content":"One?"},
          {"role":"assistant","content":"[hmm]It is one."},
          {"role":"user","content":"Two?"},
          {"role":"assistant","content":"[so]It is two."}])",
                               /*assistant_only=*/true);
  ASSERT_TRUE(record.ok()) << record.status();
  // Of the first answer nothing is sure; of the second all but the bracket
  // that asked for it.
  const std::vector<std::string> counted = Counted(*record);
  ASSERT_EQ(counted.size(), 1u);
  EXPECT_EQ(counted[0], "so]It is two.<|end_of_text|>");
}

// Each part changes all of what comes before.
TEST_F(ConversationTest, CountsNothingWhereNothingIsSure) {
  const auto numbered = [](const std::vector<Turn>& turns, bool asks,
                           const std::string& variables) {
    return absl::StrCat(turns.size(), Plain(turns, asks, variables));
  };
  const auto record = Tokenize(numbered, kTwoTurns, /*assistant_only=*/true);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_TRUE(Counted(*record).empty());
}

TEST_F(ConversationTest, ErrorsSayWhatIsWrong) {
  const auto error = [&](const char* messages) {
    return std::string(Tokenize(Plain, messages, true).status().message());
  };
  EXPECT_THAT(error("{}"), HasSubstr("no list"));
  EXPECT_THAT(error("[]"), HasSubstr("has no messages"));
  EXPECT_THAT(error(R"([{"role":"user","content":"a"},{"from":"gpt"}])"),
              HasSubstr("message 1 of the conversation is no object with a "
                        "\"role\""));
  EXPECT_THAT(error("[3]"), HasSubstr("message 0"));
  const auto refusing = [](const std::vector<Turn>&, bool,
                           const std::string&) -> absl::StatusOr<std::string> {
    return absl::InvalidArgumentError("roles must alternate");
  };
  EXPECT_THAT(
      std::string(Tokenize(refusing, kTwoTurns, false).status().message()),
      HasSubstr("roles must alternate"));
}

}  // namespace
}  // namespace narrow
