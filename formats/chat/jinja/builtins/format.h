// Text made from patterns: '%s' % x, '{}'.format(x), strftime.

#ifndef NARROW_FORMATS_CHAT_JINJA_BUILTINS_FORMAT_H_
#define NARROW_FORMATS_CHAT_JINJA_BUILTINS_FORMAT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/arguments.h"
#include "formats/chat/jinja/runtime.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// `pattern` % `value`: %s, %r, %d, %i, %x, %f, %e, %g with flags, width and
// precision; names in parentheses with a dictionary. Unimplemented: others.
absl::StatusOr<Value> PercentFormat(Runtime& runtime, absl::string_view pattern,
                                    const Value& value);

// {}, {0}, {name}; Unimplemented: attributes, conversions and specifications.
absl::StatusOr<Value> BraceFormat(Runtime& runtime, absl::string_view pattern,
                                  const Arguments& arguments);

// strftime in the C locale of "2024-07-26" or "2024-07-26 13:05:00".
// Unimplemented: directives that we lack; InvalidArgument: no such date.
absl::StatusOr<std::string> FormatTime(absl::string_view now,
                                       absl::string_view pattern);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_BUILTINS_FORMAT_H_
