#include "formats/chat/jinja/values/compare.h"

#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow::jinja {
namespace {

bool EqualNumbers(const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) {
    return a.integer() == b.integer();
  }
  if (a.is_integer() || b.is_integer()) {
    // Exact, as Python does it: a double above 2^53 is one integer only.
    const double real = a.is_integer() ? b.real() : a.real();
    const int64_t integer = a.is_integer() ? a.integer() : b.integer();
    return real == std::floor(real) && std::fabs(real) < 0x1p63 &&
           static_cast<int64_t>(real) == integer;
  }
  return a.real() == b.real();
}

bool LessNumbers(const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) {
    return a.integer() < b.integer();
  }
  // Long doubles hold every 64-bit integer and every double.
  const auto wide = [](const Value& v) -> long double {
    return v.is_integer() ? static_cast<long double>(v.integer())
                          : static_cast<long double>(v.real());
  };
  return wide(a) < wide(b);
}

bool EqualLists(const Value& a, const Value& b) {
  const ListData& x = a.list();
  const ListData& y = b.list();
  const auto is_set = [](ListFlavor f) {
    return f == ListFlavor::kKeys || f == ListFlavor::kItems;
  };
  if (x.items.size() != y.items.size() ||
      (x.flavor != y.flavor && !(is_set(x.flavor) && is_set(y.flavor))) ||
      x.flavor == ListFlavor::kValues) {
    return &x == &y;
  }
  for (size_t i = 0; i < x.items.size(); ++i) {
    bool found = Equal(x.items[i], y.items[i]);
    // Keys compare as sets.
    for (size_t k = 0; is_set(x.flavor) && !found && k < y.items.size(); ++k) {
      found = Equal(x.items[i], y.items[k]);
    }
    if (!found) {
      return false;
    }
  }
  return true;
}

bool EqualDicts(const Dict& a, const Dict& b) {
  if (a.members.size() != b.members.size()) {
    return false;
  }
  for (const auto& [key, value] : a.members) {
    const Value* other = b.Find(key);
    if (other == nullptr || !Equal(value, *other)) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool Equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return EqualNumbers(a, b);
  }
  if (a.kind() != b.kind()) {
    return false;
  }
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
    case Kind::kFunction:
      return a.text() == b.text();
    case Kind::kList:
      return EqualLists(a, b);
    case Kind::kDict:
      return EqualDicts(a.dict(), b.dict());
    case Kind::kIterator:
      return &a.iterator() == &b.iterator();
    case Kind::kNamespace:
      return a.name_space() == b.name_space();
    case Kind::kMacro:
      return a.macro() == b.macro();
    case Kind::kLoop:
      return a.loop() == b.loop();
    case Kind::kMethod:
      return a.method().name == b.method().name &&
             Equal(a.method().self, b.method().self);
    default:
      return false;
  }
}

absl::StatusOr<bool> Less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return LessNumbers(a, b);
  }
  if (a.is_string() && b.is_string()) {
    return a.text() < b.text();  // bytes of UTF-8 sort as code points do
  }
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple())) {
    for (size_t i = 0; i < a.items().size() && i < b.items().size(); ++i) {
      if (!Equal(a.items()[i], b.items()[i])) {
        return Less(a.items()[i], b.items()[i]);
      }
    }
    return a.items().size() < b.items().size();
  }
  if (a.is_undefined() || b.is_undefined()) {
    return absl::InvalidArgumentError(a.is_undefined() ? a.why() : b.why());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no order between ", TypeName(a), " and ", TypeName(b)));
}

}  // namespace narrow::jinja
