// Special tokens, flags and chat templates of a checkpoint folder, by the
// rules of llama.cpp's converter.
//
// The sources, in this order, the first to name a token's id counting:
// tokenizer_config.json with the ids in tokenizer.json's added_tokens, then
// config.json. Whether a token is put before or after a text is read from the
// post-processor of tokenizer.json, else from tokenizer_config.json.

#ifndef NARROW_FORMATS_TOKENIZER_SPECIAL_TOKENS_H_
#define NARROW_FORMATS_TOKENIZER_SPECIAL_TOKENS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"
#include "formats/tokenizer/vocabulary.h"

namespace narrow {

// The files of a folder that say something of its tokens; absent ones are
// null.
struct TokenizerFiles {
  std::string folder;
  std::unique_ptr<const JsonDocument> tokenizer;         // tokenizer.json
  std::unique_ptr<const JsonDocument> tokenizer_config;  // …_config.json
  std::unique_ptr<const JsonDocument> config;            // config.json
};

// NotFound only if the folder is none; a file that is there must parse.
absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(absl::string_view folder);

// Fills special_ids, add_special, chat templates and normalizer flags of
// `vocabulary`. Ids at or above `n_vocab` are passed over.
absl::Status ReadSpecialTokens(const TokenizerFiles& files,
                               std::optional<int64_t> n_vocab,
                               Vocabulary* vocabulary);

// For the infill variants of Code Llama: only looks for "eot", which is `id`
// unless a file names it.
absl::Status AddInfillTokens(const TokenizerFiles& files, int64_t id,
                             Vocabulary* vocabulary);

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_SPECIAL_TOKENS_H_
