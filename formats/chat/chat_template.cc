#include "formats/chat/chat_template.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/chat/jinja/interpreter.h"
#include "formats/chat/jinja/syntax/parser.h"
#include "formats/chat/json_values.h"

namespace narrow {
namespace {

using jinja::Dict;
using jinja::Value;

constexpr int64_t kMaxTemplateBytes = int64_t{1} << 24;
constexpr const char* kSpecialTokens[] = {
    "bos_token", "eos_token", "unk_token",  "sep_token",
    "pad_token", "cls_token", "mask_token",
};
// Names under which reasoning is passed, the standard one first.
constexpr const char* kReasoningNames[] = {"reasoning_content", "thinking",
                                           "reasoning"};

class JinjaChatTemplate final : public ChatTemplate {
 public:
  JinjaChatTemplate(jinja::Body body, Dict tokens, absl::string_view file)
      : body_(std::move(body)), tokens_(std::move(tokens)), file_(file) {}

  absl::StatusOr<std::string> Render(
      const JsonValue& messages,
      const ChatRenderOptions& options) const override {
    ASSIGN_OR_RETURN(const Dict variables, Variables(messages, options));
    absl::StatusOr<std::string> text =
        jinja::RenderBody(body_, variables, options.now);
    if (!text.ok()) {
      return Annotate(text.status(), absl::StrCat("rendering ", file_));
    }
    return text;
  }

 private:
  absl::StatusOr<Dict> Variables(const JsonValue& messages,
                                 const ChatRenderOptions& options) const {
    Dict variables = tokens_;
    ASSIGN_OR_RETURN(Value list, MessageList(messages));
    variables.Set(Value::Text("messages"), list);
    variables.Set(Value::Text("tools"), Value::None());
    variables.Set(Value::Text("documents"), Value::None());
    variables.Set(Value::Text("add_generation_prompt"),
                  Value::Bool(options.add_generation_prompt));
    if (!options.variables_json.empty()) {
      ASSIGN_OR_RETURN(
          const auto document,
          JsonDocument::Parse(options.variables_json, "template variables"));
      ASSIGN_OR_RETURN(const Value more, ToTemplateValue(document->root()));
      if (!more.is_dict()) {
        return absl::InvalidArgumentError(
            "the variables of a template are no JSON object");
      }
      for (const auto& [name, value] : more.dict().members) {
        variables.Set(name, value);
      }
    }
    return variables;
  }

  static absl::StatusOr<Value> MessageList(const JsonValue& messages) {
    ASSIGN_OR_RETURN(const Value list, ToTemplateValue(messages));
    if (!list.is_list()) {
      return absl::InvalidArgumentError("a conversation is no JSON array");
    }
    std::vector<Value> items;
    for (const Value& message : list.items()) {
      if (!message.is_dict()) {
        return absl::InvalidArgumentError(
            absl::StrCat("message ", items.size(), " is no JSON object"));
      }
      items.push_back(WithReasoning(message));
    }
    return Value::List(std::move(items));
  }

  static Value WithReasoning(const Value& message) {
    const Value* reasoning = nullptr;
    for (const char* name : kReasoningNames) {
      const Value* value = message.dict().Find(name);
      if (reasoning == nullptr && value != nullptr && !value->is_none()) {
        reasoning = value;
      }
    }
    if (reasoning == nullptr) {
      return message;
    }
    Dict dict;
    dict.Set(Value::Text("thinking"), *reasoning);
    for (const auto& [name, value] : message.dict().members) {
      dict.Set(name, value);
    }
    dict.Set(Value::Text("reasoning_content"), *reasoning);
    return Value::Of(std::move(dict));
  }

