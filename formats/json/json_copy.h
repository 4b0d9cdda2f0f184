// A value of one JSON document written into another.
//
//   json.Key("meta");
//   RETURN_IF_ERROR(WriteJson(value, &json));
//
// Numbers keep their value, not their spelling.

#ifndef NARROW_FORMATS_JSON_JSON_COPY_H_
#define NARROW_FORMATS_JSON_JSON_COPY_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"
#include "formats/json/json_writer.h"

namespace narrow {

absl::Status WriteJson(const JsonValue& value, JsonWriter* json);

// The same for a value in text. DataLoss if it is no JSON; `what` names it.
absl::Status WriteJsonText(absl::string_view text, absl::string_view what,
                           JsonWriter* json);

}  // namespace narrow

#endif  // NARROW_FORMATS_JSON_JSON_COPY_H_
