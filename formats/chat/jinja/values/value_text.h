// Values as text: what `{{ }}` prints and what Python's repr gives.

#ifndef NARROW_FORMATS_CHAT_JINJA_VALUES_VALUE_TEXT_H_
#define NARROW_FORMATS_CHAT_JINJA_VALUES_VALUE_TEXT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// Appends str(value). Unimplemented for what has no text of its own (a macro,
// a generator), whose address Python would print.
absl::Status AppendText(const Value& value, std::string* out);
absl::StatusOr<std::string> ToText(const Value& value);

// Appends repr(value).
absl::Status AppendRepr(const Value& value, std::string* out);

// The fewest digits that read back as the same double: 1.0, 1e+16, 1e-05.
std::string FloatText(double value);
// A literal of Python: quoted, with escapes for what is not printable.
std::string QuotedText(absl::string_view text);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_VALUES_VALUE_TEXT_H_
