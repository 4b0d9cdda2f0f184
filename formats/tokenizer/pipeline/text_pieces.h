// A text cut into pieces on its way to tokens.
//
// Pieces borrow from the text, or from the arena when a step had to change
// it; both must outlive them.

#ifndef NARROW_FORMATS_TOKENIZER_PIPELINE_TEXT_PIECES_H_
#define NARROW_FORMATS_TOKENIZER_PIPELINE_TEXT_PIECES_H_

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow {

struct TextPiece {
  absl::string_view text;
  int32_t id = -1;        // of the token that this piece is already
  bool at_start = false;  // no text before it
};

class TextArena {
 public:
  absl::string_view Keep(std::string text) {
    texts_.push_back(std::move(text));
    return texts_.back();
  }

 private:
  std::deque<std::string> texts_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_PIPELINE_TEXT_PIECES_H_
