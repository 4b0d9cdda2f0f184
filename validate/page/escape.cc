#include "validate/page/escape.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/text/utf8.h"

namespace narrow {
namespace {

constexpr char kReplacement[] = "\xef\xbf\xbd";

bool TurnsDirection(uint32_t c) {
  return c == 0x061c || (c >= 0x200e && c <= 0x200f) ||
         (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

// Controls, ends of lines that Unicode knows, and non-characters.
bool IsControl(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 ||
         c == 0xfeff || (c & 0xfffe) == 0xfffe;
}

bool IsWordAt(const std::string& text, size_t i) {
  return i < text.size() && (absl::ascii_isalnum(text[i]) ||
                             static_cast<unsigned char>(text[i]) >= 0x80);
}

// Whether the character at `i` could be markup: '_' within a word is none, and
// ':' and '.' only make addresses into links.
bool IsMarkup(const std::string& text, size_t i) {
  switch (text[i]) {
    case '_':
      return !(i > 0 && IsWordAt(text, i - 1) && IsWordAt(text, i + 1));
    case ':':
      return text.compare(i, 3, "://") == 0;
    case '.':
      return i >= 3 && absl::EqualsIgnoreCase(text.substr(i - 3, 3), "www");
    default:
      return absl::string_view("\\`*[]#|~$@").find(text[i]) !=
             absl::string_view::npos;
  }
}

std::string Clean(absl::string_view text, bool keep_lines) {
  const std::string valid = utf8::ToValid(text);
  std::string out;
  for (size_t at = 0; at < valid.size();) {
    size_t n;
    const uint32_t c = utf8::Read(valid.data() + at, &n);
    if (keep_lines && c == '\n') {
      out.push_back('\n');
    } else if (IsControl(c) || TurnsDirection(c)) {
      out += kReplacement;
    } else {
      out.append(valid, at, n);
    }
    at += n;
  }
  return out;
}

}  // namespace

std::string Harmless(absl::string_view text) { return Clean(text, false); }

std::string HarmlessLines(absl::string_view lines) {
  return Clean(lines, true);
}

std::string HtmlText(absl::string_view text) {
  std::string out;
  for (const char c : Clean(text, true)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string MarkdownText(absl::string_view text) {
  const std::string clean = Harmless(text);
  std::string out;
  for (size_t i = 0; i < clean.size(); ++i) {
    const char c = clean[i];
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else {
      if (IsMarkup(clean, i)) {
        out += '\\';
      }
      out += c;
    }
  }
  return out;
}

std::string MarkdownName(absl::string_view name) {
  const std::string clean = Harmless(name);
  const bool plain = !clean.empty() && clean.front() != ' ' &&
                     clean.back() != ' ' &&
                     clean.find_first_of("`|\\<>&") == std::string::npos;
  return plain ? absl::StrCat("`", clean, "`") : MarkdownText(name);
}

std::string MarkdownCode(absl::string_view lines) {
  const std::string clean = HarmlessLines(lines);
  size_t longest = 2;
  size_t run = 0;
  for (const char c : clean) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  const bool ended = !clean.empty() && clean.back() == '\n';
  return absl::StrCat(fence, "\n", clean, ended ? "" : "\n", fence, "\n");
}

}  // namespace narrow
