#include "formats/chat/chat_template.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/json/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

std::string TextOf(const JsonValue& object, absl::string_view name) {
  return std::string(object.Get(name)->GetString().value());
}

absl::StatusOr<std::string> Render(absl::string_view jinja,
                                   absl::string_view messages = "[]",
                                   const ChatRenderOptions& options = {}) {
  const auto document = JsonDocument::Parse(messages, "messages");
  auto chat = ChatTemplate::Parse(jinja, "<s>", "</s>", "t.jinja");
  if (!chat.ok()) {
    return chat.status();
  }
  return (*chat)->Render((*document)->root(), options);
}

// The source text of a member of the goldens, by its first and last bytes.
std::string Slice(const std::string& text, const std::string& from,
                  const std::string& to) {
  const size_t begin = text.find(from) + from.size();
  return text.substr(begin, text.find(to, begin) - begin);
}

TEST(ChatTemplate, RendersAsTransformers) {
  const std::string path = "testdata/chat/goldens.json";
  const auto text = ReadTextFile(path, 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto goldens = JsonDocument::Parse(*text, path);
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  const JsonValue messages = *(*goldens)->root().Get("messages");
  ChatRenderOptions options;
  options.add_generation_prompt = true;
  options.variables_json = Slice(*text, "\n \"variables\": ", ",\n \"cases\"");
  int n_texts = 0;
  const auto cases = (*goldens)->root().Get("cases")->GetElements();
  for (const JsonValue& one : *cases) {
    const std::string jinja = TextOf(one, "template");
    SCOPED_TRACE(jinja);
    const auto chat = ChatTemplate::Parse(jinja, "<s>", "</s>", "t.jinja");
    const auto ours =
        chat.ok() ? (*chat)->Render(messages, options) : chat.status();
    if (one.Find("refused").has_value()) {
      EXPECT_EQ(ours.status().code(), absl::StatusCode::kInvalidArgument)
          << ours.status() << ", theirs: " << TextOf(one, "refused");
    } else {
      EXPECT_EQ(ours.value_or(ours.status().ToString()), TextOf(one, "text"));
      ++n_texts;
    }
  }
  EXPECT_GT(n_texts, 60);
}

TEST(ChatTemplate, RefusesInTheTemplatesWords) {
  const absl::Status status =
      Render("a\n{{ raise_exception('roles must alternate') }}").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "roles must alternate; at line 2 of the template; rendering "
            "t.jinja");
}

TEST(ChatTemplate, NamesWhatItLacks) {
  for (const auto& [jinja, words] :
       {std::pair<const char*, const char*>{"{% include 'x' %}", "include"},
        {"{% block a %}{% endblock %}", "block"},
        {"{{ 'a' | urlencode }}", "urlencode"},
        {"{{ 'a'.swapcase() }}", "swapcase"},
        {"{{ 9999999999999999999 }}", "64 bits"},
        {"{{ 9223372036854775807 + 1 }}", "64 bits"},
        {"{{ messages | map('upper') }}", "generator"},
        {"{{ joiner() }}", "joiner"},
        {"{{ ('a' | safe).upper() }}", "safe"},
        {"{{ '{:>3}'.format(1) }}", ":>3"},
        {"{{ strftime_now('%U') }}", "%U"}}) {
    const absl::Status status = Render(jinja).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << jinja;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    EXPECT_THAT(std::string(status.message()), HasSubstr("t.jinja"));
  }
}

