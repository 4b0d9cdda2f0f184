// Tests by name: `value is name(arguments)`.

#ifndef NARROW_FORMATS_CHAT_JINJA_BUILTINS_TESTS_H_
#define NARROW_FORMATS_CHAT_JINJA_BUILTINS_TESTS_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/arguments.h"
#include "formats/chat/jinja/runtime.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// InvalidArgument: no such test, or a value that it does not take.
absl::StatusOr<bool> ApplyTest(Runtime& runtime, absl::string_view name,
                               const Value& value, const Arguments& arguments);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_BUILTINS_TESTS_H_
