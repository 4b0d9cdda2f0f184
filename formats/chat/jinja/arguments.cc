#include "formats/chat/jinja/arguments.h"

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow::jinja {

absl::StatusOr<int64_t> Parameters::Integer(size_t i, int64_t otherwise) const {
  if (!Has(i)) {
    return otherwise;
  }
  if (!values_[i]->is_integer()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", function_, "' wants an integer, got a ", TypeName(*values_[i])));
  }
  return values_[i]->integer();
}

absl::StatusOr<std::string> Parameters::Text(size_t i) const {
  ASSIGN_OR_RETURN(Value value, Required(i));
  if (!value.is_string()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", function_, "' wants text, got a ", TypeName(value)));
  }
  return std::string(value.text());
}

absl::StatusOr<std::string> Parameters::Text(
    size_t i, absl::string_view otherwise) const {
  return Has(i) ? Text(i) : std::string(otherwise);
}

absl::StatusOr<Value> Parameters::Required(size_t i) const {
  if (!Has(i)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", function_, "' lacks argument ", i + 1));
  }
  return *values_[i];
}

absl::StatusOr<Parameters> Bind(absl::string_view function,
                                const Arguments& arguments,
                                std::initializer_list<const char*> names) {
  std::vector<const Value*> values(names.size(), nullptr);
  if (arguments.positional.size() > names.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", function, "' takes at most ", names.size(),
                     " arguments, got ", arguments.positional.size()));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    values[i] = &arguments.positional[i];
  }
  for (const auto& [name, value] : arguments.named) {
    size_t i = 0;
    for (const char* parameter : names) {
      if (name == parameter) {
        break;
      }
      ++i;
    }
    if (i == names.size() || values[i] != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", function, "' has ", i == names.size() ? "no" : "twice an",
          " argument ", QuotedName(name)));
    }
    values[i] = &value;
  }
  return Parameters(std::string(function), std::move(values));
}

}  // namespace narrow::jinja
