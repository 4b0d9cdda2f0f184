#include "formats/json/json_copy.h"

#include <vector>

#include "formats/base/status.h"

namespace narrow {

absl::Status WriteJson(const JsonValue& value, JsonWriter* json) {
  if (value.is_object()) {
    ASSIGN_OR_RETURN(const std::vector<JsonValue::Member> members,
                     value.GetMembers());
    json->BeginObject();
    for (const JsonValue::Member& member : members) {
      json->Key(member.first);
      RETURN_IF_ERROR(WriteJson(member.second, json));
    }
    json->EndObject();
  } else if (value.is_array()) {
    ASSIGN_OR_RETURN(const std::vector<JsonValue> elements,
                     value.GetElements());
    json->BeginArray();
    for (const JsonValue& element : elements) {
      RETURN_IF_ERROR(WriteJson(element, json));
    }
    json->EndArray();
  } else if (value.is_string()) {
    json->String(*value.GetString());
  } else if (value.is_bool()) {
    json->Bool(*value.GetBool());
  } else if (value.is_integer()) {
    json->Integer(*value.GetInteger());
  } else if (value.is_number()) {
    json->Number(*value.GetNumber());
  } else {
    json->Null();
  }
  return absl::OkStatus();
}

absl::Status WriteJsonText(absl::string_view text, absl::string_view what,
                           JsonWriter* json) {
  ASSIGN_OR_RETURN(const auto document, JsonDocument::Parse(text, what));
  return WriteJson(document->root(), json);
}

}  // namespace narrow
