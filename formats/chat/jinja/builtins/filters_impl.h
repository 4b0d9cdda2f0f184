// Every filter's function, declared from its row, and what they share.

#ifndef NARROW_FORMATS_CHAT_JINJA_BUILTINS_FILTERS_IMPL_H_
#define NARROW_FORMATS_CHAT_JINJA_BUILTINS_FILTERS_IMPL_H_

#include "absl/status/statusor.h"
#include "formats/chat/jinja/arguments.h"
#include "formats/chat/jinja/runtime.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

#define F(name, function)                                              \
  absl::StatusOr<Value> function(Runtime& runtime, const Value& value, \
                                 const Arguments& arguments);
#define L(name)
#include "formats/chat/jinja/builtins/filters.inc"
#undef F
#undef L

// Text in lower case unless `case_sensitive`; other values as they are.
Value SortKey(const Value& value, bool case_sensitive);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_BUILTINS_FILTERS_IMPL_H_
