// Tested by: text_kind_test.

#include "calibration/text/text_kind.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/text/json_lines.h"
#include "formats/base/status.h"

namespace narrow {

std::string FieldOf(TextKind kind, const std::string& field) {
  if (!field.empty()) {
    return field;
  }
  return kind == TextKind::kChat ? "messages" : "text";
}

absl::StatusOr<TextKind> DetectKind(absl::string_view bytes,
                                    const std::string& path,
                                    const std::string& field) {
  JsonLines lines(bytes, path);
  if (!lines.Next()) {
    return TextKind::kPlain;
  }
  const auto document = lines.Parse();
  if (!document.ok()) {
    if (absl::EndsWithIgnoreCase(path, ".jsonl") ||
        absl::EndsWithIgnoreCase(path, ".json")) {
      return Annotate(document.status(),
                      "by its name the file has a JSON object a line");
    }
    return TextKind::kPlain;
  }
  const JsonValue root = (*document)->root();
  const auto list = root.Find(FieldOf(TextKind::kChat, field));
  if (list && list->is_array()) {
    return TextKind::kChat;
  }
  const auto text = root.Find(FieldOf(TextKind::kJsonl, field));
  if (text && text->is_string()) {
    return TextKind::kJsonl;
  }
  return lines.Error(
      field.empty()
          ? std::string("the object has neither a text \"text\" nor a list "
                        "\"messages\"; name the field to read")
          : absl::StrCat(
                "the object's field ", QuotedName(field),
                list ? " is neither a text nor a list" : " is missing"));
}

}  // namespace narrow
