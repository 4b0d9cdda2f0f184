// The nearest of several names, for messages about one that does not exist.
//
//   NearestName("Q4_KM", {"Q4_K_M", "Q8_0"});  // "Q4_K_M"

#ifndef NARROW_FORMATS_BASE_TEXT_NEAREST_H_
#define NARROW_FORMATS_BASE_TEXT_NEAREST_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narrow {

// The candidate with the fewest insertions, deletions and replacements, case
// ignored; of equals the one with the longest beginning in common, and of these
// the first; "" if there are no candidates. Tested by nearest_test.cc.
std::string NearestName(absl::string_view name,
                        absl::Span<const std::string> candidates);

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_TEXT_NEAREST_H_
