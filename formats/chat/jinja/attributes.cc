#include "formats/chat/jinja/attributes.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/builtins/string_methods.h"
#include "formats/chat/jinja/iterate.h"
#include "formats/chat/jinja/loop.h"
#include "formats/chat/jinja/values/compare.h"
#include "formats/chat/jinja/values/text.h"

namespace narrow::jinja {
namespace {

using Names = absl::Span<const absl::string_view>;

// Every public name of Python's types: a key of that name is found with
// brackets only, even if we have no such method.
constexpr absl::string_view kStringNames[] = {
    "capitalize",   "casefold",     "center",    "count",     "encode",
    "endswith",     "expandtabs",   "find",      "format",    "format_map",
    "index",        "isalnum",      "isalpha",   "isascii",   "isdecimal",
    "isdigit",      "isidentifier", "islower",   "isnumeric", "isprintable",
    "isspace",      "istitle",      "isupper",   "join",      "ljust",
    "lower",        "lstrip",       "maketrans", "partition", "removeprefix",
    "removesuffix", "replace",      "rfind",     "rindex",    "rjust",
    "rpartition",   "rsplit",       "rstrip",    "split",     "splitlines",
    "startswith",   "strip",        "swapcase",  "title",     "translate",
    "upper",        "zfill"};
constexpr absl::string_view kListNames[] = {"copy", "count", "index"};
constexpr absl::string_view kTupleNames[] = {"count", "index"};
constexpr absl::string_view kRangeNames[] = {"count", "index", "start", "stop",
                                             "step"};
constexpr absl::string_view kViewNames[] = {"isdisjoint", "mapping"};
constexpr absl::string_view kDictNames[] = {"copy",  "fromkeys", "get",
                                            "items", "keys",     "values"};
constexpr absl::string_view kIntNames[] = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator",
    "from_bytes",       "imag",      "numerator",  "real",      "to_bytes"};
constexpr absl::string_view kFloatNames[] = {
    "as_integer_ratio", "conjugate", "fromhex", "hex", "imag",
    "is_integer",       "real"};
constexpr absl::string_view kMacroNames[] = {"name",         "arguments",
                                             "catch_kwargs", "catch_varargs",
                                             "caller",       "explicit_caller"};
// What the sandbox keeps back.
constexpr absl::string_view kListChanges[] = {
    "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
constexpr absl::string_view kDictChanges[] = {"clear", "pop", "popitem",
                                              "setdefault", "update"};

Names NamesOfList(ListFlavor flavor) {
  switch (flavor) {
    case ListFlavor::kList:
      return kListNames;
    case ListFlavor::kTuple:
      return kTupleNames;
    case ListFlavor::kRange:
      return kRangeNames;
    default:
      return kViewNames;
  }
}

Names NamesOf(const Value& value) {
  switch (value.kind()) {
    case Kind::kString:
      return kStringNames;
    case Kind::kList:
      return NamesOfList(value.list().flavor);
    case Kind::kDict:
      return kDictNames;
    case Kind::kBool:
    case Kind::kInt:
      return kIntNames;
    case Kind::kFloat:
      return kFloatNames;
    case Kind::kMacro:
      return kMacroNames;
    default:
      return {};
  }
}

bool Has(Names names, absl::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool IsChange(const Value& value, absl::string_view name) {
  return (value.is_list() && Has(kListChanges, name)) ||
         (value.is_dict() && Has(kDictChanges, name));
}

Value NoAttribute(const Value& value, absl::string_view name) {
  return Value::Undefined(absl::StrCat(
      "'", TypeName(value), "' has no attribute ", QuotedName(name)));
}

// The attribute that Python's object has, or nothing.
absl::StatusOr<std::optional<Value>> FindAttribute(const Value& value,
                                                   absl::string_view name) {
  if (value.kind() == Kind::kNamespace) {
    const Value* member = value.name_space()->Find(name);
    return member == nullptr ? std::nullopt : std::optional<Value>(*member);
  }
  if (value.kind() == Kind::kLoop) {
    ASSIGN_OR_RETURN(Value attribute, value.loop()->Attribute(name));
    return std::optional<Value>(std::move(attribute));
  }
  if (IsChange(value, name)) {
    return std::optional<Value>(
        Value::Undefined(absl::StrCat("access to attribute '", name, "' of a ",
                                      TypeName(value), " is unsafe")));
  }
  if (Has(NamesOf(value), name)) {
    return std::optional<Value>(Value::Method(value, name));
  }
  if (name == "__class__" || name == "__doc__" || name == "__init__") {
    return std::optional<Value>(
        Value::Undefined(absl::StrCat("access to '", name, "' is unsafe")));
  }
  return std::optional<Value>();
}

std::optional<Value> FindItem(const Value& value, const Value& key) {
  if (value.is_dict()) {
    const Value* found = value.dict().Find(key);
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  if (!key.is_integer()) {
    return std::nullopt;
  }
  int64_t i = key.integer();
  if (value.is_any_list() && value.list().flavor <= ListFlavor::kRange) {
    const int64_t n = static_cast<int64_t>(value.items().size());
    i += i < 0 ? n : 0;
    return i < 0 || i >= n
               ? std::nullopt
               : std::optional<Value>(value.items()[static_cast<size_t>(i)]);
  }
  if (value.is_string() && !value.is_markup()) {
    const int64_t n = CodePointCount(value.text());
    i += i < 0 ? n : 0;
    if (i < 0 || i >= n) {
      return std::nullopt;
    }
    const absl::string_view rest =
        value.text().substr(ByteOffset(value.text(), i));
    return Value::Text(rest.substr(0, ByteOffset(rest, 1)));
  }
  return std::nullopt;
}

// Python's slice.indices(): what is taken, in order.
absl::StatusOr<std::vector<int64_t>> SliceIndices(int64_t n, const Value& start,
                                                  const Value& stop,
                                                  const Value& step) {
  for (const Value* bound : {&start, &stop, &step}) {
    if (!bound->is_none() && !bound->is_integer()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a slice wants integers, got a ", TypeName(*bound)));
    }
  }
  const int64_t by = step.is_none() ? 1 : step.integer();
  if (by == 0) {
    return absl::InvalidArgumentError("a slice with step 0");
  }
  const int64_t low = by < 0 ? -1 : 0;
  const int64_t high = by < 0 ? n - 1 : n;
  const auto bound = [&](const Value& v, int64_t otherwise) {
    if (v.is_none()) {
      return otherwise;
    }
    const int64_t at = v.integer();
    return std::clamp(at < 0 && at >= -n ? at + n
                      : at < 0           ? low
                                         : at,
                      low, high);
  };
  int64_t at = bound(start, by < 0 ? high : low);
  const int64_t end = bound(stop, by < 0 ? low : high);
  std::vector<int64_t> indices;
  while (by < 0 ? at > end : at < end) {
    indices.push_back(at);
    if (by >= n || by <= -n) {
      break;  // one step leads outside, and may overflow
    }
    at += by;
  }
  return indices;
}

absl::StatusOr<Value> CallDictMethod(const Value& self, absl::string_view name,
                                     const Arguments& arguments) {
  const Dict& dict = self.dict();
  if (name == "get") {
    ASSIGN_OR_RETURN(Parameters p, Bind(name, arguments, {"key", "default"}));
    ASSIGN_OR_RETURN(Value key, p.Required(0));
    const Value* found = dict.Find(key);
    return found != nullptr ? *found : p.Has(1) ? *p.Get(1) : Value::None();
  }
  RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  if (name == "copy") {
    return self;
  }
  std::vector<Value> items;
  for (const auto& [key, value] : dict.members) {
    items.push_back(name == "keys"     ? key
                    : name == "values" ? value
                                       : Value::Tuple({key, value}));
  }
  return Value::View(name == "keys"     ? ListFlavor::kKeys
                     : name == "values" ? ListFlavor::kValues
                                        : ListFlavor::kItems,
                     std::move(items));
}

absl::StatusOr<Value> CallListMethod(const Value& self, absl::string_view name,
                                     const Arguments& arguments) {
  if (name == "copy") {
    return self;
  }
  ASSIGN_OR_RETURN(Parameters p, Bind(name, arguments, {"value"}));
  ASSIGN_OR_RETURN(Value wanted, p.Required(0));
  const std::vector<Value>& items = self.items();
  const auto is_it = [&wanted](const Value& v) { return Equal(v, wanted); };
  if (name == "count") {
    return Value::Int(std::count_if(items.begin(), items.end(), is_it));
  }
  const auto found = std::find_if(items.begin(), items.end(), is_it);
  if (found == items.end()) {
    return absl::InvalidArgumentError("index(): the value is not in the list");
  }
  return Value::Int(found - items.begin());
}

}  // namespace

absl::StatusOr<Value> GetAttribute(const Value& value, absl::string_view name) {
  if (value.is_undefined()) {
    return absl::InvalidArgumentError(value.why());
  }
  ASSIGN_OR_RETURN(std::optional<Value> attribute, FindAttribute(value, name));
  if (attribute.has_value()) {
    return *std::move(attribute);
  }
  if (value.is_dict()) {
    if (const Value* item = value.dict().Find(name)) {
      return *item;
    }
  }
  return NoAttribute(value, name);
}

absl::StatusOr<Value> GetItem(const Value& value, const Value& key) {
  if (value.is_undefined()) {
    return absl::InvalidArgumentError(value.why());
  }
  if (value.is_markup()) {
    return absl::UnimplementedError("items of text that is marked as safe");
  }
  if (std::optional<Value> item = FindItem(value, key)) {
    return *std::move(item);
  }
  if (key.is_string()) {
    ASSIGN_OR_RETURN(std::optional<Value> attribute,
                     FindAttribute(value, key.text()));
    return attribute.has_value() ? *std::move(attribute)
                                 : NoAttribute(value, key.text());
  }
  return Value::Undefined(
      absl::StrCat("'", TypeName(value), "' has no such element"));
}

absl::StatusOr<Value> GetSlice(Runtime& runtime, const Value& value,
                               const Value& start, const Value& stop,
                               const Value& step) {
  const bool is_text = value.is_string() && !value.is_markup();
  if (value.is_undefined()) {
    return absl::InvalidArgumentError(value.why());
  }
  if (!is_text && !value.is_list() && !value.is_tuple()) {
    return value.is_any_list() || value.is_markup()
               ? absl::UnimplementedError(
                     absl::StrCat("a slice of a ", TypeName(value)))
               : absl::InvalidArgumentError(
                     absl::StrCat("a ", TypeName(value), " has no slices"));
  }
  ASSIGN_OR_RETURN(const int64_t n, LengthOf(value));
  RETURN_IF_ERROR(runtime.ChargeSize(static_cast<size_t>(n)));
  ASSIGN_OR_RETURN(std::vector<int64_t> indices,
                   SliceIndices(n, start, stop, step));
  if (is_text) {
    const std::vector<uint32_t> points = CodePoints(value.text());
    std::vector<uint32_t> taken;
    for (const int64_t i : indices) {
      taken.push_back(points[static_cast<size_t>(i)]);
    }
    return Value::Text(FromCodePoints(taken));
  }
  std::vector<Value> items;
  for (const int64_t i : indices) {
    items.push_back(value.items()[static_cast<size_t>(i)]);
  }
  return value.is_tuple() ? Value::Tuple(std::move(items))
                          : Value::List(std::move(items));
}

absl::StatusOr<Value> GetPath(const Value& value, const Value& path) {
  if (!path.is_string()) {
    return GetItem(value, path);
  }
  Value at = value;
  for (const absl::string_view part : absl::StrSplit(path.text(), '.')) {
    int64_t index;
    const bool is_index =
        !part.empty() &&
        std::all_of(part.begin(), part.end(),
                    [](unsigned char c) { return absl::ascii_isdigit(c); }) &&
        absl::SimpleAtoi(part, &index);
    ASSIGN_OR_RETURN(
        at, GetItem(at, is_index ? Value::Int(index) : Value::Text(part)));
  }
  return at;
}

absl::StatusOr<Value> CallMethod(Runtime& runtime, const MethodData& method,
                                 const Arguments& arguments) {
  const Value& self = method.self;
  if (self.is_string()) {
    return CallStringMethod(runtime, self, method.name, arguments);
  }
  if (self.is_dict() && method.name != "fromkeys") {
    return CallDictMethod(self, method.name, arguments);
  }
  if ((self.is_list() || self.is_tuple()) && method.name != "sort") {
    return CallListMethod(self, method.name, arguments);
  }
  if (self.kind() == Kind::kLoop && arguments.named.empty()) {
    if (method.name == "cycle") {
      return self.loop()->Cycle(arguments.positional);
    }
    return Value::Bool(self.loop()->Changed(arguments.positional));
  }
  return absl::UnimplementedError(
      absl::StrCat("the method '", method.name, "' of a ", TypeName(self)));
}

}  // namespace narrow::jinja
