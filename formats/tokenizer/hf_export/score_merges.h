// Merges of a byte-pair model that give the tokens of a SentencePiece
// vocabulary, which has scores instead.

#ifndef NARROW_FORMATS_TOKENIZER_HF_EXPORT_SCORE_MERGES_H_
#define NARROW_FORMATS_TOKENIZER_HF_EXPORT_SCORE_MERGES_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "formats/tokenizer/vocabulary.h"

namespace narrow {

struct ScoreMerges {
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  // Whether two ordinary tokens have one score. SentencePiece then merges
  // what comes first in the text, a list of merges what comes first in it.
  bool has_ties = false;
};

// All ways to cut an ordinary or user-defined token into two, the best score
// first; user-defined ones, which SentencePiece finds before it merges, before
// all others. Equal scores go by id, cuts of one token by the longer left
// part. `texts`: the spellings of the model's vocabulary. REQUIRES: valid
// UTF-8, no NaN among the scores.
ScoreMerges MergesFromScores(const Vocabulary& vocabulary,
                             absl::Span<const std::string> texts);

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_HF_EXPORT_SCORE_MERGES_H_
