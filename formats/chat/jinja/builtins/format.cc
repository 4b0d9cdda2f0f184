#include "formats/chat/jinja/builtins/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/values/text.h"
#include "formats/chat/jinja/values/value_text.h"

namespace narrow::jinja {
namespace {

// One directive of a pattern: %-10.3f
struct Directive {
  std::string name;   // in parentheses
  std::string flags;  // of "-+ #0"
  int width = 0;
  int precision = -1;
  char conversion = '\0';
};

absl::StatusOr<int> ReadNumber(absl::string_view pattern, size_t* at) {
  int value = 0;
  while (*at < pattern.size() &&
         absl::ascii_isdigit(static_cast<unsigned char>(pattern[*at]))) {
    value = value * 10 + (pattern[(*at)++] - '0');
    if (value > 1000) {
      return absl::UnimplementedError("a width above 1000 in a format");
    }
  }
  return value;
}

// Reads behind the percent sign at (*at) - 1.
absl::StatusOr<Directive> ReadDirective(absl::string_view pattern, size_t* at) {
  Directive d;
  if (*at < pattern.size() && pattern[*at] == '(') {
    const size_t end = pattern.find(')', *at);
    if (end == absl::string_view::npos) {
      return absl::InvalidArgumentError("a format with an open parenthesis");
    }
    d.name = std::string(pattern.substr(*at + 1, end - *at - 1));
    *at = end + 1;
  }
  while (*at < pattern.size() && absl::string_view("-+ #0").find(
                                     pattern[*at]) != absl::string_view::npos) {
    d.flags.push_back(pattern[(*at)++]);
  }
  ASSIGN_OR_RETURN(d.width, ReadNumber(pattern, at));
  if (*at < pattern.size() && pattern[*at] == '.') {
    ++*at;
    ASSIGN_OR_RETURN(d.precision, ReadNumber(pattern, at));
  }
  if (*at >= pattern.size()) {
    return absl::InvalidArgumentError("a format that ends in a directive");
  }
  d.conversion = pattern[(*at)++];
  return d;
}

std::string Pad(std::string text, const Directive& d) {
  const int64_t missing = d.width - CodePointCount(text);
  if (missing > 0) {
    const std::string space(static_cast<size_t>(missing), ' ');
    text = d.flags.find('-') != std::string::npos ? text + space : space + text;
  }
  return text;
}

absl::StatusOr<std::string> FormatText(const Directive& d, const Value& value) {
  std::string text;
  RETURN_IF_ERROR(d.conversion == 'r' ? AppendRepr(value, &text)
                                      : AppendText(value, &text));
  if (d.precision >= 0) {
    text.resize(ByteOffset(text, d.precision));
  }
  return Pad(std::move(text), d);
}

absl::StatusOr<std::string> FormatNumber(const Directive& d,
                                         const Value& value) {
  if (!value.is_number()) {
    return absl::InvalidArgumentError(
        absl::StrCat("%", std::string(1, d.conversion),
                     " wants a number, got a ", TypeName(value)));
  }
  const bool is_whole =
      absl::string_view("dixX").find(d.conversion) != absl::string_view::npos;
  std::string pattern = "%" + d.flags;
  absl::StrAppend(&pattern, d.width > 0 ? absl::StrCat(d.width) : "",
                  d.precision >= 0 ? absl::StrCat(".", d.precision) : "",
                  is_whole ? "ll" : "", std::string(1, d.conversion));
  char buffer[4096];
  int n;
  if (is_whole) {
    const bool hexadecimal = d.conversion == 'x' || d.conversion == 'X';
    if (hexadecimal && (!value.is_integer() || value.integer() < 0)) {
      return absl::UnimplementedError("%x of what is no natural number");
    }
    const double real = value.real();
    if (!value.is_integer() && !(std::fabs(real) < 0x1p63)) {
      return absl::UnimplementedError("%d of a large number");
    }
    const long long whole = value.is_integer()
                                ? static_cast<long long>(value.integer())
                                : static_cast<long long>(real);
    n = std::snprintf(buffer, sizeof(buffer), pattern.c_str(), whole);
  } else {
    if (!std::isfinite(value.real())) {
      return absl::UnimplementedError("formats of numbers that are not finite");
    }
    n = std::snprintf(buffer, sizeof(buffer), pattern.c_str(), value.real());
  }
  if (n < 0 || n >= static_cast<int>(sizeof(buffer))) {
    return absl::UnimplementedError("a format of thousands of digits");
  }
  return std::string(buffer, static_cast<size_t>(n));
}

absl::StatusOr<std::string> FormatOne(const Directive& d, const Value& value) {
  if (d.conversion == 's' || d.conversion == 'r') {
    return FormatText(d, value);
  }
  if (absl::string_view("dixXfFeEgG").find(d.conversion) !=
      absl::string_view::npos) {
    return FormatNumber(d, value);
  }
  return absl::UnimplementedError(
      absl::StrCat("%", std::string(1, d.conversion), " in a format"));
}

// What a field of `{}` shows.
absl::StatusOr<Value> BraceField(absl::string_view field,
                                 const Arguments& arguments, size_t* n_auto) {
  if (field.find_first_of(".[!:{") != absl::string_view::npos) {
    return absl::UnimplementedError(
        absl::StrCat("the field '{", field, "}' in format()"));
  }
  size_t index = 0;
  if (field.empty()) {
    index = (*n_auto)++;
  } else if (!absl::SimpleAtoi(field, &index)) {
    for (const auto& [name, value] : arguments.named) {
      if (name == field) {
        return value;
      }
    }
    return absl::InvalidArgumentError(
        absl::StrCat("format() lacks ", QuotedName(field)));
  }
  if (index >= arguments.positional.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("format() lacks argument ", index));
  }
  return arguments.positional[index];
}

constexpr absl::string_view kMonths[] = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};
constexpr absl::string_view kDays[] = {"Monday",   "Tuesday", "Wednesday",
                                       "Thursday", "Friday",  "Saturday",
                                       "Sunday"};

