#include "formats/packing/packing.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

const Packing* const kPackings[] = {
#define NARROW_PACKING(variable) &variable,
#include "formats/packing/packings.inc"
#undef NARROW_PACKING
};

std::string MethodOf(const JsonValue& config) {
  for (absl::string_view key : {"quant_method", "quant_algo"}) {
    const std::optional<JsonValue> value = config.FindNonNull(key);
    if (value && value->is_string()) {
      return std::string(*value->GetString());
    }
  }
  return "unnamed";
}

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

absl::StatusOr<const Packing*> RecognisePacking(const JsonValue& config) {
  for (const Packing* packing : kPackings) {
    if (packing->recognises(config)) {
      return packing;
    }
  }
  return absl::UnimplementedError(absl::StrCat(
      "the checkpoint is quantized by method ", QuotedName(MethodOf(config)),
      ", which is none of those that are read: ", KnownPackingNames(),
      "; load it with the program that made it and save it as bfloat16"));
}

std::string KnownPackingNames() {
  std::string names;
  for (const Packing* packing : kPackings) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", packing->name);
  }
  return names;
}

}  // namespace narrow
