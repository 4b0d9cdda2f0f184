// The pieces of a SentencePiece model, from the file tokenizer.model.
//
// The file is a protocol buffer; these are the fields that matter, frozen:
//
//   ModelProto        1 pieces (repeated message), 2 trainer_spec (message)
//   pieces            1 piece (string), 2 score (float), 3 type (enum)
//   trainer_spec      3 model_type (enum: 1 unigram, 2 bpe, 3 word, 4 char)
//
// Read here rather than through libsentencepiece, which aborts on some
// damaged files and does not tell the model type.

#ifndef NARROW_FORMATS_TOKENIZER_SENTENCEPIECE_MODEL_H_
#define NARROW_FORMATS_TOKENIZER_SENTENCEPIECE_MODEL_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

struct SentencePiece {
  // As in the file.
  enum class Type {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
  };
  std::string text;
  float score = 0;
  Type type = Type::kNormal;
};

// `bytes` is a whole file, `origin` names it. DataLoss with the offset if it
// is damaged; Unimplemented for model types other than BPE, by name.
absl::StatusOr<std::vector<SentencePiece>> ParseSentencePieceModel(
    absl::string_view bytes, absl::string_view origin);

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_SENTENCEPIECE_MODEL_H_
