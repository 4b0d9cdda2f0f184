#include "formats/hf/yaml_scalar.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace narrow {
namespace {

bool IsOneOf(absl::string_view text, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](const char* word) { return text == word; });
}

bool AreDigits(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(c) || c == '_';
  });
}

// 12, -1_000, 0x1f, 0b11, 1.5, 1., .5, 1.0e+3 and 1:30: what YAML 1.1 reads
// as numbers. An exponent needs a point before it and a sign.
bool IsNumber(absl::string_view text) {
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    text.remove_prefix(1);
  }
  if (text.empty()) {
    return false;
  }
  if (IsOneOf(text, {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"})) {
    return true;
  }
  if (absl::ConsumePrefix(&text, "0x")) {
    return std::all_of(text.begin(), text.end(), [](char c) {
      return absl::ascii_isxdigit(c) || c == '_';
    });
  }
  if (absl::StartsWith(text, "0b")) {
    return AreDigits(text.substr(2)) && !absl::StrContains(text, "2");
  }
  if (absl::StrContains(text, ":")) {
    const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
    return std::all_of(parts.begin(), parts.end(), AreDigits);
  }
  const size_t exponent = text.find_first_of("eE");
  if (exponent != absl::string_view::npos) {
    const absl::string_view power = text.substr(exponent + 1);
    if (power.size() < 2 || (power[0] != '+' && power[0] != '-') ||
        !AreDigits(power.substr(1)) ||
        !absl::StrContains(text.substr(0, exponent), ".")) {
      return false;
    }
    text = text.substr(0, exponent);
  }
  const size_t point = text.find('.');
  if (point == absl::string_view::npos) {
    // With a zero before it, a number is octal.
    return absl::ascii_isdigit(text[0]) && AreDigits(text) &&
           (text[0] != '0' ||
            text.find_first_of("89") == absl::string_view::npos);
  }
  const absl::string_view whole = text.substr(0, point);
  const absl::string_view part = text.substr(point + 1);
  return (whole.empty() ||
          (absl::ascii_isdigit(whole[0]) && AreDigits(whole))) &&
         (part.empty() || AreDigits(part)) && !(whole.empty() && part.empty());
}

// 2024-05-01, with or without a time.
bool IsDate(absl::string_view text) {
  const std::vector<absl::string_view> parts =
      absl::StrSplit(text.substr(0, text.find_first_of(" Tt")), '-');
  return parts.size() == 3 && parts[0].size() == 4 &&
         std::all_of(parts.begin(), parts.end(), AreDigits) &&
         parts[1].size() <= 2 && parts[2].size() <= 2;
}

void AppendUtf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    *out += static_cast<char>(code);
  } else if (code < 0x800) {
    *out += static_cast<char>(0xc0 | (code >> 6));
    *out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    *out += static_cast<char>(0xe0 | (code >> 12));
    *out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    *out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    *out += static_cast<char>(0xf0 | (code >> 18));
    *out += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
    *out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    *out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

// The escape after a backslash, which `text` begins after; false for one that
// we do not read.
bool AppendEscape(absl::string_view* text, std::string* out) {
  if (text->empty()) {
    return false;
  }
  const char c = text->front();
  text->remove_prefix(1);
  constexpr absl::string_view kNames = "0abtnvfre \"/\\";
  constexpr absl::string_view kValues("\0\a\b\t\n\v\f\r\x1b \"/\\", 13);
  if (const size_t i = kNames.find(c); i != absl::string_view::npos) {
    *out += kValues[i];
    return true;
  }
  const size_t n_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  uint32_t code;
  if (n_digits == 0 || text->size() < n_digits ||
      !absl::SimpleHexAtoi(text->substr(0, n_digits), &code) ||
      code > 0x10ffff) {
    return false;
  }
  AppendUtf8(code, out);
  text->remove_prefix(n_digits);
  return true;
}

}  // namespace

size_t KeyLength(absl::string_view line) {
  size_t i = 0;
  if (!line.empty() && (line[0] == '"' || line[0] == '\'')) {
    i = QuotedLength(line);
    if (i == 0) {
      return 0;
    }
    while (i < line.size() && line[i] == ' ') {
      ++i;
    }
    return i < line.size() && line[i] == ':' &&
                   (i + 1 == line.size() || line[i + 1] == ' ')
               ? i
               : 0;
  }
  if (line.empty() || absl::StrContains("[{|>&*!%@`#", line.substr(0, 1))) {
    return 0;
  }
  for (; i < line.size(); ++i) {
    if (line[i] == ':' && (i + 1 == line.size() || line[i + 1] == ' ')) {
      return i;
    }
    if (line[i] == '#' && i > 0 && line[i - 1] == ' ') {
      return 0;
    }
  }
  return 0;
}

std::optional<std::string> KeyText(absl::string_view key) {
  key = absl::StripAsciiWhitespace(key);
  if (absl::StartsWith(key, "? ")) {
    return std::nullopt;
  }
  if (key[0] != '"' && key[0] != '\'') {
    return std::string(key);
  }
  std::optional<YamlValue> value = QuotedScalar(key);
  return value ? std::make_optional(value->text) : std::nullopt;
}

size_t QuotedLength(absl::string_view text) {
  const char quote = text[0];
  for (size_t i = 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '\'' && i + 1 < text.size() && text[i + 1] == quote) {
        ++i;
      } else {
        return i + 1;
      }
    }
  }
  return 0;
}

std::optional<YamlValue> QuotedScalar(absl::string_view quoted) {
  const char quote = quoted[0];
  absl::string_view rest = quoted.substr(1, quoted.size() - 2);
  YamlValue value;
  value.kind = YamlValue::Kind::kString;
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (quote == '\'' && c == '\'') {
      rest.remove_prefix(1);  // doubled
      value.text += c;
    } else if (quote == '"' && c == '\\') {
      if (!AppendEscape(&rest, &value.text)) {
        return std::nullopt;
      }
    } else {
      value.text += c;
    }
  }
  return value;
}

bool CutComment(std::string* text) {
  for (size_t i = 1; i < text->size(); ++i) {
    if ((*text)[i] == '#' && (*text)[i - 1] == ' ') {
      text->resize(i);
      absl::StripTrailingAsciiWhitespace(text);
      return true;
    }
  }
  return false;
}

YamlValue PlainScalar(absl::string_view text) {
  YamlValue value;
  if (IsOneOf(text, {"", "~", "null", "Null", "NULL"})) {
    return value;
  }
  value.text = std::string(text);
  const bool is_truth = IsOneOf(
      text, {"yes", "Yes", "YES", "no", "No", "NO", "true", "True", "TRUE",
             "false", "False", "FALSE", "on", "On", "ON", "off", "Off", "OFF"});
  value.kind = is_truth || IsNumber(text) || IsDate(text)
                   ? YamlValue::Kind::kOther
                   : YamlValue::Kind::kString;
  return value;
}

}  // namespace narrow
