// Going through what can be gone through: lists, the characters of text, the
// keys of dictionaries, lazy iterators; undefined is empty.

#ifndef NARROW_FORMATS_CHAT_JINJA_ITERATE_H_
#define NARROW_FORMATS_CHAT_JINJA_ITERATE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "formats/chat/jinja/runtime.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// InvalidArgument for values that nothing can be taken from.
absl::StatusOr<NextFunction> Iterate(const Value& value);

// All of it; an iterator is used up.
absl::StatusOr<std::vector<Value>> ToVector(Runtime& runtime,
                                            const Value& value);

// Python's len(); InvalidArgument for what has none.
absl::StatusOr<int64_t> LengthOf(const Value& value);

// Whether Iterate would succeed.
bool IsIterable(const Value& value);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_ITERATE_H_