// Each would use up time, memory or the stack.
TEST(ChatTemplate, BoundsWhatATemplateTakes) {
  const std::string deep(100000, '(');
  std::string sum = "{{ 1";
  for (int i = 0; i < 100000; ++i) {
    sum += " + 1";
  }
  std::string nested;
  for (int i = 0; i < 10000; ++i) {
    nested += "{% if true %}";
  }
  for (const std::string& jinja :
       {std::string("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
        std::string("{% for a in range(99999) %}{% for b in range(99999) %}"
                    "{% endfor %}{% endfor %}"),
        std::string("{{ 'x' * 99999999999 }}"),
        std::string("{% set n = namespace(x='x') %}{% for i in range(99) %}"
                    "{% set n.x = n.x + n.x %}{% endfor %}"),
        std::string("{% set n = namespace(x=[]) %}{% for i in range(9999) %}"
                    "{% set n.x = [n.x] %}{% endfor %}"),
        std::string("{{ range(99999999) }}"),
        std::string("{% for i in range(99999) %}{{ 'x' * 9999999 }}"
                    "{% endfor %}"),
        "{{ " + deep, sum + " }}", nested}) {
    const absl::Status status = Render(jinja).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << jinja.substr(0, 100);
  }
}

TEST(ChatTemplate, TellsTheDateItIsGiven) {
  ChatRenderOptions options;
  EXPECT_EQ(*Render("{{ strftime_now('%d %b %Y') }}", "[]", options),
            "26 Jul 2024");
  options.now = "2025-02-03 14:05:06";
  EXPECT_EQ(
      *Render("{{ strftime_now('%a %-d %B %Y %I:%M:%S %p') }}", "[]", options),
      "Mon 3 February 2025 02:05:06 PM");
  options.now = "yesterday";
  EXPECT_FALSE(Render("{{ strftime_now('%Y') }}", "[]", options).ok());
}

TEST(ChatTemplate, ShowsReasoningUnderBothNames) {
  constexpr char kTemplate[] =
      "{{ messages[0] }}{{ messages[0].reasoning_content }}";
  EXPECT_EQ(*Render(kTemplate, R"([{"role": "x", "reasoning": "why"}])"),
            "{'thinking': 'why', 'role': 'x', 'reasoning': 'why', "
            "'reasoning_content': 'why'}why");
  EXPECT_EQ(*Render(kTemplate, R"([{"role": "x", "thinking": null}])"),
            "{'role': 'x', 'thinking': None}");
}

TEST(ChatTemplate, RefusesWhatIsNoConversation) {
  EXPECT_FALSE(Render("x", R"({"role": "user"})").ok());
  EXPECT_FALSE(Render("x", R"(["user"])").ok());
  EXPECT_FALSE(Render("x", R"([{"content": 12345678901234567890}])").ok());
  ChatRenderOptions options;
  options.variables_json = "[]";
  EXPECT_FALSE(Render("x", "[]", options).ok());
  EXPECT_FALSE(Render("\xff").ok());
}

class ChatTemplateFolderTest : public testing::Test {
 protected:
  void Write(absl::string_view name, absl::string_view text) {
    ASSERT_TRUE(WriteTextFile(JoinPath(folder_, name), text).ok());
  }
  absl::StatusOr<std::string> RenderFolder() {
    auto chat = ChatTemplate::FromHfDirectory(folder_);
    if (!chat.ok()) {
      return chat.status();
    }
    const auto document = JsonDocument::Parse("[]", "messages");
    return (*chat)->Render((*document)->root(), {});
  }

  const std::string folder_ = absl::StrCat(
      testing::TempDir(), "/",
      testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(ChatTemplateFolderTest, ReadsTheTokenizersConfiguration) {
  Write("tokenizer_config.json",
        R"({"bos_token": {"content": "<b>"}, "eos_token": "<e>",
            "extra_special_tokens": {"image_token": "<i>"},
            "chat_template": "{{ bos_token ~ eos_token ~ image_token }}"})");
  EXPECT_EQ(*RenderFolder(), "<b><e><i>");
  Write("special_tokens_map.json", R"({"eos_token": "no", "pad_token": "p"})");
  Write("chat_template.jinja", "{{ eos_token ~ pad_token }}");
  EXPECT_EQ(*RenderFolder(), "<e>p");
}

TEST_F(ChatTemplateFolderTest, TakesTheDefaultOfNamedTemplates) {
  Write("tokenizer_config.json",
        R"({"chat_template": [{"name": "rag", "template": "no"},
                              {"name": "default", "template": "yes"}]})");
  EXPECT_EQ(*RenderFolder(), "yes");
  Write("tokenizer_config.json",
        R"({"chat_template": [{"name": "rag", "template": "no"}]})");
  EXPECT_EQ(RenderFolder().status().code(), absl::StatusCode::kNotFound);
  Write("tokenizer_config.json", "{}");
  EXPECT_EQ(RenderFolder().status().code(), absl::StatusCode::kNotFound);
}

TEST(ChatTemplate, ReadsGgufMetadata) {
  Metadata metadata;
  EXPECT_EQ(ChatTemplate::FromMetadata(metadata).status().code(),
            absl::StatusCode::kNotFound);
  metadata.Set("tokenizer.chat_template", std::string("{{ bos_token }}!"));
  metadata.Set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "<s>"});
  metadata.Set("tokenizer.ggml.bos_token_id", uint32_t{1});
  const auto chat = ChatTemplate::FromMetadata(metadata);
  ASSERT_TRUE(chat.ok()) << chat.status();
  const auto document = JsonDocument::Parse("[]", "messages");
  EXPECT_EQ(*(*chat)->Render((*document)->root(), {}), "<s>!");
}

}  // namespace
}  // namespace narrow
