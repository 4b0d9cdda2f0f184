// + - * / // % ** and `in`, as Python has them.

#ifndef NARROW_FORMATS_CHAT_JINJA_OPERATORS_H_
#define NARROW_FORMATS_CHAT_JINJA_OPERATORS_H_

#include "absl/status/statusor.h"
#include "formats/chat/jinja/runtime.h"
#include "formats/chat/jinja/syntax/syntax.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// Arithmetic and comparisons. InvalidArgument for kinds that do not go
// together; Unimplemented for integers that leave 64 bits.
absl::StatusOr<Value> Apply(Runtime& runtime, Operator op, const Value& a,
                            const Value& b);

absl::StatusOr<Value> Negate(const Value& value);

// `item` in `container`.
absl::StatusOr<bool> Contains(Runtime& runtime, const Value& container,
                              const Value& item);

// & < > " ' as HTML entities.
std::string EscapeHtml(absl::string_view text);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_OPERATORS_H_
