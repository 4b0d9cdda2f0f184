// The matcher. A match is a path through the program; where two ways are
// open the preferred one is taken and a Frame for the other pushed, and a
// dead end pops the newest frame. Lookaround and atomic groups are runs of
// their own whose frames are dropped when they succeed.
//
// Runs of one class ("\p{L}+") are one instruction and one frame, since they
// are most of what a pre-tokenizer does.

#include "formats/regex/regex.h"

#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "formats/regex/regex_syntax.h"

namespace narrow {
namespace {

// Frames popped in one run before failed places are remembered: published
// patterns need a few dozen.
constexpr int64_t kStepsBeforeMemory = 1 << 12;
// Then the search is given up, as Oniguruma does (at ten million retries).
constexpr int64_t kMaxSteps = 10'000'000;

int LowestBit(uint64_t mask) { return __builtin_ctzll(mask); }

}  // namespace

size_t Regex::MatchAt(absl::string_view text, size_t pos,
                      Scratch* scratch) const {
  scratch->stack.clear();
  scratch->registers.assign(n_registers_, kNoMatch);
  return Run(text, 0, pos, scratch);
}

bool Regex::IsWordAt(absl::string_view text, size_t pos) const {
  size_t n;
  return word_.Contains(utf8::Read(text.data() + pos, &n));
}

bool Regex::Assert(uint32_t what, absl::string_view text, size_t pos) const {
  const size_t end = text.size();
  switch (static_cast<RegexNode::Assert>(what)) {
    case RegexNode::Assert::kTextStart:
      return pos == 0;
    case RegexNode::Assert::kTextEnd:
      return pos == end;
    case RegexNode::Assert::kTextEndOrLastNewline:
      return pos == end || (pos + 1 == end && text[pos] == '\n');
    case RegexNode::Assert::kLineStart:
      return pos == 0 || (text[pos - 1] == '\n' && pos != end);
    case RegexNode::Assert::kLineEnd:
      return pos == end || text[pos] == '\n';
    case RegexNode::Assert::kWordBoundary:
    case RegexNode::Assert::kNotWordBoundary: {
      const bool before = pos > 0 && IsWordAt(text, utf8::Back(text, pos));
      const bool after = pos < end && IsWordAt(text, pos);
      return (before != after) == (static_cast<RegexNode::Assert>(what) ==
                                   RegexNode::Assert::kWordBoundary);
    }
  }
  return false;
}

size_t Regex::Run(absl::string_view text, uint32_t pc, size_t pos,
                  Scratch* scratch) const {
  std::vector<Frame>& stack = scratch->stack;
  const size_t base = stack.size();
  const char* const data = text.data();
  const size_t end = text.size();
  int64_t n_steps = 0;
  absl::flat_hash_set<std::tuple<uint32_t, size_t, uint64_t>> failed;
  while (true) {
    bool ok = true;
    const Instruction& in = program_[pc];
    switch (in.op) {
      case Op::kMatch:
        stack.resize(base);
        return pos;
      case Op::kChar:
      case Op::kSet: {
        size_t n;
        const uint32_t c = pos < end ? utf8::Read(data + pos, &n) : 0;
        ok = pos < end &&
             (in.op == Op::kChar ? c == in.a : sets_[in.a].Contains(c));
        if (ok) {
          pos += n;
          ++pc;
        }
        break;
      }
      case Op::kRun:
      case Op::kAtomicRun:
      case Op::kLazyRun: {
        const CodePointSet& set = sets_[in.a];
        const uint32_t limit = in.op == Op::kLazyRun ? in.min : in.max;
        uint32_t count = 0;
        size_t lowest = pos;
        while (count < limit && pos < end) {
          size_t n;
          if (!set.Contains(utf8::Read(data + pos, &n))) break;
          pos += n;
          if (++count == in.min) lowest = pos;
        }
        ok = count >= in.min;
        if (!ok) break;
        if (in.op == Op::kRun && pos > lowest) {
          stack.push_back({Frame::Kind::kRun, pc + 1, pos, lowest});
        } else if (in.op == Op::kLazyRun && in.max > in.min) {
          stack.push_back(
              {Frame::Kind::kLazyRun, pc, pos, uint64_t{in.max} - in.min});
        }
        ++pc;
        break;
      }
      case Op::kJump:
        pc = in.a;
        break;
      case Op::kSplit:
        stack.push_back({Frame::Kind::kGoto, in.b, pos, 0});
        pc = in.a;
        break;
      case Op::kAlternatives: {
        const Alternation& alternation = alternations_[in.a];
        uint64_t mask = alternation.at_end;
        if (pos < end) {
          const auto c = static_cast<unsigned char>(data[pos]);
          mask = c < 0x80 ? alternation.by_ascii[c] : alternation.by_other;
        }
        ok = mask != 0;
        if (!ok) break;
        const int i = LowestBit(mask);
        mask &= mask - 1;
        if (mask != 0) {
          stack.push_back({Frame::Kind::kAlternatives, pc, pos, mask});
        }
        pc = alternation.targets[i];
        break;
      }
      case Op::kLook: {
        size_t start = pos;
        bool found = true;
        for (uint32_t i = 0; i < in.min && found; ++i) {
          found = start > 0;
          if (found) start = utf8::Back(text, start);
        }
        const uint32_t after = in.b;
        const bool negative = in.negative;
        found = found && Run(text, pc + 1, start, scratch) != kNoMatch;
        ok = found != negative;
        if (ok) pc = after;
        break;
      }
      case Op::kAtomic: {
        const size_t after = Run(text, pc + 1, pos, scratch);
        ok = after != kNoMatch;
        if (ok) {
          pos = after;
          pc = in.b;
        }
        break;
      }
      case Op::kMark:
        stack.push_back(
            {Frame::Kind::kRegister, in.a, pos, scratch->registers[in.a]});
        scratch->registers[in.a] = pos;
        ++pc;
        break;
      case Op::kProgress:
        pc = scratch->registers[in.a] == pos ? in.b : pc + 1;
        break;
      case Op::kAssert:
        ok = Assert(in.a, text, pos);
        if (ok) ++pc;
        break;
    }
    while (!ok) {
      if (stack.size() == base) return kNoMatch;
      Frame& frame = stack.back();
      pos = frame.pos;
      pc = frame.pc;
      switch (frame.kind) {
        case Frame::Kind::kGoto:
          stack.pop_back();
          ok = true;
          break;
        case Frame::Kind::kRun:
          pos = utf8::Back(text, pos);
          frame.pos = pos;
          if (pos == frame.data) stack.pop_back();
          ok = true;
          break;
        case Frame::Kind::kLazyRun: {
          size_t n;
          if (pos < end &&
              sets_[program_[pc].a].Contains(utf8::Read(data + pos, &n))) {
            pos += n;
            frame.pos = pos;
            if (--frame.data == 0) stack.pop_back();
            ++pc;
            ok = true;
          } else {
            stack.pop_back();
          }
          break;
        }
        case Frame::Kind::kAlternatives: {
          const int i = LowestBit(frame.data);
          frame.data &= frame.data - 1;
          if (frame.data == 0) stack.pop_back();
          pc = alternations_[program_[pc].a].targets[i];
          ok = true;
          break;
        }
        case Frame::Kind::kRegister:
          scratch->registers[pc] = frame.data;
          stack.pop_back();
          break;
      }
      // The same place again, in the same run, fails as it did before: what
      // follows depends on nothing else but which loops have consumed nothing
      // yet.
      if (ok && ++n_steps > kStepsBeforeMemory) {
        if (n_steps > kMaxSteps) return kNoMatch;
        uint64_t idle = 0;
        for (size_t i = 0; i < scratch->registers.size(); ++i) {
          idle |= uint64_t{scratch->registers[i] == pos} << i;
        }
        ok = failed.emplace(pc, pos, idle).second;
      }
    }
  }
}

}  // namespace narrow
