// Filters by name: `value | name(arguments)`.

#ifndef NARROW_FORMATS_CHAT_JINJA_BUILTINS_FILTERS_H_
#define NARROW_FORMATS_CHAT_JINJA_BUILTINS_FILTERS_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/arguments.h"
#include "formats/chat/jinja/runtime.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// InvalidArgument: no such filter, or a value that it does not take;
// Unimplemented: a filter of Jinja that we lack. Iterators that it gives call
// `runtime`, which must outlive them.
absl::StatusOr<Value> ApplyFilter(Runtime& runtime, absl::string_view name,
                                  const Value& value,
                                  const Arguments& arguments);

// Whether Jinja has a filter of this name.
bool IsFilter(absl::string_view name);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_BUILTINS_FILTERS_H_
