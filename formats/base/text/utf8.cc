#include "formats/base/text/utf8.h"

#include <algorithm>

namespace narrow::utf8 {
namespace {

// Bytes of the longest prefix of a well-formed sequence at `text` (Unicode,
// table 3-7), at least 1; `*complete` tells whether it is a whole one.
size_t Scan(absl::string_view text, bool* complete) {
  const auto byte = [&](size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned lead = byte(0);
  *complete = lead < 0x80;
  if (lead < 0xc2 || lead > 0xf4) {
    return 1;
  }
  const size_t n = Length(static_cast<unsigned char>(lead));
  unsigned low = 0x80, high = 0xbf;
  if (lead == 0xe0) low = 0xa0;
  if (lead == 0xed) high = 0x9f;
  if (lead == 0xf0) low = 0x90;
  if (lead == 0xf4) high = 0x8f;
  for (size_t i = 1; i < n; ++i) {
    if (byte(i) < low || byte(i) > high) {
      return i;
    }
    low = 0x80;
    high = 0xbf;
  }
  *complete = true;
  return n;
}

size_t AsciiPrefix(absl::string_view text) {
  size_t i = 0;
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) {
    ++i;
  }
  return i;
}

}  // namespace

void Append(uint32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xc0 | c >> 6));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | c >> 12));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    out->push_back(static_cast<char>(0xf0 | c >> 18));
    out->push_back(static_cast<char>(0x80 | (c >> 12 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

size_t SequenceLength(absl::string_view text) {
  bool complete;
  const size_t n = Scan(text, &complete);
  return complete && !text.empty() ? n : 0;
}

std::optional<size_t> FindInvalid(absl::string_view text) {
  const absl::string_view whole = text;
  while (true) {
    text.remove_prefix(AsciiPrefix(text));
    if (text.empty()) {
      return std::nullopt;
    }
    const size_t n = SequenceLength(text);
    if (n == 0) {
      return whole.size() - text.size();
    }
    text.remove_prefix(n);
  }
}

bool IsValid(absl::string_view text) { return !FindInvalid(text).has_value(); }

std::string ToValid(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    bool complete;
    const size_t n = Scan(text, &complete);
    if (complete) {
      out.append(text.data(), n);
    } else {
      out += "\xef\xbf\xbd";
    }
    text.remove_prefix(n);
  }
  return out;
}

}  // namespace narrow::utf8
