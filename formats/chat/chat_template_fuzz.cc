// Any bytes as a chat template: refused, or rendered within its limits.

#include <cstdint>
#include <cstdlib>

#include "absl/strings/string_view.h"
#include "formats/base/text/utf8.h"
#include "formats/chat/chat_template.h"
#include "formats/json/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto chat = narrow::ChatTemplate::Parse(text, "<s>", "</s>", "fuzz");
  if (!chat.ok()) {
    return 0;
  }
  const auto messages = narrow::JsonDocument::Parse(
      R"([{"role": "user", "content": "Hi é", "n": [1, 2.5, null, true]},
          {"role": "assistant", "content": [{"type": "text", "text": "x"}]}])",
      "messages");
  narrow::ChatRenderOptions options;
  options.add_generation_prompt = true;
  options.variables_json = R"({"tools": [{"name": "f", "items": {"a": 1}}]})";
  const auto rendered = (*chat)->Render((*messages)->root(), options);
  if (rendered.ok() && !narrow::utf8::IsValid(*rendered)) {
    std::abort();
  }
  return 0;
}
