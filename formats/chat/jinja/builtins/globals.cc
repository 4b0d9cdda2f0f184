#include "formats/chat/jinja/builtins/globals.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/builtins/format.h"
#include "formats/chat/jinja/evaluator.h"
#include "formats/chat/jinja/iterate.h"
#include "formats/chat/jinja/values/value_text.h"

namespace narrow::jinja {
namespace {

constexpr absl::string_view kGlobals[] = {
    "range",        "dict",   "namespace", "raise_exception",
    "strftime_now", "cycler", "joiner",    "lipsum"};

// Jinja's sandbox makes no longer ones.
constexpr int64_t kMaxRange = 100000;

}  // namespace

bool IsGlobal(absl::string_view name) {
  return std::find(std::begin(kGlobals), std::end(kGlobals), name) !=
         std::end(kGlobals);
}

absl::StatusOr<Value> Evaluator::CallGlobal(absl::string_view name,
                                            const Arguments& arguments) {
  if (name == "range") {
    return MakeRange(arguments);
  }
  if (name == "dict") {
    return MakeDict(arguments);
  }
  if (name == "namespace") {
    return MakeNamespace(arguments);
  }
  if (name == "raise_exception") {
    ASSIGN_OR_RETURN(Parameters p, Bind(name, arguments, {"message"}));
    ASSIGN_OR_RETURN(const Value message, p.Required(0));
    ASSIGN_OR_RETURN(const std::string text, ToText(message));
    return absl::InvalidArgumentError(text);
  }
  if (name == "strftime_now") {
    ASSIGN_OR_RETURN(Parameters p, Bind(name, arguments, {"format"}));
    ASSIGN_OR_RETURN(const std::string format, p.Text(0));
    ASSIGN_OR_RETURN(std::string text, FormatTime(runtime_.now(), format));
    return Value::Text(std::move(text));
  }
  return absl::UnimplementedError(
      absl::StrCat("the function '", name, "' in a chat template"));
}

absl::StatusOr<Value> Evaluator::MakeRange(const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("range", arguments, {"start", "stop", "step"}));
  RETURN_IF_ERROR(p.Required(0).status());
  ASSIGN_OR_RETURN(int64_t start, p.Integer(0, 0));
  ASSIGN_OR_RETURN(int64_t stop, p.Integer(1, 0));
  ASSIGN_OR_RETURN(const int64_t step, p.Integer(2, 1));
  if (!p.Has(1)) {
    stop = std::exchange(start, 0);
  }
  if (step == 0) {
    return absl::InvalidArgumentError("range() with step 0");
  }
  std::vector<Value> items;
  int64_t at = start;
  while (step > 0 ? at < stop : at > stop) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      return absl::InvalidArgumentError("range() of more than 100000 numbers");
    }
    items.push_back(Value::Int(at));
    if (__builtin_add_overflow(at, step, &at)) {
      break;
    }
  }
  RETURN_IF_ERROR(runtime_.Charge(static_cast<int64_t>(items.size() / 4)));
  return Value::Range(start, stop, step, std::move(items));
}

absl::StatusOr<Value> Evaluator::MakeDict(const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1) {
    return absl::InvalidArgumentError("dict() of more than one value");
  }
  for (const Value& from : arguments.positional) {
    if (from.is_dict()) {
      dict = from.dict();
      dict.depth = 1;
      continue;
    }
    ASSIGN_OR_RETURN(const std::vector<Value> pairs, ToVector(runtime_, from));
    for (const Value& pair : pairs) {
      ASSIGN_OR_RETURN(const std::vector<Value> two, ToVector(runtime_, pair));
      if (two.size() != 2 || two[0].is_list() || two[0].is_dict()) {
        return absl::InvalidArgumentError("dict() of what are no pairs");
      }
      dict.Set(two[0], two[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) {
    dict.Set(Value::Text(name), value);
  }
  RETURN_IF_ERROR(runtime_.ChargeSize(dict.members.size() * 64));
  return Value::Of(std::move(dict));
}

absl::StatusOr<Value> Evaluator::MakeNamespace(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Value dict, MakeDict(arguments));
  auto made = std::make_unique<Namespace>();
  for (const auto& [key, value] : dict.dict().members) {
    if (!key.is_string() || absl::StartsWith(key.text(), "_")) {
      return absl::InvalidArgumentError(
          "a namespace's names are text and begin with no underscore");
    }
    made->Set(key.text(), value);
  }
  RETURN_IF_ERROR(runtime_.Charge(20));
  namespaces_.push_back(std::move(made));
  return Value::Of(namespaces_.back().get());
}

}  // namespace narrow::jinja
