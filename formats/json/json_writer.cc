#include "formats/json/json_writer.h"

#include <cassert>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "formats/base/text/utf8.h"

namespace narrow {
namespace {

template <typename Float>
std::string ShortestDigits(Float value) {
  if (!std::isfinite(value)) {
    return "null";
  }
  char buffer[64];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, result.ptr);
}

}  // namespace

JsonWriter& JsonWriter::BeginObject() { return Open('{'); }
JsonWriter& JsonWriter::EndObject() { return Close('}'); }
JsonWriter& JsonWriter::BeginArray() { return Open('['); }
JsonWriter& JsonWriter::EndArray() { return Close(']'); }

JsonWriter& JsonWriter::Key(absl::string_view key) {
  assert(!open_.empty() && open_.back() == '{' && !after_key_);
  if (after_value_) {
    text_ += ',';
  }
  NewLine();
  AppendQuoted(key);
  text_ += style_ == kCompact ? ":" : ": ";
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::String(absl::string_view text) {
  BeforeValue();
  AppendQuoted(text);
  after_value_ = true;
  return *this;
}

JsonWriter& JsonWriter::Integer(int64_t value) {
  return Word(absl::StrCat(value));
}

JsonWriter& JsonWriter::Unsigned(uint64_t value) {
  return Word(absl::StrCat(value));
}

JsonWriter& JsonWriter::Number(double value) {
  return Word(ShortestDigits(value));
}

JsonWriter& JsonWriter::Number(float value) {
  return Word(ShortestDigits(value));
}

JsonWriter& JsonWriter::Real(float value) {
  std::string digits = ShortestDigits(value);
  if (digits.find_first_of(".en") == std::string::npos) {  // "null" has an n
    digits += ".0";
  }
  return Word(digits);
}

JsonWriter& JsonWriter::Bool(bool value) {
  return Word(value ? "true" : "false");
}

JsonWriter& JsonWriter::Null() { return Word("null"); }

const std::string& JsonWriter::text() const {
  assert(open_.empty() && !after_key_);
  return text_;
}

JsonWriter& JsonWriter::Word(absl::string_view word) {
  BeforeValue();
  absl::StrAppend(&text_, word);
  after_value_ = true;
  return *this;
}

JsonWriter& JsonWriter::Open(char bracket) {
  BeforeValue();
  text_ += bracket;
  open_ += bracket;
  after_value_ = false;
  return *this;
}

JsonWriter& JsonWriter::Close(char bracket) {
  assert(!open_.empty() && open_.back() == (bracket == '}' ? '{' : '['));
  assert(!after_key_);
  open_.pop_back();
  if (after_value_) {  // an empty one stays on its line
    NewLine();
  }
  text_ += bracket;
  after_value_ = true;
  return *this;
}

void JsonWriter::BeforeValue() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  assert(open_.empty() ? text_.empty() : open_.back() == '[');
  if (after_value_) {
    text_ += ',';
  }
  if (!open_.empty()) {
    NewLine();
  }
}

void JsonWriter::NewLine() {
  if (style_ == kIndented) {
    text_ += '\n';
    text_.append(2 * open_.size(), ' ');
  }
}

void JsonWriter::AppendQuoted(absl::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  text_ += '"';
  while (!text.empty()) {
    const size_t length = utf8::SequenceLength(text);
    const unsigned char c = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      absl::StrAppend(&text_, "\xef\xbf\xbd");
      text.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += text[0];
    } else if (c == '\n') {
      text_ += "\\n";
    } else if (c < 0x20) {
      text_ += "\\u00";
      text_ += kHex[c >> 4];
      text_ += kHex[c & 15];
    } else {
      text_.append(text.data(), length);
    }
    text.remove_prefix(length);
  }
  text_ += '"';
}

}  // namespace narrow
