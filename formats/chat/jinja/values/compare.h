// == and < between values, as Python has them.

#ifndef NARROW_FORMATS_CHAT_JINJA_VALUES_COMPARE_H_
#define NARROW_FORMATS_CHAT_JINJA_VALUES_COMPARE_H_

#include "absl/status/statusor.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// Numbers compare across their types; undefined equals undefined.
bool Equal(const Value& a, const Value& b);

// Whether a < b. InvalidArgument for kinds without an order.
absl::StatusOr<bool> Less(const Value& a, const Value& b);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_VALUES_COMPARE_H_
