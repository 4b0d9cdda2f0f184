// Filters whose result is text or a number.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/chat/jinja/builtins/filters_impl.h"
#include "formats/chat/jinja/builtins/format.h"
#include "formats/chat/jinja/builtins/string_methods.h"
#include "formats/chat/jinja/iterate.h"
#include "formats/chat/jinja/operators.h"
#include "formats/chat/jinja/values/json_text.h"
#include "formats/chat/jinja/values/text.h"
#include "formats/chat/jinja/values/value_text.h"

namespace narrow::jinja {
namespace {

using Result = absl::StatusOr<Value>;

template <std::string (*function)(absl::string_view)>
Result Convert(absl::string_view name, const Value& value,
               const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  return Value::Text(function(text));
}

// Jinja's title: words begin behind white space, hyphens and brackets.
std::string TitleWords(absl::string_view text) {
  std::string out;
  size_t begin = 0;
  const auto add_word = [&](size_t end) {
    const absl::string_view word = text.substr(begin, end - begin);
    const size_t first = ByteOffset(word, 1);
    out += Upper(word.substr(0, first)) + Lower(word.substr(first));
  };
  for (size_t at = 0; at < text.size();) {
    size_t n;
    const uint32_t c = utf8::Read(text.data() + at, &n);
    if (IsSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' ||
        c == '<') {
      add_word(at);
      out.append(text.data() + at, n);
      begin = at + n;
    }
    at += n;
  }
  add_word(text.size());
  return out;
}

// A number as Python's float() reads it.
bool ReadReal(absl::string_view text, double* value) {
  text = StripSpace(text, Sides::kBoth);
  // Underscores between digits, and no hexadecimals.
  if (text.find_first_of("xX_") != absl::string_view::npos) {
    return false;
  }
  return absl::SimpleAtod(text, value);
}

// An integer as Python's int() reads it, in base 10.
bool ReadInteger(absl::string_view text, int64_t* value) {
  return absl::SimpleAtoi(StripSpace(text, Sides::kBoth), value);
}

Result RealToInteger(double real) {
  if (!(std::fabs(real) < 0x1p63)) {
    return absl::UnimplementedError("an integer beyond 64 bits");
  }
  return Value::Int(static_cast<int64_t>(real));
}

// Rounds a double to decimal places, half to even of the exact value, as
// Python does: by way of its shortest exact decimal.
double RoundDecimal(double value, int64_t places) {
  if (!std::isfinite(value) || places > 300) {
    return value;
  }
  if (places >= 0) {
    char buffer[768];
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(places),
                  value);
    return std::strtod(buffer, nullptr);
  }
  if (places < -308) {
    return std::copysign(0.0, value);
  }
  const double scale = std::pow(10.0, static_cast<double>(-places));
  return std::nearbyint(value / scale) * scale;
}

}  // namespace

Result FilterUpper(Runtime&, const Value& value, const Arguments& arguments) {
  return Convert<Upper>("upper", value, arguments);
}

Result FilterLower(Runtime&, const Value& value, const Arguments& arguments) {
  return Convert<Lower>("lower", value, arguments);
}

Result FilterCapitalize(Runtime&, const Value& value,
                        const Arguments& arguments) {
  return Convert<Capitalize>("capitalize", value, arguments);
}

Result FilterTitle(Runtime&, const Value& value, const Arguments& arguments) {
  return Convert<TitleWords>("title", value, arguments);
}

Result FilterString(Runtime&, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("string", arguments, {}).status());
  if (value.is_string()) {
    return value;
  }
  ASSIGN_OR_RETURN(std::string text, ToText(value));
  return Value::Text(std::move(text));
}

Result FilterTrim(Runtime& runtime, const Value& value,
                  const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p, Bind("trim", arguments, {"chars"}));
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  RETURN_IF_ERROR(runtime.ChargeSize(text.size()));
  if (p.IsNone(0)) {
    return Value::Text(StripSpace(text, Sides::kBoth));
  }
  ASSIGN_OR_RETURN(const std::string chars, p.Text(0));
  return Value::Text(StripSet(text, chars, Sides::kBoth));
}

Result FilterReplace(Runtime& runtime, const Value& value,
                     const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("replace", arguments, {"old", "new", "count"}));
  ASSIGN_OR_RETURN(const Value from, p.Required(0));
  ASSIGN_OR_RETURN(const Value to, p.Required(1));
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  ASSIGN_OR_RETURN(std::string from_text, ToText(from));
  ASSIGN_OR_RETURN(std::string to_text, ToText(to));
  Arguments call;
  call.positional = {Value::Text(std::move(from_text)),
                     Value::Text(std::move(to_text))};
  if (!p.IsNone(2)) {
    call.positional.push_back(*p.Get(2));
  }
  return CallStringMethod(runtime, Value::Text(text), "replace", call);
}

