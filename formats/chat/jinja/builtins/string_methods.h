// Methods of text: x.strip(), x.split(","), x.startswith("a").

#ifndef NARROW_FORMATS_CHAT_JINJA_BUILTINS_STRING_METHODS_H_
#define NARROW_FORMATS_CHAT_JINJA_BUILTINS_STRING_METHODS_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/arguments.h"
#include "formats/chat/jinja/runtime.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// Unimplemented: methods of Python's str that we lack, and any of text that
// is marked as safe. REQUIRES: self.is_string().
absl::StatusOr<Value> CallStringMethod(Runtime& runtime, const Value& self,
                                       absl::string_view name,
                                       const Arguments& arguments);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_BUILTINS_STRING_METHODS_H_
