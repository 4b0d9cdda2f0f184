#include "formats/json/json_scan.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"

namespace narrow {
namespace {

bool IsHighSurrogate(uint32_t code) { return code >> 10 == 0xd800 >> 10; }
bool IsLowSurrogate(uint32_t code) { return code >> 10 == 0xdc00 >> 10; }

// The code unit of a "\\uXXXX" at the head of `text`.
std::optional<uint32_t> CodeUnit(absl::string_view text) {
  if (text.size() < 6 || !absl::StartsWith(text, "\\u")) {
    return std::nullopt;
  }
  uint32_t code = 0;
  for (const char c : text.substr(2, 4)) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) {
      return std::nullopt;
    }
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    code = code << 4 | static_cast<uint32_t>(digit);
  }
  return code;
}

// Bytes of the escape at the head of `text`, 0 if it is not one. Surrogates
// stand in pairs.
size_t EscapeLength(absl::string_view text) {
  if (text.size() >= 2 && absl::StrContains("\"\\/bfnrt", text.substr(1, 1))) {
    return 2;
  }
  const std::optional<uint32_t> code = CodeUnit(text);
  if (!code.has_value() || IsLowSurrogate(*code)) {
    return 0;
  }
  if (!IsHighSurrogate(*code)) {
    return 6;
  }
  const std::optional<uint32_t> second = CodeUnit(text.substr(6));
  return second.has_value() && IsLowSurrogate(*second) ? 12 : 0;
}

bool ConsumeDigits(absl::string_view* text) {
  const size_t before = text->size();
  while (!text->empty() &&
         absl::ascii_isdigit(static_cast<unsigned char>(text->front()))) {
    text->remove_prefix(1);
  }
  return text->size() < before;
}

// Whether `text` is a number as JSON writes it: no leading zero, no '+', no
// bare point.
bool IsNumber(absl::string_view text) {
  absl::ConsumePrefix(&text, "-");
  if (!absl::ConsumePrefix(&text, "0") && !ConsumeDigits(&text)) {
    return false;
  }
  if (absl::ConsumePrefix(&text, ".") && !ConsumeDigits(&text)) {
    return false;
  }
  if (absl::ConsumePrefix(&text, "e") || absl::ConsumePrefix(&text, "E")) {
    if (!absl::ConsumePrefix(&text, "-")) {
      absl::ConsumePrefix(&text, "+");
    }
    if (!ConsumeDigits(&text)) {
      return false;
    }
  }
  return text.empty();
}

class Scanner {
 public:
  Scanner(absl::string_view text, int max_depth)
      : text_(text), max_depth_(max_depth) {}

  JsonScan Scan() {
    if (const auto bad = utf8::FindInvalid(text_)) {
      at_ = *bad;
      Fail("a byte that is not UTF-8");
      return std::move(result_);
    }
    bool ok = Value();
    while (ok && !open_.empty()) {
      ok = AfterValue();
    }
    SkipSpace();
    if (ok && at_ < text_.size()) {
      Fail("text after the end of the document");
    }
    return std::move(result_);
  }

