// The arguments of a call, and their binding to a function's parameters.
//
//   ASSIGN_OR_RETURN(Parameters p, Bind("indent", args, {"width", "first"}));
//   const bool first = p.Truth(1, false);

#ifndef NARROW_FORMATS_CHAT_JINJA_ARGUMENTS_H_
#define NARROW_FORMATS_CHAT_JINJA_ARGUMENTS_H_

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Borrows from the arguments.
class Parameters {
 public:
  Parameters(std::string function, std::vector<const Value*> values)
      : function_(std::move(function)), values_(std::move(values)) {}

  // nullptr: not given.
  const Value* Get(size_t i) const { return values_[i]; }
  bool Has(size_t i) const { return values_[i] != nullptr; }
  // Not given or None.
  bool IsNone(size_t i) const { return !Has(i) || values_[i]->is_none(); }
  bool Truth(size_t i, bool otherwise) const {
    return Has(i) ? values_[i]->Truth() : otherwise;
  }
  // InvalidArgument if it is something else, or missing where `otherwise` is
  // not given.
  absl::StatusOr<int64_t> Integer(size_t i, int64_t otherwise) const;
  absl::StatusOr<std::string> Text(size_t i) const;
  absl::StatusOr<std::string> Text(size_t i, absl::string_view otherwise) const;
  absl::StatusOr<Value> Required(size_t i) const;

 private:
  std::string function_;
  std::vector<const Value*> values_;
};

// InvalidArgument for too many arguments and for unknown or repeated names.
absl::StatusOr<Parameters> Bind(absl::string_view function,
                                const Arguments& arguments,
                                std::initializer_list<const char*> names);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_ARGUMENTS_H_
