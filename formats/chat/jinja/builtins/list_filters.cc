// Filters over lists and dictionaries that give lists or one of their items.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/attributes.h"
#include "formats/chat/jinja/builtins/filters_impl.h"
#include "formats/chat/jinja/iterate.h"
#include "formats/chat/jinja/operators.h"
#include "formats/chat/jinja/values/compare.h"
#include "formats/chat/jinja/values/text.h"

namespace narrow::jinja {
namespace {

using Result = absl::StatusOr<Value>;

struct Keyed {
  Value key;
  Value item;
};

// Stable, also downwards: equal items keep their order, as in Python.
absl::Status SortKeyed(bool reverse, std::vector<Keyed>* items) {
  absl::Status status;
  const auto less = [&status](const Value& a, const Value& b) {
    const absl::StatusOr<bool> result = Less(a, b);
    if (!result.ok()) {
      status = result.status();
    }
    return result.ok() && *result;
  };
  // Kinds without an order, found beforehand: std::stable_sort needs one.
  for (size_t i = 1; i < items->size(); ++i) {
    less((*items)[0].key, (*items)[i].key);
    less((*items)[i - 1].key, (*items)[i].key);
  }
  RETURN_IF_ERROR(status);
  std::stable_sort(items->begin(), items->end(),
                   [&](const Keyed& a, const Keyed& b) {
                     return reverse ? less(b.key, a.key) : less(a.key, b.key);
                   });
  return status;
}

// What an item is sorted or compared by: one or several of its attributes.
Result KeyOf(const Value& item, const Parameters& p, size_t i_attribute,
             bool case_sensitive) {
  if (p.IsNone(i_attribute)) {
    return SortKey(item, case_sensitive);
  }
  const Value& attribute = *p.Get(i_attribute);
  if (!attribute.is_string()) {
    ASSIGN_OR_RETURN(Value part, GetPath(item, attribute));
    return SortKey(part, case_sensitive);
  }
  std::vector<Value> parts;
  for (const absl::string_view name : absl::StrSplit(attribute.text(), ',')) {
    ASSIGN_OR_RETURN(Value part, GetPath(item, Value::Text(name)));
    parts.push_back(SortKey(part, case_sensitive));
  }
  return Value::List(std::move(parts));
}

Result Extreme(Runtime& runtime, bool largest, const Value& value,
               const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p, Bind(largest ? "max" : "min", arguments,
                                      {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(runtime, value));
  if (items.empty()) {
    return Value::Undefined("No aggregated item, sequence was empty.");
  }
  size_t best = 0;
  ASSIGN_OR_RETURN(Value best_key, KeyOf(items[0], p, 1, p.Truth(0, false)));
  for (size_t i = 1; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(Value key, KeyOf(items[i], p, 1, p.Truth(0, false)));
    ASSIGN_OR_RETURN(const bool better,
                     largest ? Less(best_key, key) : Less(key, best_key));
    if (better) {
      best = i;
      best_key = std::move(key);
    }
  }
  return items[best];
}

}  // namespace

Value SortKey(const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? Value::Text(Lower(value.text()))
                                              : value;
}

Result FilterDefault(Runtime&, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("default", arguments, {"default_value", "boolean"}));
  if (value.is_undefined() || (p.Truth(1, false) && !value.Truth())) {
    return p.Has(0) ? *p.Get(0) : Value::Text("");
  }
  return value;
}

Result FilterLength(Runtime&, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("length", arguments, {}).status());
  ASSIGN_OR_RETURN(const int64_t n, LengthOf(value));
  return Value::Int(n);
}

Result FilterList(Runtime& runtime, const Value& value,
                  const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("list", arguments, {}).status());
  ASSIGN_OR_RETURN(std::vector<Value> items, ToVector(runtime, value));
  return Value::List(std::move(items));
}