 private:
  bool Fail(absl::string_view cause) {
    result_.error = std::string(cause);
    result_.error_offset = std::min(at_, text_.size());
    return false;
  }

  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' ||
                                  text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  // The next byte that is not space, 0 at the end.
  char Peek() {
    SkipSpace();
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  // One value; of an object or array only what precedes its first value.
  bool Value() {
    const char c = Peek();
    if (c == '{' || c == '[') {
      return Open(c);
    }
    if (c == '"') {
      return String();
    }
    if (c == '-' || absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      return Number();
    }
    return Word();
  }

  bool Open(char c) {
    if (open_.size() >= static_cast<size_t>(max_depth_)) {
      return Fail(absl::StrCat("nested deeper than ", max_depth_, " levels"));
    }
    ++at_;
    open_.push_back(c);
    const char next = Peek();
    if (next == (c == '{' ? '}' : ']')) {
      ++at_;
      open_.pop_back();
      return true;
    }
    return c == '{' ? Key() && Value() : Value();
  }

  // What follows a value inside an object or array.
  bool AfterValue() {
    const bool object = open_.back() == '{';
    const char c = Peek();
    if (c == (object ? '}' : ']')) {
      ++at_;
      open_.pop_back();
      return true;
    }
    if (c != ',') {
      return Fail(at_ >= text_.size()
                      ? "the text ends inside an object or array"
                  : object ? "expected ',' or '}'"
                           : "expected ',' or ']'");
    }
    ++at_;
    return object ? Key() && Value() : Value();
  }

  bool Key() {
    if (Peek() != '"') {
      return Fail("expected a key in quotes");
    }
    if (!String()) {
      return false;
    }
    if (Peek() != ':') {
      return Fail("expected ':' after a key");
    }
    ++at_;
    return true;
  }

  bool String() {
    for (size_t i = at_ + 1; i < text_.size(); ++i) {
      if (text_[i] == '"') {
        at_ = i + 1;
        return true;
      }
      if (static_cast<unsigned char>(text_[i]) < 0x20) {
        at_ = i;
        return Fail("control character in a string");
      }
      if (text_[i] == '\\') {
        const size_t length = EscapeLength(text_.substr(i));
        if (length == 0) {
          at_ = i;
          return Fail("bad escape in a string");
        }
        i += length - 1;
      }
    }
    return Fail("a string without its closing quote");
  }

  bool Number() {
    const size_t begin = at_;
    while (at_ < text_.size() && (absl::ascii_isalnum(text_[at_]) ||
                                  absl::StrContains("+-.", text_[at_]))) {
      ++at_;
    }
    const absl::string_view token = text_.substr(begin, at_ - begin);
    if (token == "-Infinity") {
      result_.rewrites.push_back({begin, token.size(), "null"});
      return true;
    }
    double value;
    if (!IsNumber(token) || !absl::SimpleAtod(token, &value)) {
      at_ = begin;
      return Fail(absl::StrCat("bad number ", QuotedName(token)));
    }
    if (std::isinf(value)) {
      at_ = begin;
      return Fail(absl::StrCat("number ", QuotedName(token),
                               " is beyond the range of a double"));
    }
    int64_t ignored_int;
    uint64_t ignored_uint;
    if (token.find_first_not_of("-0123456789") == absl::string_view::npos &&
        !absl::SimpleAtoi(token, &ignored_int) &&
        !absl::SimpleAtoi(token, &ignored_uint)) {
      result_.rewrites.push_back(
          {begin, token.size(), absl::StrCat(token, "e0")});
    }
    return true;
  }

  bool Word() {
    for (const absl::string_view word :
         {"true", "false", "null", "NaN", "Infinity"}) {
      if (absl::StartsWith(text_.substr(std::min(at_, text_.size())), word)) {
        if (word == "NaN" || word == "Infinity") {
          result_.rewrites.push_back({at_, word.size(), "null"});
        }
        at_ += word.size();
        return true;
      }
    }
    return Fail(at_ >= text_.size() ? "the text ends where a value must be"
                                    : "expected a value");
  }

  absl::string_view text_;
  int max_depth_;
  size_t at_ = 0;
  std::string open_;  // the brackets around this place, outermost first
  JsonScan result_;
};

}  // namespace

JsonScan ScanJson(absl::string_view text, int max_depth) {
  return Scanner(text, max_depth).Scan();
}

std::string LineAndColumn(absl::string_view text, size_t offset) {
  const absl::string_view before = text.substr(0, offset);
  const auto n_lines = std::count(before.begin(), before.end(), '\n');
  const size_t last = before.rfind('\n');
  const size_t column =
      last == absl::string_view::npos ? offset + 1 : offset - last;
  return absl::StrCat("line ", n_lines + 1, ", column ", column);
}

}  // namespace narrow
