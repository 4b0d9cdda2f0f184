// Regular expressions as a tree, in the syntax of tokenizer.json files:
// Oniguruma's Ruby flavour. Captures are groups; back references, \K, \X,
// calls and conditions are refused by name.

#ifndef NARROW_FORMATS_REGEX_REGEX_SYNTAX_H_
#define NARROW_FORMATS_REGEX_REGEX_SYNTAX_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/regex/code_point_set.h"

namespace narrow {

struct RegexNode {
  enum class Type {
    kSet,        // one character of `ranges`
    kSequence,   // children one after the other; none: the empty string
    kAlternate,  // the first child that leads to a match
    kRepeat,     // children[0] from min to max times
    kLook,       // children[0] must (not) match here, consuming nothing
    kAtomic,     // children[0], never reconsidered
    kAssert,     // a position
  };
  enum class Mode { kGreedy, kLazy, kPossessive };
  enum class Assert {
    kTextStart,
    kTextEnd,
    kTextEndOrLastNewline,
    kLineStart,
    kLineEnd,
    kWordBoundary,
    kNotWordBoundary,
  };
  static constexpr int kNoLimit = -1;

  Type type = Type::kSequence;
  CodePointRanges ranges;
  std::vector<std::unique_ptr<RegexNode>> children;
  int min = 0;
  int max = 0;
  Mode mode = Mode::kGreedy;
  bool negative = false;  // kLook
  bool behind = false;    // kLook
  Assert assert = Assert::kTextStart;
};

// InvalidArgument: not a regular expression; Unimplemented: a construct that
// we lack. Both name the place in the pattern.
absl::StatusOr<std::unique_ptr<RegexNode>> ParseRegex(
    absl::string_view pattern);

}  // namespace narrow

#endif  // NARROW_FORMATS_REGEX_REGEX_SYNTAX_H_
