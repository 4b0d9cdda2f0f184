// JSON as values of a template.

#ifndef NARROW_FORMATS_CHAT_JSON_VALUES_H_
#define NARROW_FORMATS_CHAT_JSON_VALUES_H_

#include "absl/status/statusor.h"
#include "formats/chat/jinja/values/value.h"
#include "formats/json/json.h"

namespace narrow {

// Objects keep their order; the last of repeated keys counts, in the first
// one's place, as in Python. Unimplemented: integers beyond 64 bits.
absl::StatusOr<jinja::Value> ToTemplateValue(const JsonValue& json);

}  // namespace narrow

#endif  // NARROW_FORMATS_CHAT_JSON_VALUES_H_
