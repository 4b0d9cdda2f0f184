#include "formats/chat/jinja/builtins/string_methods.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/builtins/format.h"
#include "formats/chat/jinja/iterate.h"
#include "formats/chat/jinja/values/text.h"

namespace narrow::jinja {
namespace {

using Result = absl::StatusOr<Value>;

struct Call {
  Runtime& runtime;
  absl::string_view text;
  absl::string_view name;
  const Arguments& arguments;
};

Value ListOf(const std::vector<absl::string_view>& parts) {
  std::vector<Value> items;
  for (const absl::string_view part : parts) {
    items.push_back(Value::Text(part));
  }
  return Value::List(std::move(items));
}

Result Strip(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p, Bind(call.name, call.arguments, {"chars"}));
  const Sides sides = call.name == "lstrip"   ? Sides::kLeft
                      : call.name == "rstrip" ? Sides::kRight
                                              : Sides::kBoth;
  if (p.IsNone(0)) {
    return Value::Text(StripSpace(call.text, sides));
  }
  ASSIGN_OR_RETURN(const std::string chars, p.Text(0));
  RETURN_IF_ERROR(call.runtime.ChargeSize(chars.size() * 16));
  return Value::Text(StripSet(call.text, chars, sides));
}

Result Split(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind(call.name, call.arguments, {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const int64_t max_splits, p.Integer(1, -1));
  const bool from_right = call.name == "rsplit";
  RETURN_IF_ERROR(call.runtime.ChargeSize(call.text.size() * 8));
  if (p.IsNone(0)) {
    return ListOf(SplitAtSpace(call.text, max_splits, from_right));
  }
  ASSIGN_OR_RETURN(const std::string separator, p.Text(0));
  if (separator.empty()) {
    return absl::InvalidArgumentError("split(): empty separator");
  }
  return ListOf(SplitAt(call.text, separator, max_splits, from_right));
}

Result Partition(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p, Bind(call.name, call.arguments, {"sep"}));
  ASSIGN_OR_RETURN(const std::string separator, p.Text(0));
  if (separator.empty()) {
    return absl::InvalidArgumentError("partition(): empty separator");
  }
  const bool from_right = call.name == "rpartition";
  const std::vector<absl::string_view> parts =
      SplitAt(call.text, separator, 1, from_right);
  if (parts.size() == 1) {
    const Value none = Value::Text("");
    const Value all = Value::Text(call.text);
    return from_right ? Value::Tuple({none, none, all})
                      : Value::Tuple({all, none, none});
  }
  return Value::Tuple(
      {Value::Text(parts[0]), Value::Text(separator), Value::Text(parts[1])});
}

// The part of the text between the optional bounds, in code points. `begin`
// gets where it starts; nullopt if the start is beyond the end.
absl::StatusOr<std::optional<absl::string_view>> Window(const Call& call,
                                                        const Parameters& p,
                                                        int64_t* begin) {
  const int64_t n = CodePointCount(call.text);
  const auto bound = [n](int64_t at) {
    return std::max<int64_t>(at < 0 ? at + n : at, 0);
  };
  ASSIGN_OR_RETURN(const int64_t start,
                   p.IsNone(1) ? absl::StatusOr<int64_t>(0) : p.Integer(1, 0));
  ASSIGN_OR_RETURN(const int64_t stop,
                   p.IsNone(2) ? absl::StatusOr<int64_t>(n) : p.Integer(2, n));
  *begin = bound(start);
  const int64_t end = std::min(bound(stop), n);
  if (*begin > end) {
    return std::optional<absl::string_view>();
  }
  const size_t from = ByteOffset(call.text, *begin);
  return std::optional<absl::string_view>(
      call.text.substr(from, ByteOffset(call.text, end) - from));
}

Result StartsOrEnds(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind(call.name, call.arguments, {"prefix", "start", "end"}));
  ASSIGN_OR_RETURN(const Value wanted, p.Required(0));
  int64_t begin;
  ASSIGN_OR_RETURN(const auto window, Window(call, p, &begin));
  std::vector<Value> choices = {wanted};
  if (wanted.is_tuple()) {
    choices = wanted.items();
  }
  bool found = false;
  for (const Value& choice : choices) {
    if (!choice.is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(call.name, "() wants text, got a ", TypeName(choice)));
    }
    found = found || (window.has_value() &&
                      (call.name == "startswith"
                           ? absl::StartsWith(*window, choice.text())
                           : absl::EndsWith(*window, choice.text())));
  }
  return Value::Bool(found);
}

