#include "formats/chat/jinja/builtins/tests.h"

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/builtins/filters.h"
#include "formats/chat/jinja/iterate.h"
#include "formats/chat/jinja/operators.h"
#include "formats/chat/jinja/values/compare.h"
#include "formats/chat/jinja/values/text.h"
#include "formats/chat/jinja/values/value_text.h"

namespace narrow::jinja {
namespace {

using Result = absl::StatusOr<bool>;

struct Call {
  Runtime& runtime;
  absl::string_view name;
  const Value& value;
  const Arguments& arguments;
};

// The one argument of tests that take one.
absl::StatusOr<Value> Other(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p, Bind(call.name, call.arguments, {"other"}));
  return p.Required(0);
}

Result Remainder(const Call& call, const Value& divisor, int64_t wanted) {
  ASSIGN_OR_RETURN(const Value rest,
                   Apply(call.runtime, Operator::kModulo, call.value, divisor));
  return Equal(rest, Value::Int(wanted));
}

Result CompareBy(const Call& call, Operator op) {
  ASSIGN_OR_RETURN(const Value other, Other(call));
  ASSIGN_OR_RETURN(const Value result,
                   Apply(call.runtime, op, call.value, other));
  return result.Truth();
}

Result TestDefined(const Call& call) { return !call.value.is_undefined(); }
Result TestUndefined(const Call& call) { return call.value.is_undefined(); }
Result TestNone(const Call& call) { return call.value.is_none(); }
Result TestBoolean(const Call& call) { return call.value.is_bool(); }
Result TestTrue(const Call& call) {
  return call.value.is_bool() && call.value.bool_value();
}
Result TestFalse(const Call& call) {
  return call.value.is_bool() && !call.value.bool_value();
}
Result TestInteger(const Call& call) { return call.value.kind() == Kind::kInt; }
Result TestFloat(const Call& call) { return call.value.kind() == Kind::kFloat; }
Result TestNumber(const Call& call) { return call.value.is_number(); }
Result TestString(const Call& call) { return call.value.is_string(); }
Result TestMapping(const Call& call) { return call.value.is_dict(); }
Result TestEscaped(const Call& call) { return call.value.is_markup(); }
Result TestIterable(const Call& call) { return IsIterable(call.value); }

Result TestSequence(const Call& call) {
  switch (call.value.kind()) {
    case Kind::kUndefined:  // it has a length, 0
    case Kind::kString:
    case Kind::kDict:
      return true;
    case Kind::kList:
      return call.value.list().flavor <= ListFlavor::kRange;
    default:
      return false;
  }
}

Result TestCallable(const Call& call) {
  switch (call.value.kind()) {
    case Kind::kUndefined:  // calling it is an error of its own
    case Kind::kMacro:
    case Kind::kLoop:
    case Kind::kFunction:
    case Kind::kMethod:
      return true;
    default:
      return false;
  }
}

Result TestOdd(const Call& call) { return Remainder(call, Value::Int(2), 1); }
Result TestEven(const Call& call) { return Remainder(call, Value::Int(2), 0); }

Result TestDivisibleBy(const Call& call) {
  ASSIGN_OR_RETURN(const Value other, Other(call));
  return Remainder(call, other, 0);
}

Result TestLower(const Call& call) {
  ASSIGN_OR_RETURN(const std::string text, ToText(call.value));
  return IsLowerCase(text);
}

Result TestUpper(const Call& call) {
  ASSIGN_OR_RETURN(const std::string text, ToText(call.value));
  return IsUpperCase(text);
}

Result TestFilter(const Call& call) {
  return call.value.is_string() && IsFilter(call.value.text());
}

Result TestIn(const Call& call) {
  ASSIGN_OR_RETURN(const Value other, Other(call));
  return Contains(call.runtime, other, call.value);
}

// Identity, where it does not depend on how an interpreter shares objects.
Result TestSameAs(const Call& call) {
  ASSIGN_OR_RETURN(const Value other, Other(call));
  if (call.value.kind() != other.kind()) {
    return false;
  }
  if (other.is_none() || other.is_bool()) {
    return Equal(call.value, other);
  }
  return absl::UnimplementedError(
      absl::StrCat("the test 'sameas' of a ", TypeName(other)));
}

Result TestEqual(const Call& call) { return CompareBy(call, Operator::kEqual); }
Result TestNotEqual(const Call& call) {
  return CompareBy(call, Operator::kNotEqual);
}
Result TestLess(const Call& call) { return CompareBy(call, Operator::kLess); }
Result TestLessEqual(const Call& call) {
  return CompareBy(call, Operator::kLessEqual);
}
Result TestGreater(const Call& call) {
  return CompareBy(call, Operator::kGreater);
}
Result TestGreaterEqual(const Call& call) {
  return CompareBy(call, Operator::kGreaterEqual);
}

Result TestTest(const Call& call);

struct TestRow {
  absl::string_view name;
  Result (*function)(const Call& call);
  size_t n_arguments;
};

constexpr TestRow kTests[] = {
#define T(name, function, n_arguments) {name, function, n_arguments},
#include "formats/chat/jinja/builtins/tests.inc"
#undef T
};

const TestRow* FindTest(absl::string_view name) {
  for (const TestRow& row : kTests) {
    if (row.name == name) {
      return &row;
    }
  }
  return nullptr;
}

Result TestTest(const Call& call) {
  return call.value.is_string() && FindTest(call.value.text()) != nullptr;
}

}  // namespace

absl::StatusOr<bool> ApplyTest(Runtime& runtime, absl::string_view name,
                               const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(runtime.Charge(1));
  const TestRow* row = FindTest(name);
  if (row == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("no test is named ", QuotedName(name)));
  }
  const size_t n = arguments.positional.size() + arguments.named.size();
  if (n != row->n_arguments) {
    return absl::InvalidArgumentError(absl::StrCat("the test '", name,
                                                   "' takes ", row->n_arguments,
                                                   " arguments, got ", n));
  }
  return row->function(Call{runtime, name, value, arguments});
}

}  // namespace narrow::jinja
