#include "formats/chat/jinja/iterate.h"

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/chat/jinja/loop.h"
#include "formats/chat/jinja/values/text.h"

namespace narrow::jinja {
namespace {

// The closures hold the value, so that what they walk stays.
NextFunction CharactersOf(const Value& value) {
  return [value, at = size_t{0}](Value* out) mutable -> absl::StatusOr<bool> {
    const absl::string_view text = value.text();
    if (at >= text.size()) {
      return false;
    }
    const size_t n = utf8::Length(static_cast<unsigned char>(text[at]));
    *out = Value::Text(text.substr(at, n));
    at += n;
    return true;
  };
}

NextFunction ItemsOf(const Value& value) {
  return [value, i = size_t{0}](Value* out) mutable -> absl::StatusOr<bool> {
    if (i >= value.items().size()) {
      return false;
    }
    *out = value.items()[i++];
    return true;
  };
}

NextFunction KeysOf(const Value& value) {
  return [value, i = size_t{0}](Value* out) mutable -> absl::StatusOr<bool> {
    if (i >= value.dict().members.size()) {
      return false;
    }
    *out = value.dict().members[i++].first;
    return true;
  };
}

}  // namespace

bool IsIterable(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kDict:
    case Kind::kIterator:
    case Kind::kLoop:
      return true;
    default:
      return false;
  }
}

absl::StatusOr<NextFunction> Iterate(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return NextFunction([](Value*) -> absl::StatusOr<bool> { return false; });
    case Kind::kString:
      return CharactersOf(value);
    case Kind::kList:
      return ItemsOf(value);
    case Kind::kDict:
      return KeysOf(value);
    case Kind::kIterator:
      return NextFunction(
          [value](Value* out) { return value.iterator().next(out); });
    case Kind::kLoop:
      return absl::UnimplementedError("going through the variable 'loop'");
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a ", TypeName(value), " cannot be gone through"));
  }
}

absl::StatusOr<std::vector<Value>> ToVector(Runtime& runtime,
                                            const Value& value) {
  if (value.is_any_list()) {
    RETURN_IF_ERROR(runtime.ChargeSize(value.items().size()));
    return value.items();
  }
  ASSIGN_OR_RETURN(NextFunction next, Iterate(value));
  std::vector<Value> items;
  while (true) {
    RETURN_IF_ERROR(runtime.Charge(1));
    Value item;
    ASSIGN_OR_RETURN(const bool more, next(&item));
    if (!more) {
      return items;
    }
    items.push_back(std::move(item));
  }
}

absl::StatusOr<int64_t> LengthOf(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return CodePointCount(value.text());
    case Kind::kList:
      return static_cast<int64_t>(value.items().size());
    case Kind::kDict:
      return static_cast<int64_t>(value.dict().members.size());
    case Kind::kLoop:
      return value.loop()->Length();
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a ", TypeName(value), " has no length"));
  }
}

}  // namespace narrow::jinja
