// Recipes of `narrow quantize` as protobuf text.
//
//   ASSIGN_OR_RETURN(QuantizeRecipe recipe, ReadRecipe("recipe.txtpb"));
//   std::puts(RecipeText(recipe).c_str());
//
// Pure but for the file that is read.

#ifndef NARROW_CONVERTER_QUANTIZE_RECIPE_RECIPE_TEXT_H_
#define NARROW_CONVERTER_QUANTIZE_RECIPE_RECIPE_TEXT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/quantize/recipe/recipe.pb.h"

namespace narrow {

// InvalidArgument: what is wrong at which line and column of `file`, and for
// a field that there is not, the nearest one.
absl::StatusOr<QuantizeRecipe> ParseRecipe(absl::string_view text,
                                           absl::string_view file);
absl::StatusOr<QuantizeRecipe> ReadRecipe(absl::string_view path);

// The text that reads back as the same recipe; fields that are not set are
// not in it.
std::string RecipeText(const QuantizeRecipe& recipe);

// One field "name: value" of a rule, as --override has them; names may be
// shortened ("group", "method"). InvalidArgument names the nearest field.
absl::Status SetRuleField(absl::string_view name, absl::string_view value,
                          LayerRule* rule);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_RECIPE_RECIPE_TEXT_H_
