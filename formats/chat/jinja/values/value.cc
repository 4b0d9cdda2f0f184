#include "formats/chat/jinja/values/value.h"

#include <algorithm>
#include <cassert>

#include "absl/strings/str_cat.h"
#include "formats/chat/jinja/values/compare.h"

namespace narrow::jinja {
namespace {

int DepthOf(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) {
    depth = std::max(depth, item.depth());
  }
  return depth + 1;
}

}  // namespace

Value Value::Undefined(std::string why) {
  Value v;
  v.shared_ = std::make_shared<const std::string>(std::move(why));
  return v;
}

Value Value::None() {
  Value v;
  v.kind_ = Kind::kNone;
  return v;
}

Value Value::Bool(bool value) {
  Value v;
  v.kind_ = Kind::kBool;
  v.number_.integer = value;
  return v;
}

Value Value::Int(int64_t value) {
  Value v;
  v.kind_ = Kind::kInt;
  v.number_.integer = value;
  return v;
}

Value Value::Float(double value) {
  Value v;
  v.kind_ = Kind::kFloat;
  v.number_.real = value;
  return v;
}

Value Value::Text(std::string text) {
  Value v;
  v.kind_ = Kind::kString;
  v.shared_ = std::make_shared<const std::string>(std::move(text));
  return v;
}

Value Value::Markup(std::string text) {
  Value v = Text(std::move(text));
  v.markup_ = true;
  return v;
}

Value Value::View(ListFlavor flavor, std::vector<Value> items) {
  auto list = std::make_shared<ListData>();
  list->flavor = flavor;
  list->depth = DepthOf(items);
  list->items = std::move(items);
  Value v;
  v.kind_ = Kind::kList;
  v.shared_ = std::move(list);
  return v;
}

Value Value::List(std::vector<Value> items) {
  return View(ListFlavor::kList, std::move(items));
}

Value Value::Tuple(std::vector<Value> items) {
  return View(ListFlavor::kTuple, std::move(items));
}

Value Value::Range(int64_t start, int64_t stop, int64_t step,
                   std::vector<Value> items) {
  auto list = std::make_shared<ListData>();
  list->flavor = ListFlavor::kRange;
  list->items = std::move(items);
  list->range[0] = start;
  list->range[1] = stop;
  list->range[2] = step;
  Value v;
  v.kind_ = Kind::kList;
  v.shared_ = std::move(list);
  return v;
}

Value Value::Of(Dict dict) {
  for (const auto& [key, value] : dict.members) {
    dict.depth = std::max({dict.depth, key.depth() + 1, value.depth() + 1});
  }
  Value v;
  v.kind_ = Kind::kDict;
  v.shared_ = std::make_shared<const Dict>(std::move(dict));
  return v;
}

Value Value::Iterator(NextFunction next) {
  Value v;
  v.kind_ = Kind::kIterator;
  v.shared_ = std::make_shared<IteratorData>(IteratorData{std::move(next)});
  return v;
}

Value Value::Of(Namespace* value) {
  Value v;
  v.kind_ = Kind::kNamespace;
  v.number_.borrowed = value;
  return v;
}

Value Value::Of(Macro* value) {
  Value v;
  v.kind_ = Kind::kMacro;
  v.number_.borrowed = value;
  return v;
}

Value Value::Of(Loop* value) {
  Value v;
  v.kind_ = Kind::kLoop;
  v.number_.borrowed = value;
  return v;
}

Value Value::Function(absl::string_view name) {
  Value v = Text(name);
  v.kind_ = Kind::kFunction;
  return v;
}

Value Value::Method(const Value& self, absl::string_view name) {
  Value v;
  v.kind_ = Kind::kMethod;
  v.shared_ =
      std::make_shared<const MethodData>(MethodData{self, std::string(name)});
  return v;
}

absl::string_view Value::text() const {
  assert(kind_ == Kind::kString || kind_ == Kind::kFunction);
  return *static_cast<const std::string*>(shared_.get());
}