std::string Padded(int64_t value, int width, bool plain) {
  std::string text = absl::StrCat(value);
  if (!plain && static_cast<int>(text.size()) < width) {
    text.insert(0, static_cast<size_t>(width) - text.size(), '0');
  }
  return text;
}

absl::StatusOr<std::string> TimePart(const absl::CivilSecond& t, char c,
                                     bool plain) {
  const int weekday = static_cast<int>(absl::GetWeekday(t));  // Monday is 0
  const int hour12 = t.hour() % 12 == 0 ? 12 : t.hour() % 12;
  switch (c) {
    case 'Y':
      return Padded(t.year(), 4, plain);
    case 'y':
      return Padded(t.year() % 100, 2, plain);
    case 'm':
      return Padded(t.month(), 2, plain);
    case 'd':
      return Padded(t.day(), 2, plain);
    case 'H':
      return Padded(t.hour(), 2, plain);
    case 'I':
      return Padded(hour12, 2, plain);
    case 'M':
      return Padded(t.minute(), 2, plain);
    case 'S':
      return Padded(t.second(), 2, plain);
    case 'j':
      return Padded(absl::GetYearDay(t), 3, plain);
    case 'f':
      return std::string("000000");
    case 'e':
      return absl::StrCat(t.day() < 10 && !plain ? " " : "", t.day());
    case 'b':
    case 'h':
      return std::string(kMonths[t.month() - 1].substr(0, 3));
    case 'B':
      return std::string(kMonths[t.month() - 1]);
    case 'a':
      return std::string(kDays[weekday].substr(0, 3));
    case 'A':
      return std::string(kDays[weekday]);
    case 'p':
      return std::string(t.hour() < 12 ? "AM" : "PM");
    case 'w':
      return absl::StrCat((weekday + 1) % 7);
    case 'u':
      return absl::StrCat(weekday + 1);
    case 'Z':
    case 'z':
      return std::string();
    case 'n':
      return std::string("\n");
    case 't':
      return std::string("\t");
    case '%':
      return std::string("%");
    case 'F':
      return FormatTime(absl::FormatCivilTime(t), "%Y-%m-%d");
    case 'T':
      return FormatTime(absl::FormatCivilTime(t), "%H:%M:%S");
    case 'R':
      return FormatTime(absl::FormatCivilTime(t), "%H:%M");
    case 'D':
    case 'x':
      return FormatTime(absl::FormatCivilTime(t), "%m/%d/%y");
    case 'X':
      return FormatTime(absl::FormatCivilTime(t), "%H:%M:%S");
    case 'c':
      return FormatTime(absl::FormatCivilTime(t), "%a %b %e %H:%M:%S %Y");
    default:
      return absl::UnimplementedError(
          absl::StrCat("strftime with %", std::string(1, c)));
  }
}

}  // namespace

