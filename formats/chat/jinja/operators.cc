#include "formats/chat/jinja/operators.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/builtins/format.h"
#include "formats/chat/jinja/iterate.h"
#include "formats/chat/jinja/values/compare.h"

namespace narrow::jinja {
namespace {

using Result = absl::StatusOr<Value>;

constexpr absl::string_view kSymbols[] = {"+",  "-",  "*",  "/",  "//",
                                          "%",  "**", "==", "!=", "<",
                                          "<=", ">",  ">=", "in", "not in"};

absl::Status Mismatch(Operator op, const Value& a, const Value& b) {
  if (a.is_undefined() || b.is_undefined()) {
    return absl::InvalidArgumentError(a.is_undefined() ? a.why() : b.why());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", kSymbols[static_cast<int>(op)], "' does not go with a ",
                   TypeName(a), " and a ", TypeName(b)));
}

absl::Status TooLarge() {
  return absl::UnimplementedError("an integer beyond 64 bits");
}

// Rounds towards minus infinity, as // and % of Python.
Result DivideIntegers(Operator op, int64_t a, int64_t b) {
  if (b == 0) {
    return absl::InvalidArgumentError("division by zero");
  }
  if (a == std::numeric_limits<int64_t>::min() && b == -1) {
    return op == Operator::kModulo ? Result(Value::Int(0)) : TooLarge();
  }
  const int64_t remainder = a % b;
  const bool off = remainder != 0 && (remainder < 0) != (b < 0);
  return Value::Int(op == Operator::kModulo ? remainder + (off ? b : 0)
                                            : a / b - (off ? 1 : 0));
}

Result PowerOfIntegers(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) {
      return absl::InvalidArgumentError("0 to a negative power");
    }
    return Value::Float(
        std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t value = 1;
  if (base == 0 || base == 1 || base == -1) {
    return Value::Int(exponent == 0 ? 1
                      : base == -1  ? (exponent % 2 == 0 ? 1 : -1)
                                    : base);
  }
  for (int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(value, base, &value)) {
      return TooLarge();
    }
  }
  return Value::Int(value);
}

Result ApplyToIntegers(Operator op, int64_t a, int64_t b) {
  int64_t value;
  switch (op) {
    case Operator::kAdd:
      return __builtin_add_overflow(a, b, &value) ? Result(TooLarge())
                                                  : Value::Int(value);
    case Operator::kSubtract:
      return __builtin_sub_overflow(a, b, &value) ? Result(TooLarge())
                                                  : Value::Int(value);
    case Operator::kMultiply:
      return __builtin_mul_overflow(a, b, &value) ? Result(TooLarge())
                                                  : Value::Int(value);
    case Operator::kDivide:
      if (b == 0) {
        return absl::InvalidArgumentError("division by zero");
      }
      // Python divides exactly and rounds once; doubles hold these exactly.
      if (std::llabs(a) > (int64_t{1} << 53) ||
          std::llabs(b) > (int64_t{1} << 53)) {
        return TooLarge();
      }
      return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    case Operator::kFloorDivide:
    case Operator::kModulo:
      return DivideIntegers(op, a, b);
    default:
      return PowerOfIntegers(a, b);
  }
}

Result ApplyToReals(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::Float(a + b);
    case Operator::kSubtract:
      return Value::Float(a - b);
    case Operator::kMultiply:
      return Value::Float(a * b);
    case Operator::kPower:
      if ((a == 0 && b < 0) || (a < 0 && b != std::floor(b))) {
        return absl::InvalidArgumentError("a power that is no real number");
      }
      return Value::Float(std::pow(a, b));
    default:
      break;
  }
  if (b == 0) {
    return absl::InvalidArgumentError("division by zero");
  }
  if (op == Operator::kDivide) {
    return Value::Float(a / b);
  }
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) {
    remainder += b;
  }
  if (op == Operator::kModulo) {
    return Value::Float(remainder == 0 ? std::copysign(0.0, b) : remainder);
  }
  const double quotient = (a - remainder) / b;
  const double whole = std::floor(quotient);
  return Value::Float(quotient == 0            ? std::copysign(0.0, a / b)
                      : quotient - whole > 0.5 ? whole + 1
                                               : whole);
}

Result AddTexts(Runtime& runtime, const Value& a, const Value& b) {
  RETURN_IF_ERROR(runtime.ChargeSize(a.text().size() + b.text().size()));
  if (!a.is_markup() && !b.is_markup()) {
    return Value::Text(absl::StrCat(a.text(), b.text()));
  }
  const auto escaped = [](const Value& v) {
    return v.is_markup() ? std::string(v.text()) : EscapeHtml(v.text());
  };
  return Value::Markup(escaped(a) + escaped(b));
}

Result AddLists(Runtime& runtime, const Value& a, const Value& b) {
  RETURN_IF_ERROR(
      runtime.ChargeSize(16 * (a.items().size() + b.items().size())));
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is_list() ? Value::List(std::move(items))
                     : Value::Tuple(std::move(items));
}

