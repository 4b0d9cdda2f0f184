// Texts of tokens that mean something by their form.

#ifndef NARROW_FORMATS_TOKENIZER_PIPELINE_TOKEN_TEXT_H_
#define NARROW_FORMATS_TOKENIZER_PIPELINE_TOKEN_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace narrow {

// U+2581, which stands for a space in SentencePiece vocabularies.
inline constexpr absl::string_view kSpaceMark = "\xe2\x96\x81";

// "<0x0A>" for 10.
std::string ByteToken(uint8_t byte);
// The byte that "<0x0A>" stands for, or -1.
int ByteOfToken(absl::string_view text);

// Whether a token that no file calls special is treated as such by the
// published converter: "<|...|>", "<unused...>" and a few more.
bool LooksSpecial(absl::string_view text);

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_PIPELINE_TOKEN_TEXT_H_