Result FilterCenter(Runtime& runtime, const Value& value,
                    const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p, Bind("center", arguments, {"width"}));
  ASSIGN_OR_RETURN(const int64_t width, p.Integer(0, 80));
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  Arguments call;
  call.positional = {Value::Int(width)};
  return CallStringMethod(runtime, Value::Text(text), "center", call);
}

Result FilterFormat(Runtime& runtime, const Value& value,
                    const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  if (arguments.named.empty()) {
    return PercentFormat(runtime, text, Value::Tuple(arguments.positional));
  }
  if (!arguments.positional.empty()) {
    return absl::InvalidArgumentError(
        "'format' takes plain or named arguments, not both");
  }
  Dict dict;
  for (const auto& [name, argument] : arguments.named) {
    dict.Set(Value::Text(name), argument);
  }
  return PercentFormat(runtime, text, Value::Of(std::move(dict)));
}

Result FilterIndent(Runtime& runtime, const Value& value,
                    const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("indent", arguments, {"width", "first", "blank"}));
  if (!value.is_string()) {
    return absl::InvalidArgumentError(
        value.is_undefined() ? value.why()
                             : absl::StrCat("'indent' of a ", TypeName(value)));
  }
  std::string space;
  if (p.Has(0) && p.Get(0)->is_string()) {
    space = std::string(p.Get(0)->text());
  } else {
    ASSIGN_OR_RETURN(const int64_t width, p.Integer(0, 4));
    RETURN_IF_ERROR(
        runtime.ChargeSize(static_cast<size_t>(std::max<int64_t>(width, 0))));
    space = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const bool blank = p.Truth(2, false);
  // One more newline, so that a last one is not lost.
  const std::string text = absl::StrCat(value.text(), "\n");
  const std::vector<absl::string_view> lines = SplitLines(text, false);
  RETURN_IF_ERROR(
      runtime.ChargeSize(text.size() + lines.size() * space.size()));
  std::string out = p.Truth(1, false) ? space : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      absl::StrAppend(&out, "\n", blank || !lines[i].empty() ? space : "");
    }
    absl::StrAppend(&out, lines[i]);
  }
  return Value::Text(std::move(out));
}

Result FilterTruncate(Runtime&, const Value& value,
                      const Arguments& arguments) {
  ASSIGN_OR_RETURN(
      Parameters p,
      Bind("truncate", arguments, {"length", "killwords", "end", "leeway"}));
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  ASSIGN_OR_RETURN(const int64_t length, p.Integer(0, 255));
  ASSIGN_OR_RETURN(const std::string end, p.Text(2, "..."));
  ASSIGN_OR_RETURN(const int64_t leeway,
                   p.IsNone(3) ? absl::StatusOr<int64_t>(5) : p.Integer(3, 5));
  const int64_t n_end = CodePointCount(end);
  if (length < n_end || leeway < 0) {
    return absl::InvalidArgumentError("'truncate': a length too small");
  }
  if (CodePointCount(text) - leeway <= length) {
    return Value::Text(text);
  }
  absl::string_view kept(text);
  kept = kept.substr(0, ByteOffset(kept, length - n_end));
  if (!p.Truth(1, false)) {
    const size_t space = kept.rfind(' ');
    kept = kept.substr(0, space);  // all of it, if there is none
  }
  return Value::Text(absl::StrCat(kept, end));
}

Result FilterWordCount(Runtime&, const Value& value,
                       const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("wordcount", arguments, {}).status());
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  int64_t n_words = 0;
  bool in_word = false;
  for (const uint32_t c : CodePoints(text)) {
    std::string one;
    utf8::Append(c, &one);
    const bool is_word = c == '_' || IsAlphanumeric(one);
    n_words += is_word && !in_word;
    in_word = is_word;
  }
  return Value::Int(n_words);
}

Result FilterEscape(Runtime&, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("escape", arguments, {}).status());
  if (value.is_markup()) {
    return value;
  }
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  return Value::Markup(EscapeHtml(text));
}

Result FilterForceEscape(Runtime&, const Value& value,
                         const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("forceescape", arguments, {}).status());
  ASSIGN_OR_RETURN(const std::string text, ToText(value));
  return Value::Markup(EscapeHtml(text));
}

Result FilterSafe(Runtime&, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("safe", arguments, {}).status());
  ASSIGN_OR_RETURN(std::string text, ToText(value));
  return Value::Markup(std::move(text));
}

