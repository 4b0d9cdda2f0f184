// From the tree of a regular expression to the program that regex.cc runs.

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/regex/regex.h"
#include "formats/regex/regex_syntax.h"

namespace narrow {
namespace {

using Node = RegexNode;

constexpr size_t kMaxProgram = 1 << 16;
constexpr uint32_t kMaxRegisters = 64;  // bits of a mask in regex.cc
constexpr uint32_t kUnlimited = static_cast<uint32_t>(-1);

// The characters a match may start with; empty if the node can match without
// consuming any, when what follows counts too.
struct First {
  CodePointRanges ranges;
  bool empty = true;
};

First FirstOf(const Node& node) {
  First first;
  switch (node.type) {
    case Node::Type::kSet:
      first.ranges = node.ranges;
      first.empty = false;
      break;
    case Node::Type::kSequence:
      for (const auto& child : node.children) {
        const First next = FirstOf(*child);
        first.ranges = Union(first.ranges, next.ranges);
        if (!next.empty) {
          first.empty = false;
          break;
        }
      }
      break;
    case Node::Type::kAlternate:
      first.empty = false;
      for (const auto& child : node.children) {
        const First next = FirstOf(*child);
        first.ranges = Union(first.ranges, next.ranges);
        first.empty = first.empty || next.empty;
      }
      break;
    case Node::Type::kRepeat:
    case Node::Type::kAtomic:
      first = FirstOf(*node.children[0]);
      if (node.type == Node::Type::kRepeat && node.min == 0) {
        first.empty = true;
      }
      break;
    case Node::Type::kLook:
    case Node::Type::kAssert:
      break;
  }
  return first;
}

// Characters of every match, or -1 if they differ.
int FixedLength(const Node& node) {
  int total = 0;
  switch (node.type) {
    case Node::Type::kSet:
      return 1;
    case Node::Type::kSequence:
      for (const auto& child : node.children) {
        const int n = FixedLength(*child);
        if (n < 0) return -1;
        total += n;
      }
      return total;
    case Node::Type::kAlternate:
      total = FixedLength(*node.children[0]);
      for (const auto& child : node.children) {
        if (FixedLength(*child) != total) return -1;
      }
      return total;
    case Node::Type::kRepeat: {
      const int n = FixedLength(*node.children[0]);
      return n < 0 || node.min != node.max ? -1 : n * node.min;
    }
    case Node::Type::kAtomic:
      return FixedLength(*node.children[0]);
    case Node::Type::kLook:
    case Node::Type::kAssert:
      return 0;
  }
  return -1;
}

}  // namespace

class RegexCompiler {
 public:
  explicit RegexCompiler(Regex* regex) : regex_(regex) {}

  absl::Status Compile(const Node& root) {
    RETURN_IF_ERROR(Emit(root));
    Add(Regex::Op::kMatch);
    const First first = FirstOf(root);
    regex_->first_ = CodePointSet(first.ranges);
    regex_->can_be_empty_ = first.empty;
    ASSIGN_OR_RETURN(const CodePointRanges word, PropertyRanges("word"));
    regex_->word_ = CodePointSet(word);
    return absl::OkStatus();
  }

 private:
  uint32_t Add(Regex::Op op) {
    regex_->program_.push_back({op});
    return static_cast<uint32_t>(regex_->program_.size() - 1);
  }
  Regex::Instruction& At(uint32_t pc) { return regex_->program_[pc]; }
  uint32_t Here() const {
    return static_cast<uint32_t>(regex_->program_.size());
  }

  uint32_t SetIndex(const CodePointRanges& ranges) {
    const auto [it, is_new] =
        known_.emplace(ranges, static_cast<uint32_t>(regex_->sets_.size()));
    if (is_new) regex_->sets_.emplace_back(ranges);
    return it->second;
  }

