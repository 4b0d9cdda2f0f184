// Names of pre-tokenizers in GGUF files, and how they follow from the
// pipeline in tokenizer.json.

#ifndef NARROW_FORMATS_TOKENIZER_PRE_TOKENIZER_NAMES_H_
#define NARROW_FORMATS_TOKENIZER_PRE_TOKENIZER_NAMES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/tokenizer/hf_tokenizer.h"

namespace narrow {

// What llama.cpp does under a name.
struct PreTokenizerRow {
  std::string name;
  bool ignore_merges = false;  // a word that is a token needs no merges
  bool adds_bos = false;       // unless the metadata says otherwise
  // Raw text with "▁" for spaces, split at line feeds only, unknown
  // characters as byte tokens.
  bool is_raw_text = false;
  std::vector<std::string> patterns;
};

// NotFound, with the name, if we do not know it.
absl::StatusOr<PreTokenizerRow> FindPreTokenizer(absl::string_view name);

// One step of a pipeline: splits at matches of `pattern`, which stay
// ("isolated", or "contiguous" where neighbours are one), or spells bytes in
// the byte alphabet ("byte_level").
struct PreTokenizerStep {
  const char* behavior;
  std::string pattern;
};
using PreTokenizerSteps = std::vector<PreTokenizerStep>;

// What tokenizer.json says of a byte-level vocabulary with this name: the
// published pipeline where llama.cpp's patterns differ from it. NotFound as
// above.
absl::StatusOr<PreTokenizerSteps> FindPreTokenizerSteps(absl::string_view name);

// The name under which llama.cpp gives the ids of `tokenizer`. Unimplemented,
// with the pipeline and its pattern, if there is none.
absl::StatusOr<std::string> PreTokenizerName(const HfTokenizer& tokenizer);

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_PRE_TOKENIZER_NAMES_H_
