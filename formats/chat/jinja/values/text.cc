#include "formats/chat/jinja/values/text.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>

#include "formats/base/text/utf8.h"

namespace narrow::jinja {
namespace {

// What Unicode calls a line end beyond \n and \r.
bool IsLineEnd(uint32_t c) {
  return (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 ||
         c == 0x2028 || c == 0x2029;
}

template <typename Strips>
absl::string_view StripWhile(absl::string_view text, Sides sides,
                             const Strips& strips) {
  size_t begin = 0;
  size_t end = text.size();
  while (sides != Sides::kRight && begin < end) {
    size_t n;
    if (!strips(utf8::Read(text.data() + begin, &n))) {
      break;
    }
    begin += n;
  }
  while (sides != Sides::kLeft && end > begin) {
    const size_t at = utf8::Back(text, end);
    size_t n;
    if (!strips(utf8::Read(text.data() + at, &n))) {
      break;
    }
    end = at;
  }
  return text.substr(begin, end - begin);
}

template <typename Accepts>
bool All(absl::string_view text, const Accepts& accepts) {
  const std::vector<uint32_t> points = CodePoints(text);
  return !points.empty() && std::all_of(points.begin(), points.end(), accepts);
}

int NumericType(uint32_t c) {
  return u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_NUMERIC_TYPE);
}

std::string ToUtf8(const icu::UnicodeString& text) {
  std::string out;
  text.toUTF8String(out);
  return out;
}

icu::UnicodeString FromUtf8(absl::string_view text) {
  return icu::UnicodeString::fromUTF8(
      icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
}

std::string TitleOf(uint32_t c) {
  icu::UnicodeString one(static_cast<UChar32>(c));
  one.toTitle(nullptr, icu::Locale::getRoot(), U_TITLECASE_NO_BREAK_ADJUSTMENT);
  return ToUtf8(one);
}

// Every cased code point has the case `wanted`, and there is one.
bool HasCase(absl::string_view text, UProperty wanted, UProperty other) {
  bool found = false;
  for (const uint32_t c : CodePoints(text)) {
    const UChar32 point = static_cast<UChar32>(c);
    if (u_hasBinaryProperty(point, other) || u_istitle(point)) {
      return false;
    }
    found = found || u_hasBinaryProperty(point, wanted);
  }
  return found;
}

}  // namespace

bool IsSpace(uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 ||
         c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
         c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool IsPrintable(uint32_t c) {
  if (c < 0x7f) {
    return c >= 0x20;
  }
  switch (u_charType(static_cast<UChar32>(c))) {
    case U_UNASSIGNED:
    case U_CONTROL_CHAR:
    case U_FORMAT_CHAR:
    case U_SURROGATE:
    case U_PRIVATE_USE_CHAR:
    case U_SPACE_SEPARATOR:
    case U_LINE_SEPARATOR:
    case U_PARAGRAPH_SEPARATOR:
      return false;
    default:
      return true;
  }
}

int64_t CodePointCount(absl::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  });
}

std::vector<uint32_t> CodePoints(absl::string_view text) {
  std::vector<uint32_t> points;
  points.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    size_t n;
    points.push_back(utf8::Read(text.data() + at, &n));
    at += n;
  }
  return points;
}

std::string FromCodePoints(const std::vector<uint32_t>& code_points) {
  std::string text;
  for (const uint32_t c : code_points) {
    utf8::Append(c, &text);
  }
  return text;
}

size_t ByteOffset(absl::string_view text, int64_t index) {
  size_t at = 0;
  while (index > 0 && at < text.size()) {
    at += utf8::Length(static_cast<unsigned char>(text[at]));
    --index;
  }
  return std::min(at, text.size());
}

absl::string_view StripSpace(absl::string_view text, Sides sides) {
  return StripWhile(text, sides, IsSpace);
}

absl::string_view StripSet(absl::string_view text, absl::string_view set,
                           Sides sides) {
  const std::vector<uint32_t> points = CodePoints(set);
  return StripWhile(text, sides, [&points](uint32_t c) {
    return std::find(points.begin(), points.end(), c) != points.end();
  });
}

std::vector<absl::string_view> SplitAtSpace(absl::string_view text,
                                            int64_t max_splits,
                                            bool from_right) {
  std::vector<absl::string_view> words;
  const Sides near = from_right ? Sides::kRight : Sides::kLeft;
  absl::string_view rest = StripSpace(text, near);
  while (!rest.empty()) {
    if (max_splits >= 0 && static_cast<int64_t>(words.size()) == max_splits) {
      words.push_back(rest);  // the far end keeps its space, as in Python
      break;
    }
    size_t length = 0;
    while (length < rest.size()) {
      const size_t at =
          from_right ? utf8::Back(rest, rest.size() - length) : length;
      size_t n;
      if (IsSpace(utf8::Read(rest.data() + at, &n))) {
        break;
      }
      length += n;
    }
    words.push_back(from_right ? rest.substr(rest.size() - length)
                               : rest.substr(0, length));
    rest =
        from_right ? rest.substr(0, rest.size() - length) : rest.substr(length);
    rest = StripSpace(rest, near);
  }
  if (from_right) {
    std::reverse(words.begin(), words.end());
  }
  return words;
}

