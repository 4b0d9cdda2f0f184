#include "converter/quantize/recipe/name_patterns.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {

absl::StatusOr<NamePatterns> NamePatterns::Compile(
    const std::vector<std::string>& patterns) {
  NamePatterns result;
  for (const std::string& pattern : patterns) {
    auto regex = Regex::Compile(pattern);
    RETURN_IF_ERROR(Annotate(
        regex.status(), absl::StrCat("the pattern ", QuotedName(pattern))));
    result.texts_.push_back(pattern);
    result.patterns_.push_back(*std::move(regex));
  }
  return result;
}

int NamePatterns::FirstFound(absl::string_view module) const {
  const std::string tensor = absl::StrCat(module, ".weight");
  Regex::Scratch scratch;
  for (size_t i = 0; i < patterns_.size(); ++i) {
    bool found = false;
    for (const absl::string_view name : {module, absl::string_view(tensor)}) {
      patterns_[i].ForEachMatch(name, &scratch,
                                [&](size_t, size_t) { found = true; });
    }
    if (found) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

}  // namespace narrow
