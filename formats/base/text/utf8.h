// Stepping through UTF-8.
//
// Read and Back need valid UTF-8, which ToValid makes of any bytes.

#ifndef NARROW_FORMATS_BASE_TEXT_UTF8_H_
#define NARROW_FORMATS_BASE_TEXT_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace narrow::utf8 {

inline constexpr uint32_t kMaxCodePoint = 0x10ffff;

// Bytes of the sequence that starts with `lead`.
inline size_t Length(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

// The code point at `p`; `*n` gets its bytes.
inline uint32_t Read(const char* p, size_t* n) {
  const auto b = [p](int i) -> uint32_t {
    return static_cast<unsigned char>(p[i]);
  };
  if (b(0) < 0x80) {
    *n = 1;
    return b(0);
  }
  if (b(0) < 0xe0) {
    *n = 2;
    return (b(0) & 0x1f) << 6 | (b(1) & 0x3f);
  }
  if (b(0) < 0xf0) {
    *n = 3;
    return (b(0) & 0x0f) << 12 | (b(1) & 0x3f) << 6 | (b(2) & 0x3f);
  }
  *n = 4;
  return (b(0) & 0x07) << 18 | (b(1) & 0x3f) << 12 | (b(2) & 0x3f) << 6 |
         (b(3) & 0x3f);
}

// The start of the character that ends before `pos` > 0.
inline size_t Back(absl::string_view text, size_t pos) {
  --pos;
  while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xc0) == 0x80) {
    --pos;
  }
  return pos;
}

void Append(uint32_t code_point, std::string* out);

bool IsValid(absl::string_view text);
// Bytes of the well-formed sequence at the head of `text`, 0 if it is none.
// Overlong forms, surrogates and code points above U+10FFFF are not.
size_t SequenceLength(absl::string_view text);
// Where the first byte is that begins no well-formed sequence.
std::optional<size_t> FindInvalid(absl::string_view text);
// `text` with each maximal bad sequence replaced by U+FFFD.
std::string ToValid(absl::string_view text);

}  // namespace narrow::utf8

#endif  // NARROW_FORMATS_BASE_TEXT_UTF8_H_