  const jinja::Body body_;
  const Dict tokens_;
  const std::string file_;
};

absl::StatusOr<std::unique_ptr<const ChatTemplate>> New(
    absl::string_view text, Dict tokens, absl::string_view file) {
  if (!utf8::IsValid(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a chat template that is not UTF-8; reading ", file));
  }
  absl::StatusOr<jinja::Body> body = jinja::ParseTemplate(text);
  if (!body.ok()) {
    return Annotate(body.status(), absl::StrCat("reading ", file));
  }
  return std::unique_ptr<const ChatTemplate>(
      std::make_unique<const JinjaChatTemplate>(*std::move(body),
                                                std::move(tokens), file));
}

void AddToken(absl::string_view name, absl::string_view token, Dict* tokens) {
  if (tokens->Find(name) == nullptr) {
    tokens->Set(Value::Text(name), Value::Text(utf8::ToValid(token)));
  }
}

// A token is a string, or an object that has it as "content".
void AddJsonToken(absl::string_view name, const JsonValue& json, Dict* tokens) {
  const std::optional<JsonValue> content = json.FindNonNull("content");
  const absl::StatusOr<absl::string_view> token =
      content.has_value() ? content->GetString() : json.GetString();
  if (token.ok()) {
    AddToken(name, *token, tokens);
  }
}

void AddJsonTokens(const JsonValue& root, Dict* tokens) {
  for (const char* name : kSpecialTokens) {
    if (const auto token = root.FindNonNull(name)) {
      AddJsonToken(name, *token, tokens);
    }
  }
  // Tokens of one model's own: "image_token".
  const auto extra = root.FindNonNull("extra_special_tokens");
  if (extra.has_value() && extra->is_object()) {
    const auto members = extra->GetMembers();
    for (size_t i = 0; members.ok() && i < members->size(); ++i) {
      AddJsonToken((*members)[i].first, (*members)[i].second, tokens);
    }
  }
}

// "chat_template": a string, or a list of {"name", "template"}.
absl::StatusOr<std::string> TemplateOf(const JsonValue& value) {
  if (!value.is_array()) {
    ASSIGN_OR_RETURN(const absl::string_view text, value.GetString());
    return std::string(text);
  }
  ASSIGN_OR_RETURN(const auto elements, value.GetElements());
  for (const JsonValue& element : elements) {
    ASSIGN_OR_RETURN(const JsonValue name, element.Get("name"));
    ASSIGN_OR_RETURN(const absl::string_view name_text, name.GetString());
    if (name_text == "default") {
      ASSIGN_OR_RETURN(const JsonValue text, element.Get("template"));
      ASSIGN_OR_RETURN(const absl::string_view template_text, text.GetString());
      return std::string(template_text);
    }
  }
  return absl::NotFoundError(
      value.Error("no chat template is named 'default'").message());
}

absl::Status NoTemplate(absl::string_view where) {
  return absl::NotFoundError(absl::StrCat("no chat template in ", where));
}

// The text of the token that key `id_key` names; nothing if it names none.
void AddMetadataToken(const Metadata& metadata,
                      const std::vector<std::string>& vocabulary,
                      absl::string_view id_key, absl::string_view name,
                      Dict* tokens) {
  const auto id = metadata.GetInteger(id_key);
  if (id.has_value() && *id >= 0 &&
      *id < static_cast<int64_t>(vocabulary.size())) {
    AddToken(name, vocabulary[static_cast<size_t>(*id)], tokens);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ChatTemplate::Parse(
    absl::string_view jinja, absl::string_view bos_token,
    absl::string_view eos_token, absl::string_view file) {
  Dict tokens;
  if (!bos_token.empty()) {
    AddToken("bos_token", bos_token, &tokens);
  }
  if (!eos_token.empty()) {
    AddToken("eos_token", eos_token, &tokens);
  }
  return New(jinja, std::move(tokens), file);
}

absl::StatusOr<std::unique_ptr<const ChatTemplate>>
ChatTemplate::FromHfDirectory(absl::string_view folder) {
  Dict tokens;
  std::string text;
  std::string file;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json",
                           "chat_template.json"}) {
    const std::string path = JoinPath(folder, name);
    if (!FileExists(path)) {
      continue;
    }
    ASSIGN_OR_RETURN(const auto document, JsonDocument::ReadFile(path));
    AddJsonTokens(document->root(), &tokens);
    const auto value = document->root().FindNonNull("chat_template");
    if (value.has_value() && file.empty()) {
      ASSIGN_OR_RETURN(text, TemplateOf(*value));
      file = path;
    }
  }
  const std::string path = JoinPath(folder, "chat_template.jinja");
  if (FileExists(path)) {
    ASSIGN_OR_RETURN(text, ReadTextFile(path, kMaxTemplateBytes));
    file = path;
  }
  if (file.empty()) {
    return NoTemplate(folder);
  }
  return New(text, std::move(tokens), file);
}

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ChatTemplate::FromMetadata(
    const Metadata& metadata) {
  const auto text = metadata.GetString("tokenizer.chat_template");
  if (!text.has_value()) {
    return NoTemplate("the file's metadata");
  }
  Dict tokens;
  const MetadataValue* list = metadata.Find("tokenizer.ggml.tokens");
  if (list != nullptr &&
      std::holds_alternative<std::vector<std::string>>(*list)) {
    const auto& vocabulary = std::get<std::vector<std::string>>(*list);
    AddMetadataToken(metadata, vocabulary, "tokenizer.ggml.bos_token_id",
                     "bos_token", &tokens);
    AddMetadataToken(metadata, vocabulary, "tokenizer.ggml.eos_token_id",
                     "eos_token", &tokens);
    AddMetadataToken(metadata, vocabulary, "tokenizer.ggml.unknown_token_id",
                     "unk_token", &tokens);
    AddMetadataToken(metadata, vocabulary, "tokenizer.ggml.padding_token_id",
                     "pad_token", &tokens);
  }
  return New(*text, std::move(tokens), "tokenizer.chat_template");
}

}  // namespace narrow