Result Find(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind(call.name, call.arguments, {"sub", "start", "end"}));
  ASSIGN_OR_RETURN(const std::string wanted, p.Text(0));
  RETURN_IF_ERROR(call.runtime.ChargeSize(call.text.size()));
  int64_t begin;
  ASSIGN_OR_RETURN(const auto window, Window(call, p, &begin));
  if (call.name == "count") {
    int64_t n = 0;
    if (window.has_value()) {
      n = wanted.empty() ? CodePointCount(*window) + 1
                         : static_cast<int64_t>(
                               SplitAt(*window, wanted, -1, false).size()) -
                               1;
    }
    return Value::Int(n);
  }
  const bool from_right = call.name == "rfind" || call.name == "rindex";
  const size_t at = !window.has_value() ? absl::string_view::npos
                    : from_right        ? window->rfind(wanted)
                                        : window->find(wanted);
  if (at != absl::string_view::npos) {
    return Value::Int(begin + CodePointCount(window->substr(0, at)));
  }
  if (call.name == "index" || call.name == "rindex") {
    return absl::InvalidArgumentError(
        absl::StrCat(call.name, "(): substring not found"));
  }
  return Value::Int(-1);
}

Result DoReplace(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind(call.name, call.arguments, {"old", "new", "count"}));
  ASSIGN_OR_RETURN(const std::string from, p.Text(0));
  ASSIGN_OR_RETURN(const std::string to, p.Text(1));
  ASSIGN_OR_RETURN(const int64_t count, p.Integer(2, -1));
  // At worst every byte is replaced.
  RETURN_IF_ERROR(call.runtime.ChargeSize(call.text.size() *
                                          (1 + to.size() / (from.size() + 1))));
  return Value::Text(Replace(call.text, from, to, count));
}

Result Join(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p, Bind(call.name, call.arguments, {"iterable"}));
  ASSIGN_OR_RETURN(const Value list, p.Required(0));
  ASSIGN_OR_RETURN(const std::vector<Value> items,
                   ToVector(call.runtime, list));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_string()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "join() wants text, item ", i, " is a ", TypeName(items[i])));
    }
    absl::StrAppend(&out, i == 0 ? "" : call.text, items[i].text());
    RETURN_IF_ERROR(call.runtime.ChargeSize(out.size() / (i + 1)));
    if (out.size() > Runtime::kMaxTextBytes) {
      return call.runtime.ChargeSize(out.size());
    }
  }
  return Value::Text(std::move(out));
}

Result RemoveEnd(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p, Bind(call.name, call.arguments, {"end"}));
  ASSIGN_OR_RETURN(const std::string end, p.Text(0));
  absl::string_view text = call.text;
  if (call.name == "removeprefix" && absl::StartsWith(text, end)) {
    text.remove_prefix(end.size());
  } else if (call.name == "removesuffix" && absl::EndsWith(text, end)) {
    text.remove_suffix(end.size());
  }
  return Value::Text(text);
}

Result DoSplitLines(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p, Bind(call.name, call.arguments, {"keepends"}));
  RETURN_IF_ERROR(call.runtime.ChargeSize(call.text.size() * 8));
  return ListOf(SplitLines(call.text, p.Truth(0, false)));
}

