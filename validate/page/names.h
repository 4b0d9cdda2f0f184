// Short names for models that are shown together: what tells them apart.
//
//   ShortNames({"out/gemma-Q4_K_M.gguf", "out/gemma-Q8_0.gguf"}, "gemma")
//       gives {"Q4_K_M", "Q8_0"}
//
// Pure functions.

#ifndef NARROW_VALIDATE_PAGE_NAMES_H_
#define NARROW_VALIDATE_PAGE_NAMES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow {

// The last part of a path, without ".gguf".
std::string ModelName(absl::string_view path);

// One for each of `paths`, all different: the names without what all begin
// with (for one model: what it and the original begin with), up to a '-', '_',
// '.' or space; whole paths where that leaves equal or empty ones.
std::vector<std::string> ShortNames(const std::vector<std::string>& paths,
                                    absl::string_view original);

// At most `n` characters, with an ellipsis in the middle.
std::string Shortened(absl::string_view name, size_t n);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_NAMES_H_
