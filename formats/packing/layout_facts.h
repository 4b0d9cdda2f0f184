// What packings ask of a layout when they write their configuration.
//
//   const WeightScheme& base = CommonScheme(layout);
//   RETURN_IF_ERROR(RequireOneScheme(layout, "AWQ"));
//
// Pure functions.

#ifndef NARROW_FORMATS_PACKING_LAYOUT_FACTS_H_
#define NARROW_FORMATS_PACKING_LAYOUT_FACTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "formats/packing/packing.h"

namespace narrow {

// The scheme of most modules, the first of those that are equally common.
// REQUIRES: there are modules.
const WeightScheme& CommonScheme(const PackedLayout& layout);

// Unimplemented, naming two modules that differ, unless all have one scheme;
// `format` says whose configuration cannot tell them apart.
absl::Status RequireOneScheme(const PackedLayout& layout,
                              absl::string_view format);

// JSON text of a fact, or nullptr.
const std::string* FindFact(const PackedLayout& layout, absl::string_view key);

// "self_attn.q_proj" of "model.layers.3.self_attn.q_proj"; empty outside
// blocks.
std::string NameInBlock(absl::string_view module);

bool HasModule(const PackedLayout& layout, absl::string_view name);

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_LAYOUT_FACTS_H_
