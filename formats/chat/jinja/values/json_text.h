// Values as JSON, as Python's json.dumps writes it.

#ifndef NARROW_FORMATS_CHAT_JINJA_VALUES_JSON_TEXT_H_
#define NARROW_FORMATS_CHAT_JINJA_VALUES_JSON_TEXT_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

struct JsonTextOptions {
  bool ensure_ascii = false;
  std::optional<std::string> indent;  // of one level; none: in one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};

// InvalidArgument for values that JSON has not.
absl::StatusOr<std::string> ToJsonText(const Value& value,
                                       const JsonTextOptions& options);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_VALUES_JSON_TEXT_H_