const ListData& Value::list() const {
  assert(kind_ == Kind::kList);
  return *static_cast<const ListData*>(shared_.get());
}

const Dict& Value::dict() const {
  assert(kind_ == Kind::kDict);
  return *static_cast<const Dict*>(shared_.get());
}

IteratorData& Value::iterator() const {
  assert(kind_ == Kind::kIterator);
  // Reading an iterator changes it, for all who hold it.
  return *static_cast<IteratorData*>(const_cast<void*>(shared_.get()));
}

Namespace* Value::name_space() const {
  assert(kind_ == Kind::kNamespace);
  return static_cast<Namespace*>(number_.borrowed);
}

Macro* Value::macro() const {
  assert(kind_ == Kind::kMacro);
  return static_cast<Macro*>(number_.borrowed);
}

Loop* Value::loop() const {
  assert(kind_ == Kind::kLoop);
  return static_cast<Loop*>(number_.borrowed);
}

const MethodData& Value::method() const {
  assert(kind_ == Kind::kMethod);
  return *static_cast<const MethodData*>(shared_.get());
}

std::string Value::why() const {
  return shared_ == nullptr || kind_ != Kind::kUndefined
             ? "the value is undefined"
             : *static_cast<const std::string*>(shared_.get());
}

int Value::depth() const {
  switch (kind_) {
    case Kind::kList:
      return list().depth;
    case Kind::kDict:
      return dict().depth;
    case Kind::kMethod:
      return method().self.depth() + 1;
    default:
      return 0;
  }
}

bool Value::Truth() const {
  switch (kind_) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return number_.integer != 0;
    case Kind::kFloat:
      return number_.real != 0;
    case Kind::kString:
      return !text().empty();
    case Kind::kList:
      return !items().empty();
    case Kind::kDict:
      return !dict().members.empty();
    default:
      return true;
  }
}

const Value* Dict::Find(absl::string_view key) const {
  const auto it = by_text_.find(key);
  return it == by_text_.end() ? nullptr : &members[it->second].second;
}

const Value* Dict::Find(const Value& key) const {
  if (key.is_string()) {
    return Find(key.text());
  }
  for (const auto& [name, value] : members) {
    if (!name.is_string() && Equal(name, key)) {
      return &value;
    }
  }
  return nullptr;
}

void Dict::Set(const Value& key, const Value& value) {
  if (const Value* old = Find(key)) {
    *const_cast<Value*>(old) = value;
    return;
  }
  if (key.is_string()) {
    by_text_.emplace(key.text(), members.size());
  }
  members.emplace_back(key, value);
}

const Value* Namespace::Find(absl::string_view name) const {
  for (const auto& [key, value] : members) {
    if (key == name) {
      return &value;
    }
  }
  return nullptr;
}

void Namespace::Set(absl::string_view name, const Value& value) {
  if (const Value* old = Find(name)) {
    *const_cast<Value*>(old) = value;
    return;
  }
  members.emplace_back(std::string(name), value);
}

std::string TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "bool object";
    case Kind::kInt:
      return "int object";
    case Kind::kFloat:
      return "float object";
    case Kind::kString:
      return value.is_markup() ? "Markup object" : "str object";
    case Kind::kList:
      switch (value.list().flavor) {
        case ListFlavor::kList:
          return "list object";
        case ListFlavor::kTuple:
          return "tuple object";
        case ListFlavor::kRange:
          return "range object";
        default:
          return "dictionary view object";
      }
    case Kind::kDict:
      return "dict object";
    case Kind::kIterator:
      return "generator object";
    case Kind::kNamespace:
      return "namespace object";
    case Kind::kMacro:
      return "macro object";
    case Kind::kLoop:
      return "loop object";
    case Kind::kFunction:
      return absl::StrCat("function '", value.text(), "'");
    case Kind::kMethod:
      return absl::StrCat("method '", value.method().name, "'");
  }
  return "object";
}

}  // namespace narrow::jinja