Result FilterToJson(Runtime& runtime, const Value& value,
                    const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("tojson", arguments,
                        {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonTextOptions options;
  options.ensure_ascii = p.Truth(0, false);
  options.sort_keys = p.Truth(3, false);
  if (!p.IsNone(1)) {
    if (p.Get(1)->is_string()) {
      options.indent = std::string(p.Get(1)->text());
    } else {
      ASSIGN_OR_RETURN(const int64_t n, p.Integer(1, 0));
      if (n > 1000) {
        return absl::UnimplementedError("tojson with an indent above 1000");
      }
      options.indent =
          std::string(static_cast<size_t>(std::max<int64_t>(n, 0)), ' ');
    }
    options.item_separator = ",";
  }
  if (!p.IsNone(2)) {
    const Value* pair = p.Get(2);
    if (!pair->is_any_list() || pair->items().size() != 2 ||
        !pair->items()[0].is_string() || !pair->items()[1].is_string()) {
      return absl::InvalidArgumentError("tojson wants two separators");
    }
    options.item_separator = std::string(pair->items()[0].text());
    options.key_separator = std::string(pair->items()[1].text());
  }
  ASSIGN_OR_RETURN(std::string text, ToJsonText(value, options));
  RETURN_IF_ERROR(runtime.ChargeSize(text.size()));
  return Value::Text(std::move(text));
}

Result FilterJoin(Runtime& runtime, const Value& value,
                  const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p, Bind("join", arguments, {"d", "attribute"}));
  std::string between;
  if (p.Has(0)) {
    ASSIGN_OR_RETURN(between, ToText(*p.Get(0)));
  }
  Value list = value;
  if (!p.IsNone(1)) {
    Arguments map;
    map.named.emplace_back("attribute", *p.Get(1));
    ASSIGN_OR_RETURN(list, FilterMap(runtime, value, map));
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(runtime, list));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) {
      out += between;
    }
    const size_t before = out.size();
    RETURN_IF_ERROR(AppendText(items[i], &out));
    RETURN_IF_ERROR(runtime.ChargeSize(out.size() - before + between.size()));
    if (out.size() > Runtime::kMaxTextBytes) {
      return runtime.ChargeSize(out.size());
    }
  }
  return Value::Text(std::move(out));
}

Result FilterInt(Runtime&, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p, Bind("int", arguments, {"default", "base"}));
  ASSIGN_OR_RETURN(const int64_t base, p.Integer(1, 10));
  if (base != 10) {
    return absl::UnimplementedError("the filter 'int' with a base");
  }
  const Value otherwise = p.Has(0) ? *p.Get(0) : Value::Int(0);
  if (value.is_undefined()) {
    return absl::InvalidArgumentError(value.why());
  }
  if (value.is_integer()) {
    return Value::Int(value.integer());
  }
  double real = 0;
  if (value.is_string()) {
    int64_t integer;
    if (ReadInteger(value.text(), &integer)) {
      return Value::Int(integer);
    }
    if (!ReadReal(value.text(), &real)) {
      return value.text().find('_') != absl::string_view::npos
                 ? Result(absl::UnimplementedError(
                       "the filter 'int' of text with underscores"))
                 : otherwise;
    }
  } else if (value.is_number()) {
    real = value.real();
  } else {
    return otherwise;
  }
  return std::isfinite(real) ? RealToInteger(real) : otherwise;
}

Result FilterFloat(Runtime&, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p, Bind("float", arguments, {"default"}));
  if (value.is_undefined()) {
    return absl::InvalidArgumentError(value.why());
  }
  double real;
  if (value.is_number()) {
    return Value::Float(value.real());
  }
  if (value.is_string() && ReadReal(value.text(), &real)) {
    return Value::Float(real);
  }
  return p.Has(0) ? *p.Get(0) : Value::Float(0);
}

Result FilterAbs(Runtime&, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("abs", arguments, {}).status());
  if (value.is_number() && !value.is_integer()) {
    return Value::Float(std::fabs(value.real()));
  }
  if (value.is_integer() && value.integer() >= 0) {
    return Value::Int(value.integer());
  }
  return Negate(value);
}

Result FilterRound(Runtime&, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("round", arguments, {"precision", "method"}));
  ASSIGN_OR_RETURN(const int64_t places, p.Integer(0, 0));
  ASSIGN_OR_RETURN(const std::string method, p.Text(1, "common"));
  if (!value.is_number()) {
    return absl::InvalidArgumentError(
        value.is_undefined() ? value.why()
                             : absl::StrCat("'round' of a ", TypeName(value)));
  }
  if (method == "common") {
    if (value.is_integer()) {
      return places >= 0
                 ? Result(Value::Int(value.integer()))
                 : absl::UnimplementedError("'round' of an integer to tens");
    }
    return Value::Float(RoundDecimal(value.real(), places));
  }
  if (method != "ceil" && method != "floor") {
    return absl::InvalidArgumentError(
        "'round' knows the methods common, ceil and floor");
  }
  if (places < 0 || places > 15) {
    return absl::UnimplementedError("'round' up or down to that precision");
  }
  const double scale = std::pow(10.0, static_cast<double>(places));
  const double scaled = value.real() * scale;
  return Value::Float(
      (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

}  // namespace narrow::jinja
