// Regular expressions over UTF-8 for pre-tokenizers.
//
//   ASSIGN_OR_RETURN(Regex regex, Regex::Compile("\\p{L}+|\\s+(?!\\S)|\\s+"));
//   Regex::Scratch scratch;
//   regex.ForEachMatch(text, &scratch, [](size_t start, size_t end) {...});
//
// Backtracking with the order of preference of Oniguruma, so that published
// patterns give their published words; a search that backtracks much starts
// to remember where it has failed, which bounds it. Immutable and safe to
// share; a Scratch belongs to one thread.

#ifndef NARROW_FORMATS_REGEX_REGEX_H_
#define NARROW_FORMATS_REGEX_REGEX_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/base/text/utf8.h"
#include "formats/regex/code_point_set.h"

namespace narrow {

class Regex {
 public:
  // A place to come back to.
  struct Frame {
    enum class Kind : uint8_t {
      kGoto,
      kRun,
      kLazyRun,
      kAlternatives,
      kRegister
    };
    Kind kind;
    uint32_t pc;
    size_t pos;
    uint64_t data;  // run: lowest position; lazy: characters left; mask; value
  };
  struct Scratch {
    std::vector<Frame> stack;
    std::vector<size_t> registers;
  };

  static constexpr size_t kNoMatch = static_cast<size_t>(-1);

  static absl::StatusOr<Regex> Compile(absl::string_view pattern);

  // The end of the match that starts at `pos`, or kNoMatch. `text` is valid
  // UTF-8 and `pos` on a character.
  size_t MatchAt(absl::string_view text, size_t pos, Scratch* scratch) const;

  // Matches from left to right, apart from each other. An empty match right
  // after another match does not count.
  template <typename Callback>
  void ForEachMatch(absl::string_view text, Scratch* scratch,
                    Callback&& callback) const {
    size_t pos = 0;
    size_t last_end = kNoMatch;
    while (pos <= text.size()) {
      size_t n = 1;
      const bool possible =
          can_be_empty_ || (pos < text.size() &&
                            first_.Contains(utf8::Read(text.data() + pos, &n)));
      const size_t end = possible ? MatchAt(text, pos, scratch) : kNoMatch;
      if (end == kNoMatch || (end == pos && end == last_end)) {
        pos += pos < text.size()
                   ? utf8::Length(static_cast<unsigned char>(text[pos]))
                   : 1;
        continue;
      }
      callback(pos, end);
      last_end = end;
      // An empty match leaves `pos`; the test above then steps on.
      pos = end;
    }
  }

 private:
  friend class RegexCompiler;

  enum class Op : uint8_t {
    kMatch,
    kChar,          // a: code point
    kSet,           // a: set
    kRun,           // a: set, min, max: greedy
    kLazyRun,       // the same, shortest first
    kAtomicRun,     // the same, never given back
    kJump,          // a: target
    kSplit,         // a first, then b
    kAlternatives,  // a: alternation
    kLook,          // body follows, b: after it; negative; min: characters back
    kAtomic,        // body follows, b: after it
    kMark,          // registers[a] = position
    kProgress,      // jump to b if registers[a] is the position
    kAssert,        // a: RegexNode::Assert
  };
  struct Instruction {
    Op op;
    bool negative = false;
    uint32_t a = 0;
    uint32_t b = 0;
    uint32_t min = 0;
    uint32_t max = 0;
  };
  // What may start with which character; bit i for target i. `by_ascii` saves
  // most of the trials of a pattern's alternatives.
  struct Alternation {
    std::vector<uint32_t> targets;
    std::array<uint64_t, 128> by_ascii;
    uint64_t by_other;
    uint64_t at_end;
  };

  size_t Run(absl::string_view text, uint32_t pc, size_t pos,
             Scratch* scratch) const;
  bool Assert(uint32_t what, absl::string_view text, size_t pos) const;
  bool IsWordAt(absl::string_view text, size_t pos) const;

  std::vector<Instruction> program_;
  std::vector<CodePointSet> sets_;
  std::vector<Alternation> alternations_;
  CodePointSet first_;
  CodePointSet word_;
  bool can_be_empty_ = true;
  uint32_t n_registers_ = 0;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_REGEX_REGEX_H_
