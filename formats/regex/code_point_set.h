// Sets of Unicode code points: built as sorted ranges, asked as bit pages.
//
//   ASSIGN_OR_RETURN(CodePointRanges letters, PropertyRanges("L"));
//   CodePointSet set(Union(letters, {{'_', '_'}}));
//   if (set.Contains(c)) ...
//
// General categories come from unicode_categories.inc, so they do not depend
// on the ICU that is installed; scripts and other properties come from ICU.

#ifndef NARROW_FORMATS_REGEX_CODE_POINT_SET_H_
#define NARROW_FORMATS_REGEX_CODE_POINT_SET_H_

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

// First and last of each run, sorted, apart.
using CodePointRanges = std::vector<std::pair<uint32_t, uint32_t>>;

// Sorts and joins runs in any order.
CodePointRanges Normalize(CodePointRanges runs);
CodePointRanges Union(const CodePointRanges& a, const CodePointRanges& b);
CodePointRanges Complement(const CodePointRanges& a);
CodePointRanges Intersection(const CodePointRanges& a,
                             const CodePointRanges& b);
// Adds what equals a member but for case, one character for one.
CodePointRanges CloseOverCase(const CodePointRanges& a);

// The members of a property by the names that regular expressions use:
// "L", "Lu", "Letter", "Alphabetic", "Han", "alnum", "space", "word" …;
// InvalidArgument if there is none of that name.
absl::StatusOr<CodePointRanges> PropertyRanges(absl::string_view name);

class CodePointSet {
 public:
  CodePointSet() : CodePointSet(CodePointRanges()) {}
  explicit CodePointSet(const CodePointRanges& ranges);

  bool Contains(uint32_t c) const {
    const Page& page = pages_[index_[c >> 8]];
    return page[(c >> 6) & 3] >> (c & 63) & 1;
  }

 private:
  using Page = std::array<uint64_t, 4>;  // 256 code points

  std::vector<uint16_t> index_;
  std::vector<Page> pages_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_REGEX_CODE_POINT_SET_H_
