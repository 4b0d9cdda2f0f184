// What a dot and brackets give: attributes, items, slices, methods.
//
// x.name looks for an attribute of Python's object first, then for an item;
// x['name'] the other way round. So x.items is a method, even of a dictionary
// that has such a key. Methods that would change a value do not exist, as in
// Jinja's immutable sandbox.

#ifndef NARROW_FORMATS_CHAT_JINJA_ATTRIBUTES_H_
#define NARROW_FORMATS_CHAT_JINJA_ATTRIBUTES_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/arguments.h"
#include "formats/chat/jinja/runtime.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// Undefined if there is none. InvalidArgument: attributes of undefined.
absl::StatusOr<Value> GetAttribute(const Value& value, absl::string_view name);
absl::StatusOr<Value> GetItem(const Value& value, const Value& key);

// value[start:stop:step]; bounds are None where they are not given.
absl::StatusOr<Value> GetSlice(Runtime& runtime, const Value& value,
                               const Value& start, const Value& stop,
                               const Value& step);

// "a.0.b" and numbers, as `map(attribute=)` takes them, item by item.
absl::StatusOr<Value> GetPath(const Value& value, const Value& path);

// Calls what GetAttribute gave. Unimplemented: methods that we lack.
absl::StatusOr<Value> CallMethod(Runtime& runtime, const MethodData& method,
                                 const Arguments& arguments);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_ATTRIBUTES_H_
