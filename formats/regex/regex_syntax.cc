#include "formats/regex/regex_syntax.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"

namespace narrow {
namespace {

using Node = RegexNode;
using NodePtr = std::unique_ptr<RegexNode>;

constexpr int kMaxDepth = 60;
constexpr int kMaxCount = 100000;  // as Oniguruma
constexpr size_t kMaxPatternBytes = 1 << 16;

struct Flags {
  bool ignore_case = false;
  bool dot_all = false;
  bool extended = false;
};

NodePtr MakeNode(Node::Type type) {
  auto node = std::make_unique<Node>();
  node->type = type;
  return node;
}

class Parser {
 public:
  explicit Parser(absl::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<NodePtr> Parse() {
    ASSIGN_OR_RETURN(NodePtr node, Alternation(Flags(), 0));
    if (!AtEnd()) return Invalid("unmatched ')'");
    return node;
  }

 private:
  bool AtEnd() const { return pos_ >= pattern_.size(); }
  char Peek(size_t ahead = 0) const {
    return pos_ + ahead < pattern_.size() ? pattern_[pos_ + ahead] : '\0';
  }
  bool Take(absl::string_view text) {
    if (pattern_.substr(pos_, text.size()) != text) return false;
    pos_ += text.size();
    return true;
  }
  uint32_t TakeChar() {
    size_t n;
    const uint32_t c = utf8::Read(pattern_.data() + pos_, &n);
    pos_ += n;
    return c;
  }

  absl::Status Invalid(absl::string_view cause) const {
    return absl::InvalidArgumentError(
        absl::StrCat("regular expression: ", cause, " at byte ", pos_, " of '",
                     pattern_, "'"));
  }
  absl::Status Unsupported(absl::string_view what) const {
    return absl::UnimplementedError(absl::StrCat("regular expression: ", what,
                                                 " is not supported, at byte ",
                                                 pos_, " of '", pattern_, "'"));
  }

  // `flags` by value: (?i) in a group holds to the group's end.
  absl::StatusOr<NodePtr> Alternation(Flags flags, int depth) {
    if (depth > kMaxDepth) return Unsupported("nesting this deep");
    auto alternate = MakeNode(Node::Type::kAlternate);
    while (true) {
      ASSIGN_OR_RETURN(NodePtr sequence, Sequence(&flags, depth));
      alternate->children.push_back(std::move(sequence));
      if (!Take("|")) break;
    }
    if (alternate->children.size() == 1) {
      return std::move(alternate->children[0]);
    }
    return alternate;
  }

  absl::StatusOr<NodePtr> Sequence(Flags* flags, int depth) {
    auto sequence = MakeNode(Node::Type::kSequence);
    while (!AtEnd() && Peek() != '|' && Peek() != ')') {
      if (flags->extended && SkipExtended()) continue;
      NodePtr atom;
      RETURN_IF_ERROR(Atom(flags, depth, &atom));
      if (atom == nullptr) continue;  // a comment or a change of flags
      RETURN_IF_ERROR(Quantifiers(&atom));
      sequence->children.push_back(std::move(atom));
    }
    return sequence;
  }

  bool SkipExtended() {
    if (Peek() == '#') {
      while (!AtEnd() && Peek() != '\n') ++pos_;
      return true;
    }
    if (Peek() == ' ' || (Peek() >= '\t' && Peek() <= '\r')) {
      ++pos_;
      return true;
    }
    return false;
  }

  absl::Status Atom(Flags* flags, int depth, NodePtr* atom) {
    const char c = Peek();
    if (c == '(') return Group(flags, depth, atom);
    if (c == '[') {
      ++pos_;
      CodePointRanges ranges;
      RETURN_IF_ERROR(Class(flags->ignore_case, depth, &ranges));
      *atom = Set(std::move(ranges));
      return absl::OkStatus();
    }
    if (c == '\\') return Escape(*flags, atom);
    if (c == '*' || c == '+' || c == '?') {
      return Invalid("nothing to repeat");
    }
    if (Take(".")) {
      *atom = Set(flags->dot_all ? CodePointRanges{{0, utf8::kMaxCodePoint}}
                                 : Complement({{'\n', '\n'}}));
    } else if (Take("^")) {
      *atom = Position(Node::Assert::kLineStart);
    } else if (Take("$")) {
      *atom = Position(Node::Assert::kLineEnd);
    } else {
      *atom = Literal(TakeChar(), *flags);
    }
    return absl::OkStatus();
  }

  NodePtr Set(CodePointRanges ranges) {
    auto node = MakeNode(Node::Type::kSet);
    node->ranges = std::move(ranges);
    return node;
  }
  NodePtr Position(Node::Assert what) {
    auto node = MakeNode(Node::Type::kAssert);
    node->assert = what;
    return node;
  }
  NodePtr Literal(uint32_t c, const Flags& flags) {
    const CodePointRanges one = {{c, c}};
    return Set(flags.ignore_case ? CloseOverCase(one) : one);
  }

  absl::Status Group(Flags* flags, int depth, NodePtr* atom) {
    ++pos_;  // '('
    NodePtr wrapper;
    Flags inner = *flags;
    if (Take("?")) {
      if (Take("#")) {
        while (!AtEnd() && Peek() != ')') ++pos_;
        return Take(")") ? absl::OkStatus() : Invalid("missing ')'");
      }
      bool is_look = true, behind = false, negative = false;
      if (Take("=")) {
      } else if (Take("!")) {
        negative = true;
      } else if (Take("<=")) {
        behind = true;
      } else if (Take("<!")) {
        behind = negative = true;
      } else {
        is_look = false;
      }
      if (is_look) {
        wrapper = MakeNode(Node::Type::kLook);
        wrapper->behind = behind;
        wrapper->negative = negative;
      } else if (Take(">")) {
        wrapper = MakeNode(Node::Type::kAtomic);
      } else if (Take("<") || Take("'")) {
        while (!AtEnd() && Peek() != '>' && Peek() != '\'') ++pos_;
        if (!Take(">") && !Take("'")) return Invalid("bad group name");
      } else if (!Take(":")) {
        bool scoped = false;
        RETURN_IF_ERROR(ReadFlags(&inner, &scoped));
        if (!scoped) {
          *flags = inner;
          // In Ruby's flavour the rest of the group, over its '|', is inside
          // the new flags: a(?i)b|c is a(?i:b|c).
          ASSIGN_OR_RETURN(*atom, Alternation(inner, depth + 1));
          return absl::OkStatus();
        }
      }
    }
    ASSIGN_OR_RETURN(NodePtr body, Alternation(inner, depth + 1));
    if (!Take(")")) return Invalid("missing ')'");
    if (wrapper != nullptr) {
      wrapper->children.push_back(std::move(body));
      *atom = std::move(wrapper);
    } else {
      *atom = std::move(body);
    }
    return absl::OkStatus();
  }

  // Letters after "(?", up to ':' (scoped) or ')'.
  absl::Status ReadFlags(Flags* flags, bool* scoped) {
    bool on = true;
    while (!AtEnd()) {
      const char c = Peek();
      if (c == ':' || c == ')') {
        ++pos_;
        *scoped = c == ':';
        return absl::OkStatus();
      }
      if (c == '-') {
        on = false;
      } else if (c == 'i') {
        flags->ignore_case = on;
      } else if (c == 'm') {
        flags->dot_all = on;
      } else if (c == 'x') {
        flags->extended = on;
      } else {
        return Unsupported(absl::StrCat("group '(?", std::string(1, c), "'"));
      }
      ++pos_;
    }
    return Invalid("missing ')'");
  }

  absl::Status Escape(const Flags& flags, NodePtr* atom) {
    switch (Peek(1)) {
      case 'A':
        *atom = Position(Node::Assert::kTextStart);
        break;
      case 'z':
        *atom = Position(Node::Assert::kTextEnd);
        break;
      case 'Z':
        *atom = Position(Node::Assert::kTextEndOrLastNewline);
        break;
      case 'b':
        *atom = Position(Node::Assert::kWordBoundary);
        break;
      case 'B':
        *atom = Position(Node::Assert::kNotWordBoundary);
        break;
      default: {
        CodePointRanges ranges;
        bool is_char = false;
        RETURN_IF_ERROR(ClassEscape(&ranges, &is_char));
        *atom = Set(flags.ignore_case ? CloseOverCase(ranges) : ranges);
        return absl::OkStatus();
      }
    }
    pos_ += 2;
    return absl::OkStatus();
  }

  // An escape that stands for characters; `*is_char` if for one literal.
  absl::Status ClassEscape(CodePointRanges* ranges, bool* is_char) {
    ++pos_;  // backslash
    if (AtEnd()) return Invalid("pattern ends in a backslash");
    const uint32_t c = TakeChar();
    *is_char = false;
    switch (c) {
      case 'd':
      case 'D':
        return Property("Nd", c == 'D', ranges);
      case 's':
      case 'S':
        return Property("space", c == 'S', ranges);
      case 'w':
      case 'W':
        return Property("word", c == 'W', ranges);
      case 'h':
      case 'H':
        return Property("xdigit", c == 'H', ranges);
      case 'p':
      case 'P':
        return NamedProperty(c == 'P', ranges);
      default:
        break;
    }
    *is_char = true;
    uint32_t value = c;
    RETURN_IF_ERROR(CharEscape(c, &value));
    *ranges = {{value, value}};
    return absl::OkStatus();
  }

  absl::Status CharEscape(uint32_t c, uint32_t* value) {
    static constexpr absl::string_view kFrom = "tnrfvae0";
    static constexpr char kTo[] = {'\t', '\n', '\r', '\f', '\v', 7, 27, 0};
    if (c == 'x' || c == 'u') return HexEscape(c, value);
    if (c < 0x80) {
      const size_t i = kFrom.find(static_cast<char>(c));
      if (i != absl::string_view::npos) {
        *value = static_cast<unsigned char>(kTo[i]);
        return absl::OkStatus();
      }
      const bool is_letter = (c | 32) >= 'a' && (c | 32) <= 'z';
      if (is_letter || (c >= '1' && c <= '9')) {
        return Unsupported(absl::StrCat("'\\", std::string(1, c), "'"));
      }
    }
    return absl::OkStatus();  // punctuation stands for itself
  }

  absl::Status HexEscape(uint32_t kind, uint32_t* value) {
    const bool braces = kind == 'x' && Take("{");
    const int max_digits = braces ? 8 : kind == 'x' ? 2 : 4;
    *value = 0;
    int n = 0;
    for (; n < max_digits && isxdigit(static_cast<unsigned char>(Peek()));
         ++n, ++pos_) {
      const char d = Peek();
      *value = *value * 16 +
               static_cast<uint32_t>(d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
    }
    if (n == 0 || (braces && !Take("}")) || *value > utf8::kMaxCodePoint) {
      return Invalid("bad hexadecimal escape");
    }
    if (!braces && kind == 'x' && *value > 0x7f) {
      return Unsupported("a raw byte \\x80 to \\xff");
    }
    return absl::OkStatus();
  }

  absl::Status NamedProperty(bool negative, CodePointRanges* ranges) {
    std::string name;
    if (Take("{")) {
      if (Take("^")) negative = !negative;
      while (!AtEnd() && Peek() != '}') name.push_back(pattern_[pos_++]);
      if (!Take("}")) return Invalid("missing '}'");
    } else if (!AtEnd()) {
      name.push_back(pattern_[pos_++]);
    }
    return Property(name, negative, ranges);
  }

  absl::Status Property(absl::string_view name, bool negative,
                        CodePointRanges* ranges) {
    auto found = PropertyRanges(name);
    if (!found.ok()) return Invalid(found.status().message());
    *ranges = negative ? Complement(*found) : *std::move(found);
    return absl::OkStatus();
  }

  // After '[', through the matching ']'.
  absl::Status Class(bool ignore_case, int depth, CodePointRanges* out) {
    if (depth > kMaxDepth) return Unsupported("nesting this deep");
    const bool negative = Take("^");
    CodePointRanges set, result;
    bool has_result = false, first = true;
    while (true) {
      if (AtEnd()) return Invalid("missing ']'");
      if (Peek() == ']' && !first) break;
      first = false;
      if (Take("&&")) {
        result = has_result ? Intersection(result, set) : set;
        has_result = true;
        set.clear();
        continue;
      }
      CodePointRanges item;
      RETURN_IF_ERROR(ClassItem(ignore_case, depth, &item));
      set = Union(set, item);
    }
    ++pos_;
    if (ignore_case) set = CloseOverCase(set);
    if (has_result) set = Intersection(result, set);
    *out = negative ? Complement(set) : std::move(set);
    return absl::OkStatus();
  }

  absl::Status ClassItem(bool ignore_case, int depth, CodePointRanges* item) {
    if (Take("[:")) return PosixClass(item);
    if (Take("[")) return Class(ignore_case, depth + 1, item);
    bool is_char = true;
    RETURN_IF_ERROR(ClassChar(item, &is_char));
    if (!is_char || Peek() != '-' || Peek(1) == ']' || Peek(1) == '\0') {
      return absl::OkStatus();
    }
    if (Peek(1) == '[' || (Peek(1) == '&' && Peek(2) == '&')) {
      return absl::OkStatus();  // the '-' is a literal
    }
    ++pos_;
    CodePointRanges last;
    RETURN_IF_ERROR(ClassChar(&last, &is_char));
    if (!is_char) return Unsupported("a range that ends in a class");
    if (last[0].first < (*item)[0].first) return Invalid("empty range");
    (*item)[0].second = last[0].first;
    return absl::OkStatus();
  }

  absl::Status ClassChar(CodePointRanges* item, bool* is_char) {
    *is_char = true;
    if (Peek() != '\\') {
      const uint32_t c = TakeChar();
      *item = {{c, c}};
      return absl::OkStatus();
    }
    if (Peek(1) == 'b') {
      pos_ += 2;
      *item = {{8, 8}};
      return absl::OkStatus();
    }
    return ClassEscape(item, is_char);
  }

  absl::Status PosixClass(CodePointRanges* item) {
    const bool negative = Take("^");
    const size_t end = pattern_.find(":]", pos_);
    if (end == absl::string_view::npos) return Invalid("missing ':]'");
    const absl::string_view name = pattern_.substr(pos_, end - pos_);
    pos_ = end + 2;
    if (name != "punct") return Property(name, negative, item);
    // In brackets Oniguruma counts symbols as punctuation.
    CodePointRanges symbols;
    RETURN_IF_ERROR(Property("P", false, item));
    RETURN_IF_ERROR(Property("S", false, &symbols));
    *item = Union(*item, symbols);
    if (negative) *item = Complement(*item);
    return absl::OkStatus();
  }

  absl::Status Quantifiers(NodePtr* atom) {
    while (!AtEnd()) {
      int min = 0, max = Node::kNoLimit;
      bool is_interval = false;
      if (Take("*")) {
      } else if (Take("+")) {
        min = 1;
      } else if (Take("?")) {
        max = 1;
      } else {
        RETURN_IF_ERROR(Interval(&min, &max, &is_interval));
        if (!is_interval) return absl::OkStatus();
      }
      if ((*atom)->type == Node::Type::kAssert) {
        return Unsupported("a repeated assertion");
      }
      auto repeat = MakeNode(Node::Type::kRepeat);
      repeat->min = min;
      repeat->max = max;
      // {n}? is an optional {n} and {n,m}+ a repeated {n,m}, in Ruby's
      // flavour.
      if (is_interval ? min != max && Take("?") : Take("?")) {
        repeat->mode = Node::Mode::kLazy;
      } else if (!is_interval && Take("+")) {
        repeat->mode = Node::Mode::kPossessive;
      }
      repeat->children.push_back(std::move(*atom));
      *atom = std::move(repeat);
    }
    return absl::OkStatus();
  }

  // {n}, {n,}, {,m}, {n,m}; anything else leaves the brace a literal.
  absl::Status Interval(int* min, int* max, bool* is_interval) {
    if (Peek() != '{') return absl::OkStatus();
    const size_t start = pos_++;
    const bool has_min = Number(min);
    bool has_max = true;
    if (Take(",")) {
      has_max = Number(max);
      if (!has_max) *max = Node::kNoLimit;
    } else {
      *max = *min;
      has_max = has_min;
    }
    *is_interval = (has_min || has_max) && Take("}");
    if (!*is_interval) {
      pos_ = start;
      return absl::OkStatus();
    }
    if (*min > kMaxCount || *max > kMaxCount ||
        (*max != Node::kNoLimit && *max < *min)) {
      return Invalid("bad repetition count");
    }
    return absl::OkStatus();
  }

  bool Number(int* value) {
    *value = 0;
    const size_t start = pos_;
    while (Peek() >= '0' && Peek() <= '9') {
      *value = *value > kMaxCount ? *value : *value * 10 + (Peek() - '0');
      ++pos_;
    }
    return pos_ > start;
  }

  absl::string_view pattern_;
  size_t pos_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RegexNode>> ParseRegex(
    absl::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes || !utf8::IsValid(pattern)) {
    return absl::InvalidArgumentError(
        "regular expression: longer than 64 KiB or not UTF-8");
  }
  return Parser(pattern).Parse();
}

}  // namespace narrow