std::vector<absl::string_view> SplitAt(absl::string_view text,
                                       absl::string_view separator,
                                       int64_t max_splits, bool from_right) {
  std::vector<absl::string_view> parts;
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    const size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == absl::string_view::npos) {
      break;
    }
    const absl::string_view left = text.substr(0, at);
    const absl::string_view right = text.substr(at + separator.size());
    parts.push_back(from_right ? right : left);
    text = from_right ? left : right;
  }
  parts.push_back(text);
  if (from_right) {
    std::reverse(parts.begin(), parts.end());
  }
  return parts;
}

std::vector<absl::string_view> SplitLines(absl::string_view text,
                                          bool keep_ends) {
  std::vector<absl::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    size_t n;
    const uint32_t c = utf8::Read(text.data() + at, &n);
    if (!IsLineEnd(c)) {
      at += n;
      continue;
    }
    if (c == '\r' && at + 1 < text.size() && text[at + 1] == '\n') {
      n = 2;
    }
    lines.push_back(text.substr(begin, at - begin + (keep_ends ? n : 0)));
    at += n;
    begin = at;
  }
  if (begin < text.size()) {
    lines.push_back(text.substr(begin));
  }
  return lines;
}

std::string Replace(absl::string_view text, absl::string_view from,
                    absl::string_view to, int64_t max_times) {
  std::string out;
  int64_t n_done = 0;
  size_t at = 0;
  while (max_times < 0 || n_done < max_times) {
    if (from.empty()) {
      out.append(to.data(), to.size());
      ++n_done;
      if (at == text.size()) {
        break;
      }
      const size_t n = utf8::Length(static_cast<unsigned char>(text[at]));
      out.append(text.data() + at, n);
      at += n;
      continue;
    }
    const size_t found = text.find(from, at);
    if (found == absl::string_view::npos) {
      break;
    }
    out.append(text.data() + at, found - at);
    out.append(to.data(), to.size());
    at = found + from.size();
    ++n_done;
  }
  out.append(text.data() + at, text.size() - at);
  return out;
}

std::string Upper(absl::string_view text) {
  return ToUtf8(FromUtf8(text).toUpper(icu::Locale::getRoot()));
}

std::string Lower(absl::string_view text) {
  return ToUtf8(FromUtf8(text).toLower(icu::Locale::getRoot()));
}

std::string Capitalize(absl::string_view text) {
  if (text.empty()) {
    return "";
  }
  size_t n;
  const uint32_t first = utf8::Read(text.data(), &n);
  // Lower case of the whole, since a final sigma depends on what is before.
  const std::string lower = Lower(text);
  return TitleOf(first) + lower.substr(Lower(text.substr(0, n)).size());
}

std::string Title(absl::string_view text) {
  std::string out;
  bool after_letter = false;
  for (size_t at = 0; at < text.size();) {
    size_t n;
    const uint32_t c = utf8::Read(text.data() + at, &n);
    out += after_letter ? Lower(text.substr(at, n)) : TitleOf(c);
    after_letter = u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_CASED);
    at += n;
  }
  return out;
}

bool IsAlphabetic(absl::string_view text) {
  return All(
      text, [](uint32_t c) { return u_isalpha(static_cast<UChar32>(c)) != 0; });
}

bool IsNumeric(absl::string_view text) {
  return All(text, [](uint32_t c) { return NumericType(c) != U_NT_NONE; });
}

bool IsDigits(absl::string_view text) {
  return All(text, [](uint32_t c) {
    return NumericType(c) == U_NT_DECIMAL || NumericType(c) == U_NT_DIGIT;
  });
}

bool IsDecimal(absl::string_view text) {
  return All(text, [](uint32_t c) { return NumericType(c) == U_NT_DECIMAL; });
}

bool IsAlphanumeric(absl::string_view text) {
  return All(text, [](uint32_t c) {
    return u_isalpha(static_cast<UChar32>(c)) || NumericType(c) != U_NT_NONE;
  });
}

bool IsAllSpace(absl::string_view text) { return All(text, IsSpace); }

bool IsUpperCase(absl::string_view text) {
  return HasCase(text, UCHAR_UPPERCASE, UCHAR_LOWERCASE);
}

bool IsLowerCase(absl::string_view text) {
  return HasCase(text, UCHAR_LOWERCASE, UCHAR_UPPERCASE);
}

}  // namespace narrow::jinja
