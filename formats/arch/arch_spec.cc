#include "formats/arch/arch_spec.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_join.h"

namespace narrow {

#define NARROW_ARCH(spec) extern const ArchSpec spec;
#include "formats/arch/archs.inc"
#undef NARROW_ARCH

absl::Span<const ArchSpec* const> AllArchs() {
  static const ArchSpec* const kArchs[] = {
#define NARROW_ARCH(spec) &spec,
#include "formats/arch/archs.inc"
#undef NARROW_ARCH
  };
  return kArchs;
}

const ArchSpec* FindArchByHfName(absl::string_view hf_name) {
  for (const ArchSpec* spec : AllArchs()) {
    for (const char* name : spec->hf_names) {
      if (hf_name == name) {
        return spec;
      }
    }
  }
  return nullptr;
}

const ArchSpec* FindArchByGgufName(absl::string_view gguf_arch) {
  for (const ArchSpec* spec : AllArchs()) {
    if (gguf_arch == spec->gguf_arch) {
      return spec;
    }
  }
  return nullptr;
}

std::string KnownArchNames() {
  std::vector<std::string> names;
  for (const ArchSpec* spec : AllArchs()) {
    names.insert(names.end(), spec->hf_names.begin(), spec->hf_names.end());
  }
  std::sort(names.begin(), names.end());
  return absl::StrJoin(names, ", ");
}

}  // namespace narrow
