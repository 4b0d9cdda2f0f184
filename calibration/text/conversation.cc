// Tested by: conversation_test.

#include "calibration/text/conversation.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "formats/base/status.h"
#include "formats/json/json_copy.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

struct Message {
  bool is_assistant = false;
  std::string json;
};

absl::StatusOr<std::string> JsonText(const JsonValue& value) {
  JsonWriter json(JsonWriter::kCompact);
  RETURN_IF_ERROR(WriteJson(value, &json));
  return json.text();
}

absl::StatusOr<std::vector<Message>> MessagesOf(const JsonValue& messages) {
  if (!messages.is_array()) {
    return absl::InvalidArgumentError("the conversation is no list");
  }
  ASSIGN_OR_RETURN(const std::vector<JsonValue> elements,
                   messages.GetElements());
  std::vector<Message> result;
  for (const JsonValue& element : elements) {
    const auto role = element.Find("role");
    if (!role || !role->is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat("message ", result.size(),
                       " of the conversation is no object with a \"role\""));
    }
    Message message;
    message.is_assistant = *role->GetString() == "assistant";
    ASSIGN_OR_RETURN(message.json, JsonText(element));
    result.push_back(std::move(message));
  }
  if (result.empty()) {
    return absl::InvalidArgumentError("the conversation has no messages");
  }
  return result;
}

class Renderer {
 public:
  Renderer(const ChatTemplate& chat, const Tokenizer& tokenizer,
           std::vector<Message> messages, std::string variables)
      : chat_(chat),
        tokenizer_(tokenizer),
        messages_(std::move(messages)),
        variables_(std::move(variables)) {}

  const std::vector<Message>& messages() const { return messages_; }

  // The first n messages.
  absl::StatusOr<std::string> Text(size_t n, bool asks_for_answer) const {
    const std::string json = absl::StrCat(
        "[",
        absl::StrJoin(absl::MakeConstSpan(messages_).first(n), ",",
                      [](std::string* out, const Message& message) {
                        out->append(message.json);
                      }),
        "]");
    ASSIGN_OR_RETURN(const auto document,
                     JsonDocument::Parse(json, "the conversation"));
    ChatRenderOptions options;
    options.add_generation_prompt = asks_for_answer;
    options.variables_json = variables_;
    return chat_.Render(document->root(), options);
  }

  std::vector<int32_t> Ids(const std::string& text) const {
    EncodeOptions options;
    options.add_special = false;
    return tokenizer_.Encode(text, options);
  }

 private:
  const ChatTemplate& chat_;
  const Tokenizer& tokenizer_;
  const std::vector<Message> messages_;
  const std::string variables_;
};

size_t NCommon(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(n),
                    b.begin())
          .first -
      a.begin());
}

// Counts the tokens of message `m` of the whole conversation.
void CountTurn(const Renderer& renderer, size_t m, const std::string& whole,
               TokenRecord* record) {
  // A template may refuse a part of a conversation that it takes as a whole;
  // then nothing is known of this turn.
  const auto before = renderer.Text(m, /*asks_for_answer=*/false);
  const auto asked = renderer.Text(m, /*asks_for_answer=*/true);
  const auto answered = renderer.Text(m + 1, /*asks_for_answer=*/false);
  if (!before.ok() || !asked.ok() || !answered.ok() ||
      !absl::StartsWith(whole, *before)) {
    return;
  }
  const size_t first = NCommon(record->ids, renderer.Ids(*asked));
  const size_t end = NCommon(record->ids, renderer.Ids(*answered));
  for (size_t i = first; i < end; ++i) {
    record->counts[i] = 1;
  }
}

}  // namespace

absl::StatusOr<TokenRecord> TokenizeConversation(const ChatTemplate& chat,
                                                 const Tokenizer& tokenizer,
                                                 const JsonValue& messages,
                                                 const JsonValue* tools,
                                                 bool assistant_only) {
  ASSIGN_OR_RETURN(std::vector<Message> parts, MessagesOf(messages));
  std::string variables;
  if (tools != nullptr) {
    ASSIGN_OR_RETURN(const std::string text, JsonText(*tools));
    variables = absl::StrCat("{\"tools\":", text, "}");
  }
  const Renderer renderer(chat, tokenizer, std::move(parts),
                          std::move(variables));
  const size_t n = renderer.messages().size();
  ASSIGN_OR_RETURN(const std::string whole,
                   renderer.Text(n, /*asks_for_answer=*/false));
  TokenRecord record;
  record.ids = renderer.Ids(whole);
  record.counts.assign(record.ids.size(), assistant_only ? 0 : 1);
  for (size_t m = 0; assistant_only && m < n; ++m) {
    if (renderer.messages()[m].is_assistant) {
      CountTurn(renderer, m, whole, &record);
    }
  }
  return record;
}

}  // namespace narrow
