// Tokens that are found in a text before anything else is done to it: special
// tokens, and those added to a vocabulary later.
//
// At the leftmost place where any of them occurs the longest is taken.
// Immutable after the last Add; safe to share.

#ifndef NARROW_FORMATS_TOKENIZER_PIPELINE_ADDED_TOKENS_H_
#define NARROW_FORMATS_TOKENIZER_PIPELINE_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "formats/tokenizer/pipeline/text_pieces.h"

namespace narrow {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and after it
  bool normalized = true;    // looked for in the normalized text
  bool special = false;
};

class AddedTokens {
 public:
  AddedTokens() { next_.emplace_back(); }

  // Looks for `text` to find `token`; an empty text is ignored, and of two
  // with the same text the later counts.
  void Add(const AddedToken& token, absl::string_view text);

  bool empty() const { return tokens_.empty(); }

  // Cuts those found out of the pieces that are not tokens yet. Without
  // `parse_special` special ones are passed over.
  void Apply(bool parse_special, std::vector<TextPiece>* pieces) const;
  // The same, but of two that overlap the longer is taken, wherever it is, and
  // white space is that of ASCII; single_word is not looked at.
  void ApplyLongestFirst(bool parse_special,
                         std::vector<TextPiece>* pieces) const;

 private:
  // The longest token that starts at `pos`, or nullptr; `*length` in bytes.
  const AddedToken* Longest(absl::string_view text, size_t pos,
                            size_t* length) const;
  void Cut(const TextPiece& piece, bool parse_special,
           std::vector<TextPiece>* out) const;
  void CutLongestFirst(const TextPiece& piece, bool parse_special,
                       std::vector<TextPiece>* out) const;

  // A trie over bytes; node 0 is the root.
  std::vector<absl::flat_hash_map<uint8_t, int32_t>> next_;
  std::vector<int32_t> token_at_node_ = {-1};
  std::array<int32_t, 256> first_ = {};  // children of the root, 0 for none
  std::vector<AddedToken> tokens_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_PIPELINE_ADDED_TOKENS_H_
