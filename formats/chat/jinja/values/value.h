// The values that a template computes with: those of JSON, and what Jinja
// adds (undefined, tuples, namespaces, macros, loops, lazy iterators).
//
//   Value v = Value::List({Value::Int(1), Value::Text("a")});
//   if (v.is_list()) for (const Value& item : v.items()) ...
//
// Strings, lists and dictionaries are shared and never change. Namespaces,
// macros and loops are borrowed from the render that made them, so that no
// cycle of owners can arise. Belongs to one thread.

#ifndef NARROW_FORMATS_CHAT_JINJA_VALUES_VALUE_H_
#define NARROW_FORMATS_CHAT_JINJA_VALUES_VALUE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow::jinja {

class Value;
struct Dict;
struct Macro;
struct Loop;
struct Namespace;

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,  // and tuples, ranges, views of a dictionary: see ListFlavor
  kDict,
  kIterator,  // what a filter such as `map` gives: read once
  kNamespace,
  kMacro,
  kLoop,
  kFunction,  // a global: `range`
  kMethod,    // bound to a value: `x.strip`
};

enum class ListFlavor : uint8_t {
  kList,
  kTuple,
  kRange,
  kKeys,
  kValues,
  kItems,
};

struct ListData {
  ListFlavor flavor = ListFlavor::kList;
  int depth = 1;  // of nesting, this list included
  std::vector<Value> items;
  int64_t range[3] = {0, 0, 1};  // start, stop, step of a kRange
};

// Gives the next value; false at the end.
using NextFunction = std::function<absl::StatusOr<bool>(Value*)>;

struct IteratorData {
  NextFunction next;
};

struct MethodData;

class Value {
 public:
  Value() = default;  // undefined, without a reason
  // `why` words the error of using it: "'x' is undefined".
  static Value Undefined(std::string why);
  static Value None();
  static Value Bool(bool value);
  static Value Int(int64_t value);
  static Value Float(double value);
  static Value Text(std::string text);
  static Value Text(absl::string_view text) { return Text(std::string(text)); }
  static Value Text(const char* text) { return Text(std::string(text)); }
  // Text that is taken to be escaped: what `safe` and `escape` give.
  static Value Markup(std::string text);
  static Value List(std::vector<Value> items);
  static Value Tuple(std::vector<Value> items);
  static Value Range(int64_t start, int64_t stop, int64_t step,
                     std::vector<Value> items);
  static Value View(ListFlavor flavor, std::vector<Value> items);
  static Value Of(Dict dict);
  static Value Iterator(NextFunction next);
  static Value Of(Namespace* value);
  static Value Of(Macro* value);
  static Value Of(Loop* value);
  static Value Function(absl::string_view name);
  static Value Method(const Value& self, absl::string_view name);

  Kind kind() const { return kind_; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_bool() const { return kind_ == Kind::kBool; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_dict() const { return kind_ == Kind::kDict; }
  bool is_any_list() const { return kind_ == Kind::kList; }
  bool is_list() const { return HasFlavor(ListFlavor::kList); }
  bool is_tuple() const { return HasFlavor(ListFlavor::kTuple); }
  // Bools are integers too, as in Python.
  bool is_integer() const { return kind_ == Kind::kInt || is_bool(); }
  bool is_number() const { return is_integer() || kind_ == Kind::kFloat; }
  bool is_markup() const { return markup_; }

  // REQUIRES: of that kind.
  bool bool_value() const { return number_.integer != 0; }
  int64_t integer() const { return number_.integer; }
  double real() const {
    return kind_ == Kind::kFloat ? number_.real
                                 : static_cast<double>(number_.integer);
  }
  absl::string_view text() const;
  const ListData& list() const;
  const std::vector<Value>& items() const { return list().items; }
  const Dict& dict() const;
  IteratorData& iterator() const;
  Namespace* name_space() const;
  Macro* macro() const;
  Loop* loop() const;
  absl::string_view function_name() const { return text(); }
  const MethodData& method() const;
  // Why it is undefined.
  std::string why() const;

  // Levels of lists and dictionaries within it.
  int depth() const;
  // What `if` takes it for.
  bool Truth() const;

 private:
  bool HasFlavor(ListFlavor flavor) const {
    return kind_ == Kind::kList && list().flavor == flavor;
  }

  Kind kind_ = Kind::kUndefined;
  bool markup_ = false;
  union {
    int64_t integer;
    double real;
    void* borrowed;
  } number_ = {0};
  std::shared_ptr<const void> shared_;
};

// In order of insertion, as Python's. Keys are strings in nearly all cases.
struct Dict {
  std::vector<std::pair<Value, Value>> members;
  int depth = 1;

  const Value* Find(const Value& key) const;
  const Value* Find(absl::string_view key) const;
  void Set(const Value& key, const Value& value);

 private:
  // Numbers as keys are looked for one by one: 1, 1.0 and True are the same.
  absl::flat_hash_map<std::string, size_t> by_text_;
};

struct MethodData {
  Value self;
  std::string name;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> members;

  const Value* Find(absl::string_view name) const;
  void Set(absl::string_view name, const Value& value);
};

// "dict object", "str object", "None": as messages of Jinja name it.
std::string TypeName(const Value& value);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_VALUES_VALUE_H_