absl::StatusOr<Value> PercentFormat(Runtime& runtime, absl::string_view pattern,
                                    const Value& value) {
  std::vector<Value> values = {value};
  if (value.is_tuple()) {
    values = value.items();
  }
  std::string out;
  size_t n_used = 0;
  for (size_t at = 0; at < pattern.size();) {
    if (pattern[at] != '%') {
      out.push_back(pattern[at++]);
      continue;
    }
    ++at;
    ASSIGN_OR_RETURN(const Directive d, ReadDirective(pattern, &at));
    if (d.conversion == '%') {
      out.push_back('%');
      continue;
    }
    const Value* one = nullptr;
    if (!d.name.empty()) {
      one = value.is_dict() ? value.dict().Find(d.name) : nullptr;
      n_used = values.size();
    } else if (n_used < values.size()) {
      one = &values[n_used++];
    }
    if (one == nullptr) {
      return absl::InvalidArgumentError("too few values for a format");
    }
    ASSIGN_OR_RETURN(const std::string text, FormatOne(d, *one));
    RETURN_IF_ERROR(runtime.ChargeSize(text.size()));
    out += text;
    if (out.size() > Runtime::kMaxTextBytes) {
      return runtime.ChargeSize(out.size());
    }
  }
  if (n_used < values.size() && !value.is_dict()) {
    return absl::InvalidArgumentError("too many values for a format");
  }
  return Value::Text(std::move(out));
}

absl::StatusOr<Value> BraceFormat(Runtime& runtime, absl::string_view pattern,
                                  const Arguments& arguments) {
  std::string out;
  size_t n_auto = 0;
  for (size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if (c != '{' && c != '}') {
      out.push_back(c);
      continue;
    }
    if (at + 1 < pattern.size() && pattern[at + 1] == c) {
      out.push_back(c);
      ++at;
      continue;
    }
    const size_t end = pattern.find('}', at);
    if (c == '}' || end == absl::string_view::npos) {
      return absl::InvalidArgumentError("a lone brace in format()");
    }
    ASSIGN_OR_RETURN(
        const Value value,
        BraceField(pattern.substr(at + 1, end - at - 1), arguments, &n_auto));
    const size_t before = out.size();
    RETURN_IF_ERROR(AppendText(value, &out));
    RETURN_IF_ERROR(runtime.ChargeSize(out.size() - before));
    if (out.size() > Runtime::kMaxTextBytes) {
      return runtime.ChargeSize(out.size());
    }
    at = end;
  }
  return Value::Text(std::move(out));
}

absl::StatusOr<std::string> FormatTime(absl::string_view now,
                                       absl::string_view pattern) {
  absl::CivilSecond time;
  if (!absl::ParseLenientCivilTime(
          std::string(now.substr(0, 10)) +
              (now.size() > 11 ? "T" + std::string(now.substr(11)) : ""),
          &time)) {
    return absl::InvalidArgumentError(
        absl::StrCat("no date (2024-07-26): ", QuotedName(now)));
  }
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      out.push_back(pattern[i]);
      continue;
    }
    const bool plain = i + 1 < pattern.size() && pattern[i + 1] == '-';
    i += plain ? 2 : 1;
    if (i >= pattern.size()) {
      return absl::UnimplementedError("strftime with a lone %");
    }
    ASSIGN_OR_RETURN(const std::string part, TimePart(time, pattern[i], plain));
    out += part;
  }
  return out;
}

}  // namespace narrow::jinja
