// Writes tokenizer.model, the protocol buffer that sentencepiece_model.h
// describes, with what readers besides us need:
//
//   trainer_spec      4 vocab_size, 35 byte_fallback, 40 unk_id, 41 bos_id,
//                     42 eos_id, 43 pad_id (varints; -1: none)
//   normalizer_spec   1 name "identity", 3 add_dummy_prefix,
//                     4 remove_extra_whitespaces, 5 escape_whitespaces

#ifndef NARROW_FORMATS_TOKENIZER_HF_EXPORT_SENTENCEPIECE_WRITER_H_
#define NARROW_FORMATS_TOKENIZER_HF_EXPORT_SENTENCEPIECE_WRITER_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "formats/tokenizer/sentencepiece_model.h"

namespace narrow {

struct SentencePieceOptions {
  bool byte_fallback = false;
  bool add_dummy_prefix = true;  // a space before the text
  int64_t unk_id = -1;
  int64_t bos_id = -1;
  int64_t eos_id = -1;
  int64_t pad_id = -1;
};

// The bytes of the file. sentencepiece loads it if exactly one piece is
// unknown.
std::string SentencePieceModelBytes(absl::Span<const SentencePiece> pieces,
                                    const SentencePieceOptions& options);

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_HF_EXPORT_SENTENCEPIECE_WRITER_H_
