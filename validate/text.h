// The text that models are judged on, as bytes and as tokens.
//
//   ASSIGN_OR_RETURN(JudgedText text, ReadText({"wiki.test.raw"}));
//   ASSIGN_OR_RETURN(TextTokens tokens,
//                    TokenizeText(*model, Protocol::kLlamaCpp, text.text));
//   RETURN_IF_ERROR(CheckSameVocabulary(*model, *other));
//
// Several models are judged on one sequence of ids, so that their scores can
// be paired; their vocabularies must be equal for that.

#ifndef NARROW_VALIDATE_TEXT_H_
#define NARROW_VALIDATE_TEXT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/arch/checkpoint.h"
#include "validate/score_text.h"
#include "validate/windows.h"

namespace narrow {

struct JudgedText {
  std::string text;
  // What the user should know of the files, a line each.
  std::vector<std::string> warnings;
};

// The files one after another. Bytes that are not UTF-8 are kept, with a
// warning that names the first: the tokenizer reads them as U+FFFD.
// InvalidArgument for an empty file.
absl::StatusOr<JudgedText> ReadText(absl::Span<const std::string> paths);

// The ids of `text` for `model`, as the protocol has it:
//
// kLlamaCpp: as llama-perplexity would read it with the model's GGUF file:
// one line end at the end of the text is dropped, special tokens written in
// the text are plain text unless `parse_special`, and if the vocabulary adds a
// BOS token, windows begin with it.
//
// kHuggingFace: as the tokenizer of the model's directory encodes it (for a
// GGUF file, llama.cpp's reading of its vocabulary); special tokens written
// in the text are special.
//
// An EOS token that the vocabulary adds at the end is left out in both: the
// text does not have it. InvalidArgument if the model has no tokenizer.
absl::StatusOr<TextTokens> TokenizeText(const Checkpoint& model,
                                        Protocol protocol,
                                        absl::string_view text,
                                        bool parse_special = false);

// OK if both models give every id the same token. InvalidArgument names the
// first id that differs and both tokens.
absl::Status CheckSameVocabulary(const Checkpoint& reference,
                                 const Checkpoint& candidate);

// The same of two lists of tokens, for CheckSameVocabulary and its test.
absl::Status CheckSameTokens(absl::Span<const std::string> reference,
                             absl::string_view reference_path,
                             absl::Span<const std::string> candidate,
                             absl::string_view candidate_path);

}  // namespace narrow

#endif  // NARROW_VALIDATE_TEXT_H_