// Text or a list, `n` times.
Result Repeat(Runtime& runtime, const Value& value, int64_t n) {
  n = n < 0 ? 0 : n;
  const size_t size =
      value.is_string() ? value.text().size() : 16 * value.items().size();
  if (n > static_cast<int64_t>(Runtime::kMaxTextBytes)) {
    RETURN_IF_ERROR(
        runtime.ChargeSize(size == 0 ? 0 : Runtime::kMaxTextBytes + 1));
    n = 0;
  }
  RETURN_IF_ERROR(runtime.ChargeSize(size * static_cast<size_t>(n)));
  if (value.is_string()) {
    std::string out;
    for (int64_t i = 0; i < n && size > 0; ++i) {
      absl::StrAppend(&out, value.text());
    }
    return value.is_markup() ? Value::Markup(std::move(out))
                             : Value::Text(std::move(out));
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < n && size > 0; ++i) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return value.is_list() ? Value::List(std::move(items))
                         : Value::Tuple(std::move(items));
}

bool IsSequence(const Value& value) {
  return value.is_string() || value.is_list() || value.is_tuple();
}

Result Compare(Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
      return Value::Bool(Equal(a, b));
    case Operator::kNotEqual:
      return Value::Bool(!Equal(a, b));
    default:
      break;
  }
  // a > b is b < a; a <= b is less or equal, since NaN is neither.
  const bool swapped =
      op == Operator::kGreater || op == Operator::kGreaterEqual;
  ASSIGN_OR_RETURN(bool result, swapped ? Less(b, a) : Less(a, b));
  if (op == Operator::kLessEqual || op == Operator::kGreaterEqual) {
    result = result || Equal(a, b);
  }
  return Value::Bool(result);
}

}  // namespace

std::string EscapeHtml(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"},
                                    {"<", "&lt;"},
                                    {">", "&gt;"},
                                    {"\"", "&#34;"},
                                    {"'", "&#39;"}});
}

absl::StatusOr<Value> Apply(Runtime& runtime, Operator op, const Value& a,
                            const Value& b) {
  if (op == Operator::kIn || op == Operator::kNotIn) {
    ASSIGN_OR_RETURN(const bool found, Contains(runtime, b, a));
    return Value::Bool(found == (op == Operator::kIn));
  }
  if (op >= Operator::kEqual) {
    return Compare(op, a, b);
  }
  if (a.is_integer() && b.is_integer()) {
    return ApplyToIntegers(op, a.integer(), b.integer());
  }
  if (a.is_number() && b.is_number()) {
    return ApplyToReals(op, a.real(), b.real());
  }
  if (op == Operator::kAdd && a.is_string() && b.is_string()) {
    return AddTexts(runtime, a, b);
  }
  if (op == Operator::kAdd &&
      ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple()))) {
    return AddLists(runtime, a, b);
  }
  if (op == Operator::kMultiply && IsSequence(a) && b.is_integer()) {
    return Repeat(runtime, a, b.integer());
  }
  if (op == Operator::kMultiply && IsSequence(b) && a.is_integer()) {
    return Repeat(runtime, b, a.integer());
  }
  if (op == Operator::kModulo && a.is_string()) {
    if (a.is_markup()) {
      return absl::UnimplementedError("'%' of text that is marked as safe");
    }
    return PercentFormat(runtime, a.text(), b);
  }
  return Mismatch(op, a, b);
}

absl::StatusOr<Value> Negate(const Value& value) {
  if (value.is_integer()) {
    if (value.integer() == std::numeric_limits<int64_t>::min()) {
      return TooLarge();
    }
    return Value::Int(-value.integer());
  }
  if (value.is_number()) {
    return Value::Float(-value.real());
  }
  return absl::InvalidArgumentError(
      value.is_undefined() ? value.why()
                           : absl::StrCat("'-' of a ", TypeName(value)));
}

absl::StatusOr<bool> Contains(Runtime& runtime, const Value& container,
                              const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat("only text can be in text, not a ", TypeName(item)));
    }
    RETURN_IF_ERROR(runtime.ChargeSize(container.text().size()));
    return absl::StrContains(container.text(), item.text());
  }
  if (container.is_dict()) {
    return container.dict().Find(item) != nullptr;
  }
  if (container.is_any_list()) {
    RETURN_IF_ERROR(runtime.ChargeSize(16 * container.items().size()));
    for (const Value& value : container.items()) {
      if (Equal(value, item)) {
        return true;
      }
    }
    return false;
  }
  // Takes from an iterator up to what it finds, as Python does.
  ASSIGN_OR_RETURN(NextFunction next, Iterate(container));
  while (true) {
    RETURN_IF_ERROR(runtime.Charge(1));
    Value value;
    ASSIGN_OR_RETURN(const bool more, next(&value));
    if (!more || Equal(value, item)) {
      return more;
    }
  }
}

}  // namespace narrow::jinja