  absl::Status Emit(const Node& node) {
    if (regex_->program_.size() > kMaxProgram) {
      return absl::UnimplementedError("regular expression: too large");
    }
    switch (node.type) {
      case Node::Type::kSet: {
        const bool is_one = node.ranges.size() == 1 &&
                            node.ranges[0].first == node.ranges[0].second;
        const uint32_t pc = Add(is_one ? Regex::Op::kChar : Regex::Op::kSet);
        At(pc).a = is_one ? node.ranges[0].first : SetIndex(node.ranges);
        return absl::OkStatus();
      }
      case Node::Type::kSequence:
        for (const auto& child : node.children) RETURN_IF_ERROR(Emit(*child));
        return absl::OkStatus();
      case Node::Type::kAlternate:
        return EmitAlternate(node);
      case Node::Type::kRepeat:
        return EmitRepeat(node);
      case Node::Type::kLook:
      case Node::Type::kAtomic:
        return EmitSub(node);
      case Node::Type::kAssert:
        At(Add(Regex::Op::kAssert)).a = static_cast<uint32_t>(node.assert);
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  // More alternatives than bits in a mask become a tree of alternations.
  absl::Status EmitAlternate(const Node& node) {
    return EmitAlternatives(node, 0);
  }

  absl::Status EmitAlternatives(const Node& node, size_t begin) {
    constexpr size_t kMaskBits = 64;
    const size_t n_left = node.children.size() - begin;
    const bool split = n_left > kMaskBits;
    const size_t n_here = split ? kMaskBits - 1 : n_left;
    const size_t index = regex_->alternations_.size();
    regex_->alternations_.emplace_back();
    At(Add(Regex::Op::kAlternatives)).a = static_cast<uint32_t>(index);
    Regex::Alternation made = {};
    std::vector<uint32_t> jumps;
    for (size_t i = 0; i < n_here; ++i) {
      const Node& child = *node.children[begin + i];
      NoteFirst(FirstOf(child), made.targets.size(), &made);
      made.targets.push_back(Here());
      RETURN_IF_ERROR(Emit(child));
      jumps.push_back(Add(Regex::Op::kJump));
    }
    if (split) {
      NoteFirst(First(), made.targets.size(), &made);
      made.targets.push_back(Here());
      RETURN_IF_ERROR(EmitAlternatives(node, begin + n_here));
    }
    for (const uint32_t jump : jumps) At(jump).a = Here();
    regex_->alternations_[index] = std::move(made);
    return absl::OkStatus();
  }

  static void NoteFirst(const First& first, size_t bit,
                        Regex::Alternation* made) {
    const uint64_t mask = uint64_t{1} << bit;
    const CodePointSet set(first.ranges);
    for (uint32_t c = 0; c < 128; ++c) {
      if (first.empty || set.Contains(c)) made->by_ascii[c] |= mask;
    }
    if (first.empty ||
        (!first.ranges.empty() && first.ranges.back().second >= 128)) {
      made->by_other |= mask;
    }
    if (first.empty) made->at_end |= mask;
  }

  absl::Status EmitRepeat(const Node& node) {
    const Node& body = *node.children[0];
    if (body.type == Node::Type::kSet) {
      const uint32_t pc =
          Add(node.mode == Node::Mode::kGreedy ? Regex::Op::kRun
              : node.mode == Node::Mode::kLazy ? Regex::Op::kLazyRun
                                               : Regex::Op::kAtomicRun);
      At(pc).a = SetIndex(body.ranges);
      At(pc).min = static_cast<uint32_t>(node.min);
      At(pc).max = node.max == Node::kNoLimit ? kUnlimited
                                              : static_cast<uint32_t>(node.max);
      return absl::OkStatus();
    }
    if (node.mode == Node::Mode::kPossessive) {
      const uint32_t atomic = Add(Regex::Op::kAtomic);
      RETURN_IF_ERROR(EmitLoop(node, body, /*lazy=*/false));
      Add(Regex::Op::kMatch);
      At(atomic).b = Here();
      return absl::OkStatus();
    }
    return EmitLoop(node, body, node.mode == Node::Mode::kLazy);
  }

  absl::Status EmitLoop(const Node& node, const Node& body, bool lazy) {
    for (int i = 0; i < node.min; ++i) RETURN_IF_ERROR(Emit(body));
    if (node.max == Node::kNoLimit) return EmitStar(body, lazy);
    std::vector<uint32_t> splits;
    for (int i = node.min; i < node.max; ++i) {
      splits.push_back(Add(Regex::Op::kSplit));
      SetSplit(splits.back(), Here(), lazy);
      RETURN_IF_ERROR(Emit(body));
    }
    for (const uint32_t split : splits) SetExit(split, Here(), lazy);
    return absl::OkStatus();
  }

  absl::Status EmitStar(const Node& body, bool lazy) {
    const uint32_t split = Add(Regex::Op::kSplit);
    SetSplit(split, Here(), lazy);
    // A body that may consume nothing must not loop for ever.
    const bool guard = FirstOf(body).empty;
    const uint32_t reg = guard ? regex_->n_registers_++ : 0;
    if (regex_->n_registers_ > kMaxRegisters) {
      return absl::UnimplementedError(
          "regular expression: too many loops over what may be empty");
    }
    if (guard) At(Add(Regex::Op::kMark)).a = reg;
    RETURN_IF_ERROR(Emit(body));
    const uint32_t check = guard ? Add(Regex::Op::kProgress) : 0;
    At(Add(Regex::Op::kJump)).a = split;
    SetExit(split, Here(), lazy);
    if (guard) {
      At(check).a = reg;
      At(check).b = Here();
    }
    return absl::OkStatus();
  }

  void SetSplit(uint32_t pc, uint32_t body, bool lazy) {
    (lazy ? At(pc).b : At(pc).a) = body;
  }
  void SetExit(uint32_t pc, uint32_t exit, bool lazy) {
    (lazy ? At(pc).a : At(pc).b) = exit;
  }

  absl::Status EmitSub(const Node& node) {
    const bool is_look = node.type == Node::Type::kLook;
    int back = 0;
    if (is_look && node.behind) {
      const Node& body = *node.children[0];
      if (body.type == Node::Type::kAlternate && FixedLength(body) < 0) {
        return EmitLookBehindAny(node);
      }
      back = FixedLength(body);
      if (back < 0) {
        return absl::UnimplementedError(
            "regular expression: lookbehind of variable length is not "
            "supported");
      }
    }
    return EmitSubBody(*node.children[0], is_look, node.negative, back);
  }

  absl::Status EmitSubBody(const Node& body, bool is_look, bool negative,
                           int back) {
    const uint32_t pc = Add(is_look ? Regex::Op::kLook : Regex::Op::kAtomic);
    At(pc).negative = negative;
    At(pc).min = static_cast<uint32_t>(back);
    RETURN_IF_ERROR(Emit(body));
    Add(Regex::Op::kMatch);
    At(pc).b = Here();
    return absl::OkStatus();
  }

  // (?<=a|bc) tries each alternative at its own length; (?<!a|bc) wants each
  // of them to fail.
  absl::Status EmitLookBehindAny(const Node& node) {
    const auto& alternatives = node.children[0]->children;
    if (!node.negative) {
      return absl::UnimplementedError(
          "regular expression: lookbehind of variable length is not "
          "supported");
    }
    for (const auto& alternative : alternatives) {
      const int back = FixedLength(*alternative);
      if (back < 0) {
        return absl::UnimplementedError(
            "regular expression: lookbehind of variable length is not "
            "supported");
      }
      RETURN_IF_ERROR(EmitSubBody(*alternative, true, true, back));
    }
    return absl::OkStatus();
  }

  Regex* regex_;
  std::map<CodePointRanges, uint32_t> known_;
};

absl::StatusOr<Regex> Regex::Compile(absl::string_view pattern) {
  ASSIGN_OR_RETURN(const std::unique_ptr<RegexNode> root, ParseRegex(pattern));
  Regex regex;
  const absl::Status status = RegexCompiler(&regex).Compile(*root);
  RETURN_IF_ERROR(Annotate(status, absl::StrCat("in '", pattern, "'")));
  return regex;
}

}  // namespace narrow
