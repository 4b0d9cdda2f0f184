#include "formats/packing/packing.h"

#include "absl/strings/str_cat.h"

namespace narrow {
namespace {

const Packing* const kPackings[] = {
#define NARROW_PACKING(variable) &variable,
#include "formats/packing/packings.inc"
#undef NARROW_PACKING
};

}  // namespace

absl::Span<const Packing* const> AllPackings() { return kPackings; }

const Packing* FindPacking(absl::string_view name) {
  for (const Packing* packing : kPackings) {
    if (name == packing->name) {
      return packing;
    }
  }
  return nullptr;
}

std::string KnownPackingNames() {
  std::string names;
  for (const Packing* packing : kPackings) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", packing->name);
  }
  return names;
}

}  // namespace narrow
