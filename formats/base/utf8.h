// Which bytes are well-formed UTF-8.
//
//   size_t n = Utf8SequenceLength(text);  // 0: not a character
//
// Pure functions.

#ifndef NARROW_FORMATS_BASE_UTF8_H_
#define NARROW_FORMATS_BASE_UTF8_H_

#include <cstddef>
#include <optional>

#include "absl/strings/string_view.h"

namespace narrow {

// Bytes of the well-formed UTF-8 sequence at the head of `text`, 0 if it is
// not one. The second byte's bounds exclude overlong forms, surrogates and
// code points above U+10FFFF (The Unicode Standard, table 3-7).
inline size_t Utf8SequenceLength(absl::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(0);
  if (first < 0x80) {
    return 1;
  }
  const size_t length = first >= 0xc2 && first <= 0xdf   ? 2
                        : first >= 0xe0 && first <= 0xef ? 3
                        : first >= 0xf0 && first <= 0xf4 ? 4
                                                         : 0;
  if (length == 0) {
    return 0;
  }
  const unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) {
    return 0;
  }
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return 0;
    }
  }
  return length;
}

// Where the first byte is that begins no well-formed sequence.
inline std::optional<size_t> FindInvalidUtf8(absl::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = Utf8SequenceLength(text.substr(at));
    if (length == 0) {
      return at;
    }
    at += length;
  }
  return std::nullopt;
}

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_UTF8_H_
