// The tokenizer files of a Hugging Face directory, made from a vocabulary
// that a GGUF file holds:
//
//   tokenizer.json         what transformers loads; gives llama.cpp's ids
//   tokenizer_config.json  special tokens, flags, chat templates
//   tokenizer.model        of the kind "llama" too, since tokenizer.json
//                          cannot hold its scores
//
//   ASSIGN_OR_RETURN(HfTokenizerFiles files, WriteHfTokenizer(vocabulary,
//                                                             options));
//
// Facts that GGUF has no place for get the value that llama.cpp assumes, with
// a warning where another one is common.

#ifndef NARROW_FORMATS_TOKENIZER_HF_EXPORT_HF_TOKENIZER_WRITER_H_
#define NARROW_FORMATS_TOKENIZER_HF_EXPORT_HF_TOKENIZER_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/tokenizer/vocabulary.h"

namespace narrow {

struct HfTokenizerOptions {
  int64_t max_length = 0;  // model_max_length; 0: not written
};

struct HfTokenizerFiles {
  std::string tokenizer;         // tokenizer.json
  std::string tokenizer_config;  // tokenizer_config.json
  std::string sentencepiece;     // tokenizer.model; empty: none
  std::vector<std::string> warnings;
};

// Unimplemented: a pre-tokenizer that we do not know. DataLoss: merges of
// texts that are no tokens, texts that are not UTF-8.
absl::StatusOr<HfTokenizerFiles> WriteHfTokenizer(
    const Vocabulary& vocabulary, const HfTokenizerOptions& options);

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_HF_EXPORT_HF_TOKENIZER_WRITER_H_
