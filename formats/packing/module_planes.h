// The planes of a packed module by the end of their names, for packings that
// hold different planes in different variants.
//
//   const TensorView* scales = FindModulePlane(module, ".weight_scale");
//   if (scales == nullptr) ...

#ifndef NARROW_FORMATS_PACKING_MODULE_PLANES_H_
#define NARROW_FORMATS_PACKING_MODULE_PLANES_H_

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "formats/packing/packing.h"

namespace narrow {

// nullptr if the module has none of that name.
inline const TensorView* FindModulePlane(const PackedModule& module,
                                         absl::string_view suffix) {
  for (const TensorView* plane : module.planes) {
    if (plane == nullptr) {
      continue;
    }
    absl::string_view name = plane->meta.name;
    if (absl::ConsumePrefix(&name, module.name) && name == suffix) {
      return plane;
    }
  }
  return nullptr;
}

// Whether the output head, which clients leave alone unless told otherwise,
// is among the packed modules of an output.
inline bool PacksOutputHead(const PackedLayout& layout) {
  for (const PackedModule& module : layout.modules) {
    absl::string_view name = module.name;
    if (absl::ConsumeSuffix(&name, "lm_head") &&
        (name.empty() || name.back() == '.')) {
      return true;
    }
  }
  return false;
}

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_MODULE_PLANES_H_
