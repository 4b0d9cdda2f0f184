// Regular expressions looked for in names of layers.
//
//   ASSIGN_OR_RETURN(NamePatterns ignore, NamePatterns::Compile(patterns));
//   const int i = ignore.FirstFound("model.layers.0.mlp.up_proj");
//
// Immutable; safe to share between threads.

#ifndef NARROW_CONVERTER_QUANTIZE_RECIPE_NAME_PATTERNS_H_
#define NARROW_CONVERTER_QUANTIZE_RECIPE_NAME_PATTERNS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/regex/regex.h"

namespace narrow {

class NamePatterns {
 public:
  // Errors of Regex::Compile, with the pattern.
  static absl::StatusOr<NamePatterns> Compile(
      const std::vector<std::string>& patterns);

  // The first pattern that is found in `module` or `module` + ".weight"; -1.
  int FirstFound(absl::string_view module) const;
  const std::string& text(int i) const {
    return texts_[static_cast<size_t>(i)];
  }

 private:
  std::vector<std::string> texts_;
  std::vector<Regex> patterns_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_RECIPE_NAME_PATTERNS_H_
