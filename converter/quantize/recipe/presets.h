// Presets: the defaults of other programs as recipes, for comparison.
//
//   RETURN_IF_ERROR(ApplyPreset(&recipe));   // recipe.preset() names it

#ifndef NARROW_CONVERTER_QUANTIZE_RECIPE_PRESETS_H_
#define NARROW_CONVERTER_QUANTIZE_RECIPE_PRESETS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "converter/quantize/recipe/recipe.pb.h"

namespace narrow {

// Fills what the recipe leaves out from the preset it names, if any, and
// takes that name away. InvalidArgument names the nearest preset.
absl::Status ApplyPreset(QuantizeRecipe* recipe);

std::vector<std::string> PresetNames();

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_RECIPE_PRESETS_H_
