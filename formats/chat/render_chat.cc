// Renders conversations with a chat template, for comparisons with other
// implementations (tools/clients/check_chat_templates.py).
//
//   render_chat < cases
//
// A case is a line of JSON: {"template": ..., "bos_token": ..., "eos_token":
// ..., "messages": [...], "add_generation_prompt": ..., "variables_json":
// "{...}", "now": ...}; of each comes one line: {"text": ...} or {"error":
// ...}.

#include <cstdio>
#include <iostream>
#include <string>

#include "formats/base/status.h"
#include "formats/chat/chat_template.h"
#include "formats/json/json.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

std::string TextOf(const JsonValue& root, absl::string_view name) {
  const auto value = root.FindNonNull(name);
  if (!value.has_value()) {
    return "";
  }
  const absl::StatusOr<absl::string_view> text = value->GetString();
  return text.ok() ? std::string(*text) : "";
}

absl::StatusOr<std::string> RenderCase(const std::string& line) {
  ASSIGN_OR_RETURN(const auto document, JsonDocument::Parse(line, "a case"));
  const JsonValue root = document->root();
  ASSIGN_OR_RETURN(
      const auto chat,
      ChatTemplate::Parse(TextOf(root, "template"), TextOf(root, "bos_token"),
                          TextOf(root, "eos_token"), "template"));
  ASSIGN_OR_RETURN(const JsonValue messages, root.Get("messages"));
  ChatRenderOptions options;
  const auto prompt = root.FindNonNull("add_generation_prompt");
  if (prompt.has_value()) {
    ASSIGN_OR_RETURN(options.add_generation_prompt, prompt->GetBool());
  }
  options.variables_json = TextOf(root, "variables_json");
  options.now = TextOf(root, "now");
  return chat->Render(messages, options);
}

}  // namespace
}  // namespace narrow

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    const absl::StatusOr<std::string> text = narrow::RenderCase(line);
    narrow::JsonWriter writer(narrow::JsonWriter::kCompact);
    writer.BeginObject();
    writer.Key(text.ok() ? "text" : "error")
        .String(text.ok() ? *text : text.status().ToString());
    writer.EndObject();
    std::cout << writer.text() << "\n";
  }
  return 0;
}
