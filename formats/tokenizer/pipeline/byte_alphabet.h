// The printable stand-ins that byte-level vocabularies write bytes with: "Ġ"
// for a space, "Ċ" for a line feed. Frozen.
//
// A byte that is a visible character of Latin-1 stands for itself; the
// others, in order, are U+0100 and up.

#ifndef NARROW_FORMATS_TOKENIZER_PIPELINE_BYTE_ALPHABET_H_
#define NARROW_FORMATS_TOKENIZER_PIPELINE_BYTE_ALPHABET_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace narrow::byte_alphabet {

// The code point that stands for `byte`.
uint32_t FromByte(uint8_t byte);
// The byte that `code_point` stands for, or -1.
int ToByte(uint32_t code_point);

std::string Encode(absl::string_view bytes);
// Nothing if a character of `text` stands for no byte.
std::optional<std::string> Decode(absl::string_view text);

}  // namespace narrow::byte_alphabet

#endif  // NARROW_FORMATS_TOKENIZER_PIPELINE_BYTE_ALPHABET_H_
