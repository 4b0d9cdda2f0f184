// Filters that give lazy iterators: map, select, reject and the like.

#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/attributes.h"
#include "formats/chat/jinja/builtins/filters.h"
#include "formats/chat/jinja/builtins/filters_impl.h"
#include "formats/chat/jinja/builtins/tests.h"
#include "formats/chat/jinja/iterate.h"

namespace narrow::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// `first`: the arguments before it belong to the filter itself.
Arguments Rest(const Arguments& arguments, size_t first) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<int64_t>(first));
  return rest;
}

// Goes through `value` when the first item is asked for; what is false (None,
// undefined) is empty, as Jinja has it for these filters.
NextFunction LazyItems(const Value& value) {
  return [value,
          next = NextFunction()](Value* out) mutable -> absl::StatusOr<bool> {
    if (!value.Truth()) {
      return false;
    }
    if (next == nullptr) {
      ASSIGN_OR_RETURN(next, Iterate(value));
    }
    return next(out);
  };
}

// Keeps what a test (or truth, without one) finds `wanted`, of items or of an
// attribute of theirs.
Result Select(Runtime& runtime, const Value& value, const Arguments& arguments,
              bool by_attribute, bool wanted) {
  const size_t n_own = by_attribute ? 1 : 0;
  if (arguments.positional.size() < n_own) {
    return absl::InvalidArgumentError("a selection lacks its attribute");
  }
  const Value path = by_attribute ? arguments.positional[0] : Value();
  std::string test;
  Arguments rest = Rest(arguments, n_own);
  if (!rest.positional.empty()) {
    if (!rest.positional[0].is_string()) {
      return absl::InvalidArgumentError("a selection wants the name of a test");
    }
    test = std::string(rest.positional[0].text());
    rest = Rest(rest, 1);
  }
  return Value::Iterator([&runtime, next = LazyItems(value), path, test,
                          rest = std::move(rest), by_attribute,
                          wanted](Value* out) -> absl::StatusOr<bool> {
    while (true) {
      RETURN_IF_ERROR(runtime.Charge(1));
      Value item;
      ASSIGN_OR_RETURN(const bool more, next(&item));
      if (!more) {
        return false;
      }
      Value subject = item;
      if (by_attribute) {
        ASSIGN_OR_RETURN(subject, GetPath(item, path));
      }
      bool truth = subject.Truth();
      if (!test.empty()) {
        ASSIGN_OR_RETURN(truth, ApplyTest(runtime, test, subject, rest));
      }
      if (truth == wanted) {
        *out = std::move(item);
        return true;
      }
    }
  });
}

// map(attribute="a.b", default=x)
Result MapAttribute(Runtime& runtime, const Value& value,
                    const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("map", arguments, {"attribute", "default"}));
  const Value path = *p.Get(0);
  const Value otherwise = p.IsNone(1) ? Value() : *p.Get(1);
  return Value::Iterator([&runtime, next = LazyItems(value), path,
                          otherwise](Value* out) -> absl::StatusOr<bool> {
    RETURN_IF_ERROR(runtime.Charge(1));
    Value item;
    ASSIGN_OR_RETURN(const bool more, next(&item));
    if (!more) {
      return false;
    }
    ASSIGN_OR_RETURN(*out, GetPath(item, path));
    if (out->is_undefined() && !otherwise.is_undefined()) {
      *out = otherwise;
    }
    return true;
  });
}

}  // namespace

Result FilterMap(Runtime& runtime, const Value& value,
                 const Arguments& arguments) {
  if (arguments.positional.empty()) {
    for (const auto& [name, argument] : arguments.named) {
      if (name == "attribute") {
        return MapAttribute(runtime, value, arguments);
      }
    }
    return absl::InvalidArgumentError("'map' lacks its filter");
  }
  if (!arguments.positional[0].is_string()) {
    return absl::InvalidArgumentError("'map' wants the name of a filter");
  }
  const std::string filter(arguments.positional[0].text());
  return Value::Iterator(
      [&runtime, next = LazyItems(value), filter,
       rest = Rest(arguments, 1)](Value* out) -> absl::StatusOr<bool> {
        Value item;
        ASSIGN_OR_RETURN(const bool more, next(&item));
        if (!more) {
          return false;
        }
        ASSIGN_OR_RETURN(*out, ApplyFilter(runtime, filter, item, rest));
        return true;
      });
}

Result FilterSelect(Runtime& runtime, const Value& value,
                    const Arguments& arguments) {
  return Select(runtime, value, arguments, false, true);
}

Result FilterReject(Runtime& runtime, const Value& value,
                    const Arguments& arguments) {
  return Select(runtime, value, arguments, false, false);
}

Result FilterSelectAttr(Runtime& runtime, const Value& value,
                        const Arguments& arguments) {
  return Select(runtime, value, arguments, true, true);
}

Result FilterRejectAttr(Runtime& runtime, const Value& value,
                        const Arguments& arguments) {
  return Select(runtime, value, arguments, true, false);
}

}  // namespace narrow::jinja