Result Justify(const Call& call) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind(call.name, call.arguments, {"width", "fillchar"}));
  RETURN_IF_ERROR(p.Required(0).status());
  ASSIGN_OR_RETURN(const int64_t width, p.Integer(0, 0));
  ASSIGN_OR_RETURN(const std::string fill, p.Text(1, " "));
  if (CodePointCount(fill) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(call.name, "() fills with one character"));
  }
  const int64_t n = std::max<int64_t>(width - CodePointCount(call.text), 0);
  RETURN_IF_ERROR(call.runtime.ChargeSize(static_cast<size_t>(n) * 4));
  // Python's rule for the odd one out of center().
  const int64_t left = call.name == "ljust"   ? 0
                       : call.name == "rjust" ? n
                                              : n / 2 + (n & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) {
    out += fill;
  }
  absl::StrAppend(&out, call.text);
  for (int64_t i = left; i < n; ++i) {
    out += fill;
  }
  return Value::Text(std::move(out));
}

Result Format(const Call& call) {
  return BraceFormat(call.runtime, call.text, call.arguments);
}

template <std::string (*function)(absl::string_view)>
Result Convert(const Call& call) {
  RETURN_IF_ERROR(Bind(call.name, call.arguments, {}).status());
  RETURN_IF_ERROR(call.runtime.ChargeSize(call.text.size()));
  return Value::Text(function(call.text));
}

template <bool (*function)(absl::string_view)>
Result Ask(const Call& call) {
  RETURN_IF_ERROR(Bind(call.name, call.arguments, {}).status());
  RETURN_IF_ERROR(call.runtime.ChargeSize(call.text.size()));
  return Value::Bool(function(call.text));
}

struct MethodRow {
  absl::string_view name;
  Result (*function)(const Call& call);
};

constexpr MethodRow kMethods[] = {
    {"strip", Strip},
    {"lstrip", Strip},
    {"rstrip", Strip},
    {"split", Split},
    {"rsplit", Split},
    {"splitlines", DoSplitLines},
    {"partition", Partition},
    {"rpartition", Partition},
    {"startswith", StartsOrEnds},
    {"endswith", StartsOrEnds},
    {"find", Find},
    {"rfind", Find},
    {"index", Find},
    {"rindex", Find},
    {"count", Find},
    {"replace", DoReplace},
    {"join", Join},
    {"removeprefix", RemoveEnd},
    {"removesuffix", RemoveEnd},
    {"ljust", Justify},
    {"rjust", Justify},
    {"center", Justify},
    {"format", Format},
    {"upper", Convert<Upper>},
    {"lower", Convert<Lower>},
    {"capitalize", Convert<Capitalize>},
    {"title", Convert<Title>},
    {"isalpha", Ask<IsAlphabetic>},
    {"isnumeric", Ask<IsNumeric>},
    {"isdigit", Ask<IsDigits>},
    {"isdecimal", Ask<IsDecimal>},
    {"isalnum", Ask<IsAlphanumeric>},
    {"isspace", Ask<IsAllSpace>},
    {"isupper", Ask<IsUpperCase>},
    {"islower", Ask<IsLowerCase>},
};

}  // namespace

absl::StatusOr<Value> CallStringMethod(Runtime& runtime, const Value& self,
                                       absl::string_view name,
                                       const Arguments& arguments) {
  bool is_markup = self.is_markup();
  for (const Value& value : arguments.positional) {
    is_markup = is_markup || value.is_markup();
  }
  if (is_markup) {
    return absl::UnimplementedError(absl::StrCat(
        "the method '", name, "' with text that is marked as safe"));
  }
  for (const MethodRow& row : kMethods) {
    if (row.name == name) {
      return row.function(Call{runtime, self.text(), name, arguments});
    }
  }
  return absl::UnimplementedError(
      absl::StrCat("the method '", name, "' of text"));
}

}  // namespace narrow::jinja
