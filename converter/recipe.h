// What was asked of a conversion; the fields are llama-quantize's options.
//
// Plain values.

#ifndef NARROW_CONVERTER_RECIPE_H_
#define NARROW_CONVERTER_RECIPE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "converter/gguf/metadata_overrides.h"
#include "converter/mix/file_type.h"
#include "formats/gguf/gguf_split.h"
#include "formats/quant_type.h"

namespace narrow {

// A type for the tensors whose name an ECMAScript pattern finds.
struct TypeOverride {
  std::string pattern;
  QuantType type;
};

// How to decide where the file type's own choice cannot be had.
enum class Mode : uint8_t {
  kCompat,  // as llama-quantize: another type, or without importance
  kStrict,  // not at all
};

struct Recipe {
  FileType file_type = FileType::kQ8_0;
  Mode mode = Mode::kCompat;
  // Nothing will be written: what cannot be had is a note, not an error.
  bool dry_run = false;
  // What matrices without importance get was asked for, so strict accepts it.
  bool missing_importance_chosen = false;
  // Statistics of the inputs will be gathered: they give importance to
  // tensors for which the matrix has none (HasInputStatistics of plan.h).
  bool calibrated = false;
  bool calibrated_embedding = false;  // and to the token embedding
  bool pure = false;                  // one type for all, no mix rules
  bool leave_output = false;
  std::optional<QuantType> output_type;
  std::optional<QuantType> embedding_type;
  std::vector<TypeOverride> overrides;  // the first that matches decides
  bool allow_requantize = false;

  // COPY: every tensor keeps its type, and file_type has no meaning.
  bool copy = false;
  // Tensors and keys in the order of the input, nothing added: a copy only.
  bool keep_order = false;
  std::optional<GgufSplitOptions> split;
  bool keep_split = false;  // the input's shards again, instead of `split`
  std::vector<MetadataOverride> metadata_overrides;
  std::vector<int64_t> pruned_layers;  // sorted, without repeats
};

// The name of what was asked for: "Q4_K_M", "COPY".
inline const char* RecipeName(const Recipe& recipe) {
  return recipe.copy ? "COPY" : Info(recipe.file_type).name;
}

}  // namespace narrow

#endif  // NARROW_CONVERTER_RECIPE_H_
