#include "formats/chat/jinja/loop.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/iterate.h"
#include "formats/chat/jinja/values/compare.h"

namespace narrow::jinja {

absl::StatusOr<bool> Loop::Peek() {
  if (after.has_value()) {
    return true;
  }
  Value item;
  ASSIGN_OR_RETURN(const bool more, next(&item));
  if (more) {
    after = std::move(item);
  }
  return more;
}

absl::StatusOr<bool> Loop::Advance() {
  ASSIGN_OR_RETURN(const bool more, Peek());
  if (!more) {
    return false;
  }
  ++index0;
  before = std::move(current);
  current = std::move(after);
  after.reset();
  return true;
}

absl::StatusOr<int64_t> Loop::Length() {
  if (!length.has_value()) {
    std::vector<Value> rest;
    Value item;
    while (true) {
      ASSIGN_OR_RETURN(const bool more, next(&item));
      if (!more) {
        break;
      }
      rest.push_back(item);
    }
    length = static_cast<int64_t>(rest.size()) + index0 + 1 +
             (after.has_value() ? 1 : 0);
    ASSIGN_OR_RETURN(next, Iterate(Value::List(std::move(rest))));
  }
  return *length;
}

absl::StatusOr<Value> Loop::Attribute(absl::string_view name) {
  if (ended) {
    return absl::UnimplementedError("the variable 'loop' after its loop");
  }
  if (name == "index") return Value::Int(index0 + 1);
  if (name == "index0") return Value::Int(index0);
  if (name == "first") return Value::Bool(index0 == 0);
  if (name == "depth") return Value::Int(depth0 + 1);
  if (name == "depth0") return Value::Int(depth0);
  if (name == "last") {
    ASSIGN_OR_RETURN(const bool more, Peek());
    return Value::Bool(!more);
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    ASSIGN_OR_RETURN(const int64_t n, Length());
    return Value::Int(name == "length"     ? n
                      : name == "revindex" ? n - index0
                                           : n - index0 - 1);
  }
  if (name == "previtem") {
    return index0 > 0 && before.has_value()
               ? *before
               : Value::Undefined("there is no previous item");
  }
  if (name == "nextitem") {
    ASSIGN_OR_RETURN(const bool more, Peek());
    return more ? *after : Value::Undefined("there is no next item");
  }
  if (name == "cycle" || name == "changed") {
    return Value::Method(Value::Of(this), name);
  }
  return Value::Undefined(absl::StrCat("'loop' has no attribute '", name, "'"));
}

absl::StatusOr<Value> Loop::Cycle(const std::vector<Value>& values) const {
  if (values.empty()) {
    return absl::InvalidArgumentError("no items for cycling given");
  }
  return values[static_cast<size_t>(index0) % values.size()];
}

bool Loop::Changed(const std::vector<Value>& values) {
  Value now = Value::Tuple(values);
  if (last_changed.has_value() && Equal(*last_changed, now)) {
    return false;
  }
  last_changed = std::move(now);
  return true;
}

}  // namespace narrow::jinja
