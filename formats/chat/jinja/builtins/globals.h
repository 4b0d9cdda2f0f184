// Functions that every template has: range, dict, namespace, raise_exception,
// strftime_now.

#ifndef NARROW_FORMATS_CHAT_JINJA_BUILTINS_GLOBALS_H_
#define NARROW_FORMATS_CHAT_JINJA_BUILTINS_GLOBALS_H_

#include "absl/strings/string_view.h"

namespace narrow::jinja {

// Also of those that we lack (cycler, joiner, lipsum): calling them says so.
bool IsGlobal(absl::string_view name);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_BUILTINS_GLOBALS_H_
