// Conversations as a model's chat template renders them.
//
//   ASSIGN_OR_RETURN(auto chat, ChatTemplate::FromHfDirectory(folder));
//   ASSIGN_OR_RETURN(std::string text, chat->Render(messages, options));
//
// Templates are Jinja; what the transformers library allows in them (its
// sandboxed environment: trim_blocks, lstrip_blocks, loop controls, tojson,
// raise_exception, strftime_now, the generation block) works here too, and
// gives the same text, or Unimplemented with what we lack. A message with
// reasoning_content, thinking or reasoning has it under the first two names,
// as in transformers 5. Immutable, safe to share between threads.

#ifndef NARROW_FORMATS_CHAT_CHAT_TEMPLATE_H_
#define NARROW_FORMATS_CHAT_CHAT_TEMPLATE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"
#include "formats/metadata.h"

namespace narrow {

struct ChatRenderOptions {
  bool add_generation_prompt = false;
  // A JSON object of further variables ("tools", "enable_thinking"); empty:
  // none.
  std::string variables_json;
  // What strftime_now tells, "2024-07-26" or "2024-07-26 13:05:00": never the
  // clock, so that text does not depend on when it was made.
  std::string now = "2024-07-26";
};

class ChatTemplate {
 public:
  // chat_template.jinja, or "chat_template" of tokenizer_config.json (a string,
  // or a list of named ones, of which "default"). NotFound if there is none.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> FromHfDirectory(
      absl::string_view folder);
  // tokenizer.chat_template of a GGUF file.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> FromMetadata(
      const Metadata& metadata);
  // InvalidArgument: text that does not parse, with line; Unimplemented: what
  // we lack, named. A token that is empty is undefined in the template.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> Parse(
      absl::string_view jinja, absl::string_view bos_token,
      absl::string_view eos_token, absl::string_view file);
  virtual ~ChatTemplate() = default;

  // `messages`: a JSON array of objects with "role" and "content".
  // InvalidArgument: what the template refuses (raise_exception), with its
  // words; a step or size limit that no real template reaches.
  virtual absl::StatusOr<std::string> Render(
      const JsonValue& messages, const ChatRenderOptions& options) const = 0;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_CHAT_CHAT_TEMPLATE_H_
