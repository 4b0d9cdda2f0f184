#include "formats/chat/jinja/syntax/lexer.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/chat/jinja/values/text.h"

namespace narrow::jinja {
namespace {

// Longest first, so that the first match is the right one.
constexpr absl::string_view kOperators[] = {
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

bool IsNameByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(absl::string_view source)
      : source_(absl::StrReplaceAll(source, {{"\r\n", "\n"}, {"\r", "\n"}})) {
    if (absl::EndsWith(source_, "\n")) {
      source_.pop_back();
    }
    text_ = source_;
  }

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < text_.size()) {
      RETURN_IF_ERROR(LexData());
    }
    Add(Token::Type::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::Status Error(absl::string_view cause) const {
    return absl::InvalidArgumentError(
        absl::StrCat(cause, "; at line ", line_, " of the template"));
  }

  // Moves to `end`, counting lines.
  void MoveTo(size_t end) {
    line_ += static_cast<int>(
        std::count(text_.begin() + at_, text_.begin() + end, '\n'));
    line_starting_ = end > at_ && text_[end - 1] == '\n';
    at_ = end;
  }

  void Add(Token::Type type, absl::string_view text) {
    Token token;
    token.type = type;
    token.line = line_;
    token.text = std::string(text);
    tokens_.push_back(std::move(token));
  }

  bool Has(size_t at, absl::string_view word) const {
    return absl::StartsWith(text_.substr(at), word);
  }

  size_t SkipSpace(size_t at) const {
    const absl::string_view rest = text_.substr(at);
    return at + rest.size() - StripSpace(rest, Sides::kLeft).size();
  }

  // Where a block or comment ends that closes at `at` with `close`, together
  // with what trim_blocks or a minus sign takes; npos if it closes not here.
  size_t EndAt(size_t at, absl::string_view close, bool trims) const {
    if (Has(at, "-") && Has(at + 1, close)) {
      return SkipSpace(at + 1 + close.size());
    }
    if (trims && Has(at, "+") && Has(at + 1, close)) {
      return at + 1 + close.size();
    }
    if (!Has(at, close)) {
      return absl::string_view::npos;
    }
    const size_t end = at + close.size();
    return trims && Has(end, "\n") ? end + 1 : end;
  }

  // The text before a tag, less what its sign or lstrip_blocks takes.
  void AddData(absl::string_view data, char sign, bool is_variable) {
    if (sign == '-') {
      data = StripSpace(data, Sides::kRight);
    } else if (sign != '+' && !is_variable) {
      const size_t newline = data.rfind('\n');
      const size_t begin = newline == absl::string_view::npos ? 0 : newline + 1;
      if ((begin > 0 || line_starting_) &&
          StripSpace(data.substr(begin), Sides::kLeft).empty()) {
        data = data.substr(0, begin);
      }
    }
    if (!data.empty()) {
      Add(Token::Type::kData, data);
    }
  }

  static char SignOf(absl::string_view text, size_t at) {
    return at < text.size() && (text[at] == '-' || text[at] == '+') ? text[at]
                                                                    : '\0';
  }

  absl::Status LexData() {
    size_t tag = at_;
    do {
      tag = text_.find('{', tag);
    } while (tag != absl::string_view::npos && !Has(tag, "{{") &&
             !Has(tag, "{%") && !Has(tag, "{#") && ++tag != 0);
    if (tag == absl::string_view::npos) {
      Add(Token::Type::kData, text_.substr(at_));
      MoveTo(text_.size());
      return absl::OkStatus();
    }
    const char kind = text_[tag + 1];
    const char sign = SignOf(text_, tag + 2);
    AddData(text_.substr(at_, tag - at_), sign, kind == '{');
    MoveTo(tag + (sign == '\0' ? 2 : 3));
    if (kind == '#') {
      return LexComment();
    }
    if (kind == '%') {
      const size_t raw = RawBegin();
      if (raw != absl::string_view::npos) {
        MoveTo(raw);
        return LexRaw();
      }
    }
    return LexTag(kind == '%');
  }

  absl::Status LexComment() {
    for (size_t at = at_; at < text_.size(); ++at) {
      const size_t end = EndAt(at, "#}", true);
      if (end != absl::string_view::npos) {
        MoveTo(end);
        return absl::OkStatus();
      }
    }
    return Error("a comment without its end, '#}'");
  }

  // After "{% raw %}", if that is what stands here.
  size_t RawBegin() const {
    size_t at = SkipSpace(at_);
    if (!Has(at, "raw")) {
      return absl::string_view::npos;
    }
    return EndAt(SkipSpace(at + 3), "%}", false);
  }

  absl::Status LexRaw() {
    for (size_t tag = text_.find("{%", at_); tag != absl::string_view::npos;
         tag = text_.find("{%", tag + 1)) {
      const char sign = SignOf(text_, tag + 2);
      size_t at = SkipSpace(tag + (sign == '\0' ? 2 : 3));
      if (!Has(at, "endraw")) {
        continue;
      }
      const size_t end = EndAt(SkipSpace(at + 6), "%}", true);
      if (end != absl::string_view::npos) {
        AddData(text_.substr(at_, tag - at_), sign, false);
        MoveTo(end);
        return absl::OkStatus();
      }
    }
    return Error("{% raw %} without {% endraw %}");
  }

  absl::Status LexTag(bool is_block) {
    Add(is_block ? Token::Type::kBlockBegin : Token::Type::kVariableBegin, "");
    std::string open;  // the brackets that must close before the tag may end
    while (at_ < text_.size()) {
      if (open.empty()) {
        const size_t end = EndAt(at_, is_block ? "%}" : "}}", is_block);
        if (end != absl::string_view::npos) {
          Add(is_block ? Token::Type::kBlockEnd : Token::Type::kVariableEnd,
              "");
          MoveTo(end);
          return absl::OkStatus();
        }
      }
      RETURN_IF_ERROR(LexToken(&open));
    }
    return Error(is_block ? "a block without its end, '%}'"
                          : "an expression without its end, '}}'");
  }

  absl::Status LexToken(std::string* open) {
    const size_t after_space = SkipSpace(at_);
    if (after_space > at_) {
      MoveTo(after_space);
      return absl::OkStatus();
    }
    const char c = text_[at_];
    if (absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      return LexNumber();
    }
    if (IsNameByte(c)) {
      size_t end = at_;
      while (end < text_.size() && IsNameByte(text_[end])) {
        ++end;
      }
      Add(Token::Type::kName, text_.substr(at_, end - at_));
      MoveTo(end);
      return absl::OkStatus();
    }
    if (c == '\'' || c == '"') {
      return LexString(c);
    }
    for (const absl::string_view word : kOperators) {
      if (Has(at_, word)) {
        RETURN_IF_ERROR(Balance(word[0], open));
        Add(Token::Type::kOperator, word);
        MoveTo(at_ + word.size());
        return absl::OkStatus();
      }
    }
    return Error(absl::StrCat("unexpected character ",
                              QuotedName(text_.substr(at_, 1))));
  }

  absl::Status Balance(char c, std::string* open) const {
    if (c == '(' || c == '[' || c == '{') {
      open->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (c == ')' || c == ']' || c == '}') {
      if (open->empty() || open->back() != c) {
        return Error(absl::StrCat("unexpected '", std::string(1, c), "'"));
      }
      open->pop_back();
    }
    return absl::OkStatus();
  }

  // Digits from `at` on, single underscores between them allowed.
  template <typename IsDigit>
  size_t SkipDigits(size_t at, const IsDigit& is_digit) const {
    while (at < text_.size() &&
           (is_digit(text_[at]) || (text_[at] == '_' && at + 1 < text_.size() &&
                                    is_digit(text_[at + 1])))) {
      ++at;
    }
    return at;
  }

  absl::Status LexNumber() {
    const auto is_decimal = [](char c) { return c >= '0' && c <= '9'; };
    const auto digit_at = [&](size_t at) {
      return at < text_.size() && is_decimal(text_[at]);
    };
    const size_t whole = SkipDigits(at_, is_decimal);
    size_t end = whole;
    if (at_ == 0 || text_[at_ - 1] != '.') {
      if (Has(end, ".") && digit_at(end + 1)) {
        end = SkipDigits(end + 1, is_decimal);
      }
      size_t exponent = end;
      if (Has(exponent, "e") || Has(exponent, "E")) {
        ++exponent;
        exponent += Has(exponent, "+") || Has(exponent, "-") ? 1 : 0;
        if (digit_at(exponent)) {
          end = SkipDigits(exponent, is_decimal);
        }
      }
    }
    if (end > whole) {
      const std::string digits =
          absl::StrReplaceAll(text_.substr(at_, end - at_), {{"_", ""}});
      Add(Token::Type::kFloat, digits);
      if (!absl::SimpleAtod(digits, &tokens_.back().real)) {
        return Error(absl::StrCat("bad number '", digits, "'"));
      }
      MoveTo(end);
      return absl::OkStatus();
    }
    return LexInteger(whole);
  }

  absl::Status LexInteger(size_t end) {
    int base = 10;
    if (text_[at_] == '0') {
      const char mark =
          at_ + 1 < text_.size() ? absl::ascii_tolower(text_[at_ + 1]) : '\0';
      base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
    }
    size_t begin = at_;
    if (base != 10) {
      const auto is_digit = [base](char c) {
        const int d = absl::ascii_isdigit(static_cast<unsigned char>(c))
                          ? c - '0'
                      : absl::ascii_isalpha(static_cast<unsigned char>(c))
                          ? absl::ascii_tolower(c) - 'a' + 10
                          : 99;
        return d < base;
      };
      begin = at_ + 2;
      end = SkipDigits(begin, is_digit);
    }
    const std::string digits =
        absl::StrReplaceAll(text_.substr(begin, end - begin), {{"_", ""}});
    if (base == 10 && digits.size() > 1 && digits[0] == '0' &&
        digits.find_first_not_of('0') != std::string::npos) {
      return Error(absl::StrCat("bad number '", digits, "'"));
    }
    errno = 0;
    const int64_t value = std::strtoll(digits.c_str(), nullptr, base);
    if (errno != 0) {
      return absl::UnimplementedError(absl::StrCat("the integer ", digits,
                                                   " beyond 64 bits; at line ",
                                                   line_, " of the template"));
    }
    if (digits.empty()) {
      return Error("bad number");
    }
    Add(Token::Type::kInteger, digits);
    tokens_.back().integer = value;
    MoveTo(end);
    return absl::OkStatus();
  }

  absl::Status LexString(char quote) {
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) {
      end += text_[end] == '\\' ? 2 : 1;
    }
    if (end >= text_.size()) {
      return Error("a string without its end");
    }
    std::string text;
    RETURN_IF_ERROR(Unescape(text_.substr(at_ + 1, end - at_ - 1), &text));
    Add(Token::Type::kString, text);
    MoveTo(end + 1);
    return absl::OkStatus();
  }

  // The escapes of Python's literals; unknown ones stay as they are.
  absl::Status Unescape(absl::string_view raw, std::string* out) const {
    constexpr absl::string_view kPlain = "n\nt\tr\ra\ab\bf\fv\v\\\\''\"\"";
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] != '\\') {
        out->push_back(raw[i]);
        continue;
      }
      const char c = raw[++i];  // a string never ends in half an escape
      size_t plain = 0;
      while (plain < kPlain.size() && kPlain[plain] != c) {
        plain += 2;
      }
      if (plain < kPlain.size()) {
        out->push_back(kPlain[plain + 1]);
      } else if (c == '\n') {
        continue;
      } else if (c == 'x' || c == 'u' || c == 'U' || (c >= '0' && c <= '7')) {
        RETURN_IF_ERROR(UnescapeCode(raw, &i, out));
      } else if (c == 'N') {
        return absl::UnimplementedError(
            "characters by name, \\N{...}, in a template's string");
      } else {
        out->push_back('\\');
        out->push_back(c);
      }
    }
    return absl::OkStatus();
  }

  // raw[*i] is what follows the backslash; leaves *i at the last digit.
  absl::Status UnescapeCode(absl::string_view raw, size_t* i,
                            std::string* out) const {
    const char c = raw[*i];
    const bool octal = c >= '0' && c <= '7';
    const size_t n_digits = octal ? 3 : c == 'x' ? 2 : c == 'u' ? 4 : 8;
    size_t at = octal ? *i : *i + 1;
    const size_t begin = at;
    uint32_t code = 0;
    for (; at < raw.size() && at - begin < n_digits; ++at) {
      const char d = absl::ascii_tolower(raw[at]);
      if (octal ? d < '0' || d > '7'
                : !absl::ascii_isxdigit(static_cast<unsigned char>(d))) {
        break;
      }
      code = code * (octal ? 8 : 16) +
             static_cast<uint32_t>(d <= '9' ? d - '0' : d - 'a' + 10);
    }
    if (!octal && at - begin < n_digits) {
      return Error(absl::StrCat("a \\", std::string(1, c),
                                " escape with too few digits"));
    }
    if (code > utf8::kMaxCodePoint) {
      return Error("an escape beyond the last code point");
    }
    if (code >= 0xd800 && code < 0xe000) {
      return absl::UnimplementedError(
          absl::StrCat("surrogates in a template's string; at line ", line_));
    }
    utf8::Append(code, out);
    *i = at - 1;
    return absl::OkStatus();
  }

  std::string source_;
  absl::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) {
  return Lexer(source).Run();
}

}  // namespace narrow::jinja
