// The flags of `narrow quantize` that say what is made: a recipe, from a file
// or from the flags, which come first.

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_QUANTIZE_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_QUANTIZE_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "converter/quantize/recipe/recipe.pb.h"

namespace narrow {

struct QuantizeFlags {
  std::string recipe;
  std::string preset;
  std::string method;
  std::string solver;
  std::string format;
  int bits = 0;
  int64_t group_size = 0;
  int block_size = 0;
  bool symmetric = false;
  bool asymmetric = false;
  bool double_quant = false;
  std::string granularity;
  std::string activations;
  std::vector<std::string> overrides;  // PATTERN=field:value,...
  std::vector<std::string> ignored;
  bool allow_mixed = false;
  bool strict = false;
  double damping = -1;
  std::string column_order;
  std::string search;
  std::string transform;
  double alpha = -1;
  std::vector<std::string> texts;
  int64_t samples = 0;
  int64_t sample_tokens = 0;
  int64_t cover = 0;
  uint64_t seed = 0;
  std::string text_kind;
  std::string text_field;
  bool no_pack = false;
  bool assistant_only = false;
  std::string order;
  std::string precision;
  bool positive_scales = false;
  std::string imatrix;
};

// `flags` must outlive the command.
void AddQuantizeFlags(CLI::App* command, QuantizeFlags* flags);

// The recipe that was asked for; `command` says which flags were given.
// InvalidArgument, NotFound: errors of the recipe file and of overrides.
absl::StatusOr<QuantizeRecipe> RecipeFromFlags(const CLI::App& command,
                                               const QuantizeFlags& flags);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_QUANTIZE_FLAGS_H_
