#include "formats/chat/json_values.h"

#include <cmath>
#include <utility>

#include "formats/base/status.h"

namespace narrow {
namespace {

absl::StatusOr<jinja::Value> NumberOf(const JsonValue& json) {
  if (json.is_integer()) {
    const absl::StatusOr<int64_t> integer = json.GetInteger();
    if (integer.ok()) {
      return jinja::Value::Int(*integer);
    }
  }
  ASSIGN_OR_RETURN(const double real, json.GetNumber());
  // A whole number this large may be an integer whose digits are lost.
  if (json.is_integer() ||
      (std::fabs(real) >= 0x1p63 && real == std::floor(real))) {
    return absl::UnimplementedError(
        json.Error("a number beyond 64 bits in a conversation").message());
  }
  return jinja::Value::Float(real);
}

}  // namespace

absl::StatusOr<jinja::Value> ToTemplateValue(const JsonValue& json) {
  if (json.is_null()) {
    return jinja::Value::None();
  }
  if (json.is_bool()) {
    ASSIGN_OR_RETURN(const bool value, json.GetBool());
    return jinja::Value::Bool(value);
  }
  if (json.is_number()) {
    return NumberOf(json);
  }
  if (json.is_string()) {
    ASSIGN_OR_RETURN(const absl::string_view text, json.GetString());
    return jinja::Value::Text(text);
  }
  if (json.is_array()) {
    std::vector<jinja::Value> items;
    ASSIGN_OR_RETURN(const auto elements, json.GetElements());
    for (const JsonValue& element : elements) {
      ASSIGN_OR_RETURN(jinja::Value item, ToTemplateValue(element));
      items.push_back(std::move(item));
    }
    return jinja::Value::List(std::move(items));
  }
  jinja::Dict dict;
  ASSIGN_OR_RETURN(const auto members, json.GetMembers());
  for (const auto& [key, member] : members) {
    ASSIGN_OR_RETURN(jinja::Value value, ToTemplateValue(member));
    dict.Set(jinja::Value::Text(key), value);
  }
  return jinja::Value::Of(std::move(dict));
}

}  // namespace narrow
