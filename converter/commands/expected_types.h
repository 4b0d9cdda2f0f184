// What was asked of a candidate that is being validated: by the recipe in its
// manifest, or where it has none, by the file type that it says it has.
//
//   options.expected_types = ExpectedTypesOf;

#ifndef NARROW_CONVERTER_COMMANDS_EXPECTED_TYPES_H_
#define NARROW_CONVERTER_COMMANDS_EXPECTED_TYPES_H_

#include <optional>

#include "formats/arch/checkpoint.h"
#include "validate/sanity/sanity.h"

namespace narrow {

// The types that planning the same for `original` gives; none if it cannot be
// planned: a recipe whose files are gone, a model of another origin.
std::optional<ExpectedTypes> ExpectedTypesOf(const Checkpoint& original,
                                             const Checkpoint& candidate);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_EXPECTED_TYPES_H_