Result FilterFirst(Runtime&, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("first", arguments, {}).status());
  ASSIGN_OR_RETURN(NextFunction next, Iterate(value));
  Value item;
  ASSIGN_OR_RETURN(const bool any, next(&item));
  return any ? item : Value::Undefined("No first item, sequence was empty.");
}

Result FilterLast(Runtime& runtime, const Value& value,
                  const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("last", arguments, {}).status());
  if (value.kind() == Kind::kIterator) {
    return absl::InvalidArgumentError("the last item of a generator");
  }
  ASSIGN_OR_RETURN(std::vector<Value> items, ToVector(runtime, value));
  return items.empty() ? Value::Undefined("No last item, sequence was empty.")
                       : items.back();
}

Result FilterItems(Runtime&, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("items", arguments, {}).status());
  if (!value.is_undefined() && !value.is_dict()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'items' of a ", TypeName(value)));
  }
  return Value::Iterator(
      [value, i = size_t{0}](Value* out) mutable -> absl::StatusOr<bool> {
        if (value.is_undefined() || i >= value.dict().members.size()) {
          return false;
        }
        const auto& member = value.dict().members[i++];
        *out = Value::Tuple({member.first, member.second});
        return true;
      });
}

Result FilterReverse(Runtime& runtime, const Value& value,
                     const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("reverse", arguments, {}).status());
  if (value.is_string()) {
    std::vector<uint32_t> points = CodePoints(value.text());
    std::reverse(points.begin(), points.end());
    return Value::Text(FromCodePoints(points));
  }
  ASSIGN_OR_RETURN(std::vector<Value> items, ToVector(runtime, value));
  std::reverse(items.begin(), items.end());
  const bool was_lazy = value.kind() == Kind::kIterator;
  Value list = Value::List(std::move(items));
  if (was_lazy) {
    return list;
  }
  ASSIGN_OR_RETURN(NextFunction next, Iterate(list));
  return Value::Iterator(std::move(next));
}

Result FilterSort(Runtime& runtime, const Value& value,
                  const Arguments& arguments) {
  ASSIGN_OR_RETURN(
      Parameters p,
      Bind("sort", arguments, {"reverse", "case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(std::vector<Value> items, ToVector(runtime, value));
  RETURN_IF_ERROR(runtime.ChargeSize(items.size() * 1024));
  std::vector<Keyed> keyed;
  for (Value& item : items) {
    ASSIGN_OR_RETURN(Value key, KeyOf(item, p, 2, p.Truth(1, false)));
    keyed.push_back({std::move(key), std::move(item)});
  }
  RETURN_IF_ERROR(SortKeyed(p.Truth(0, false), &keyed));
  for (size_t i = 0; i < items.size(); ++i) {
    items[i] = std::move(keyed[i].item);
  }
  return Value::List(std::move(items));
}

Result FilterDictSort(Runtime&, const Value& value,
                      const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p, Bind("dictsort", arguments,
                                      {"case_sensitive", "by", "reverse"}));
  ASSIGN_OR_RETURN(const std::string by, p.Text(1, "key"));
  if (by != "key" && by != "value") {
    return absl::InvalidArgumentError(
        "'dictsort' sorts by \"key\" or \"value\"");
  }
  if (!value.is_dict()) {
    return absl::InvalidArgumentError(
        value.is_undefined()
            ? value.why()
            : absl::StrCat("'dictsort' of a ", TypeName(value)));
  }
  std::vector<Keyed> keyed;
  for (const auto& [key, member] : value.dict().members) {
    keyed.push_back({SortKey(by == "key" ? key : member, p.Truth(0, false)),
                     Value::Tuple({key, member})});
  }
  RETURN_IF_ERROR(SortKeyed(p.Truth(2, false), &keyed));
  std::vector<Value> items;
  for (Keyed& one : keyed) {
    items.push_back(std::move(one.item));
  }
  return Value::List(std::move(items));
}

Result FilterUnique(Runtime& runtime, const Value& value,
                    const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("unique", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(runtime, value));
  std::vector<Value> keys;
  std::vector<Value> kept;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value key, KeyOf(item, p, 1, p.Truth(0, false)));
    RETURN_IF_ERROR(runtime.Charge(static_cast<int64_t>(keys.size())));
    if (std::none_of(keys.begin(), keys.end(),
                     [&key](const Value& k) { return Equal(k, key); })) {
      keys.push_back(std::move(key));
      kept.push_back(item);
    }
  }
  ASSIGN_OR_RETURN(NextFunction next, Iterate(Value::List(std::move(kept))));
  return Value::Iterator(std::move(next));
}

