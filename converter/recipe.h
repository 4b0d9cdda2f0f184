// What was asked of a conversion; the fields are llama-quantize's options.
//
// Plain values.

#ifndef NARROW_CONVERTER_RECIPE_H_
#define NARROW_CONVERTER_RECIPE_H_

#include <optional>
#include <string>
#include <vector>

#include "converter/file_type.h"
#include "formats/quant_type.h"

namespace narrow {

// A type for the tensors whose name an ECMAScript pattern finds.
struct TypeOverride {
  std::string pattern;
  QuantType type;
};

struct Recipe {
  FileType file_type = FileType::kQ8_0;
  bool pure = false;  // one type for all, no mix rules
  bool leave_output = false;
  std::optional<QuantType> output_type;
  std::optional<QuantType> embedding_type;
  std::vector<TypeOverride> overrides;  // the first that matches decides
  bool allow_requantize = false;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_RECIPE_H_
