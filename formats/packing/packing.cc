#include "formats/packing/packing.h"

#include "absl/strings/str_cat.h"

namespace narrow {
namespace {

const Packing* const kPackings[] = {
#define NARROW_PACKING(variable) &variable,
#include "formats/packing/packings.inc"
#undef NARROW_PACKING
    nullptr,  // ends the table, which may have no row yet
};

}  // namespace

absl::Span<const Packing* const> AllPackings() {
  return absl::MakeSpan(kPackings).subspan(
      0, sizeof(kPackings) / sizeof(kPackings[0]) - 1);
}

const Packing* FindPacking(absl::string_view name) {
  for (const Packing* packing : AllPackings()) {
    if (name == packing->name) {
      return packing;
    }
  }
  return nullptr;
}

std::string KnownPackingNames() {
  std::string names;
  for (const Packing* packing : AllPackings()) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", packing->name);
  }
  return names;
}

}  // namespace narrow