Result FilterMax(Runtime& runtime, const Value& value,
                 const Arguments& arguments) {
  return Extreme(runtime, true, value, arguments);
}

Result FilterMin(Runtime& runtime, const Value& value,
                 const Arguments& arguments) {
  return Extreme(runtime, false, value, arguments);
}

Result FilterSum(Runtime& runtime, const Value& value,
                 const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("sum", arguments, {"attribute", "start"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(runtime, value));
  Value total = p.Has(1) ? *p.Get(1) : Value::Int(0);
  if (total.is_string()) {
    return absl::InvalidArgumentError("'sum' of text");
  }
  for (const Value& item : items) {
    Value part = item;
    if (!p.IsNone(0)) {
      ASSIGN_OR_RETURN(part, GetPath(item, *p.Get(0)));
    }
    ASSIGN_OR_RETURN(total, Apply(runtime, Operator::kAdd, total, part));
  }
  return total;
}

Result FilterBatch(Runtime& runtime, const Value& value,
                   const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("batch", arguments, {"linecount", "fill_with"}));
  RETURN_IF_ERROR(p.Required(0).status());
  ASSIGN_OR_RETURN(const int64_t n, p.Integer(0, 0));
  ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(runtime, value));
  if (n <= 0) {
    return absl::UnimplementedError("'batch' of no items a line");
  }
  std::vector<Value> lines;
  for (size_t i = 0; i < items.size(); i += static_cast<size_t>(n)) {
    const size_t end = std::min(items.size(), i + static_cast<size_t>(n));
    std::vector<Value> line(items.begin() + static_cast<int64_t>(i),
                            items.begin() + static_cast<int64_t>(end));
    if (!p.IsNone(1)) {
      RETURN_IF_ERROR(runtime.ChargeSize(static_cast<size_t>(n) * 16));
      line.resize(static_cast<size_t>(n), *p.Get(1));
    }
    lines.push_back(Value::List(std::move(line)));
  }
  ASSIGN_OR_RETURN(NextFunction next, Iterate(Value::List(std::move(lines))));
  return Value::Iterator(std::move(next));
}

Result FilterSlice(Runtime& runtime, const Value& value,
                   const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p,
                   Bind("slice", arguments, {"slices", "fill_with"}));
  RETURN_IF_ERROR(p.Required(0).status());
  ASSIGN_OR_RETURN(const int64_t n, p.Integer(0, 0));
  ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(runtime, value));
  if (n <= 0) {
    return absl::InvalidArgumentError("'slice' into no columns");
  }
  RETURN_IF_ERROR(runtime.ChargeSize(static_cast<size_t>(n)));
  RETURN_IF_ERROR(runtime.Charge(n));
  const int64_t size = static_cast<int64_t>(items.size());
  std::vector<Value> columns;
  auto at = items.begin();
  for (int64_t i = 0; i < n; ++i) {
    const bool is_long = i < size % n;
    const auto end = at + size / n + (is_long ? 1 : 0);
    std::vector<Value> column(at, end);
    if (!p.IsNone(1) && !is_long) {
      column.push_back(*p.Get(1));
    }
    columns.push_back(Value::List(std::move(column)));
    at = end;
  }
  ASSIGN_OR_RETURN(NextFunction next, Iterate(Value::List(std::move(columns))));
  return Value::Iterator(std::move(next));
}

}  // namespace narrow::jinja
