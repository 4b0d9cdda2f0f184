#include "formats/chat/jinja/builtins/filters.h"

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/builtins/filters_impl.h"

namespace narrow::jinja {
namespace {

using Function = absl::StatusOr<Value> (*)(Runtime&, const Value&,
                                           const Arguments&);
struct FilterRow {
  absl::string_view name;
  Function function;  // nullptr: lacking
};

constexpr FilterRow kFilters[] = {
#define F(name, function) {#name, function},
#define L(name) {#name, nullptr},
#include "formats/chat/jinja/builtins/filters.inc"
#undef F
#undef L
};

// Filters that are right for text marked as safe too.
constexpr absl::string_view kMarkupFilters[] = {
    "safe", "escape", "e", "string", "length", "count", "default", "d"};

const FilterRow* FindFilter(absl::string_view name) {
  for (const FilterRow& row : kFilters) {
    if (row.name == name) {
      return &row;
    }
  }
  return nullptr;
}

bool BearsMarkup(absl::string_view name) {
  for (const absl::string_view filter : kMarkupFilters) {
    if (filter == name) {
      return true;
    }
  }
  return false;
}

}  // namespace

bool IsFilter(absl::string_view name) { return FindFilter(name) != nullptr; }

absl::StatusOr<Value> ApplyFilter(Runtime& runtime, absl::string_view name,
                                  const Value& value,
                                  const Arguments& arguments) {
  RETURN_IF_ERROR(runtime.Charge(1));
  const FilterRow* row = FindFilter(name);
  if (row == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("no filter is named ", QuotedName(name)));
  }
  if (row->function == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("the filter '", name, "' in a chat template"));
  }
  if (value.is_markup() && !BearsMarkup(name)) {
    return absl::UnimplementedError(
        absl::StrCat("the filter '", name, "' of text that is marked as safe"));
  }
  return row->function(runtime, value, arguments);
}

}  // namespace narrow::jinja
