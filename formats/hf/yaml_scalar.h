// Scalars of YAML: where they end, what they mean. For model_card.cc.

#ifndef NARROW_FORMATS_HF_YAML_SCALAR_H_
#define NARROW_FORMATS_HF_YAML_SCALAR_H_

#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "formats/hf/model_card.h"

namespace narrow {

// Bytes before the ':' that ends the key a line begins with; 0: no key.
size_t KeyLength(absl::string_view line);
// The text of such a key. nullopt: a kind of key that we do not read.
std::optional<std::string> KeyText(absl::string_view key);

// Bytes of the quoted scalar that `text` begins with, quotes included; 0 if
// the closing quote is missing.
size_t QuotedLength(absl::string_view text);
// Its value; nullopt for an escape that we do not read.
std::optional<YamlValue> QuotedScalar(absl::string_view quoted);

// Cuts " # …" off a plain scalar and says whether there was one.
bool CutComment(std::string* text);
YamlValue PlainScalar(absl::string_view text);

}  // namespace narrow

#endif  // NARROW_FORMATS_HF_YAML_SCALAR_H_
