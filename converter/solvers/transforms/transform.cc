#include "converter/solvers/transforms/transform.h"

#include <algorithm>
#include <vector>

namespace narrow {

absl::Span<const Transform* const> AllTransforms() {
  // A vector, as the table may have no row.
  static const auto* const all = new std::vector<const Transform*>{
#define NARROW_TRANSFORM(variable) &variable,
#include "converter/solvers/transforms/transforms.inc"
#undef NARROW_TRANSFORM
  };
  return *all;
}

const Transform* FindTransform(absl::string_view name) {
  const auto all = AllTransforms();
  const auto it = std::find_if(
      all.begin(), all.end(),
      [name](const Transform* transform) { return transform->name == name; });
  return it == all.end() ? nullptr : *it;
}

}  // namespace narrow
