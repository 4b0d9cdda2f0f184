// Text to token ids and back.
//
//   ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::FromHfDirectory(dir));
//   std::vector<int32_t> ids = tokenizer->Encode("some text");
//   std::string text = tokenizer->Decode(ids);
//
// FromHfDirectory gives the ids of the `tokenizers` package for
// tokenizer.json; FromGguf those of llama.cpp for the same file. Immutable
// and safe to share between threads.
//
// Bytes that are not UTF-8 are read as U+FFFD, one for each maximal bad
// sequence, as both published implementations do at their borders.

#ifndef NARROW_FORMATS_TOKENIZER_TOKENIZER_H_
#define NARROW_FORMATS_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/metadata.h"
#include "formats/tokenizer/vocabulary.h"

namespace narrow {

struct EncodeOptions {
  // Surround the text with the tokens that the model expects, such as BOS.
  bool add_special = true;
  // Read special tokens written in the text as such, not as plain text.
  bool parse_special = true;
};

class Tokenizer {
 public:
  // Reads tokenizer.json, or without one tokenizer.model.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromHfDirectory(
      absl::string_view folder);
  // `json` is the text of a tokenizer.json; `origin` names it in messages.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromTokenizerJson(
      absl::string_view json, absl::string_view origin);
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(
      const Metadata& metadata);
  // llama.cpp's reading of a vocabulary.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(
      const Vocabulary& vocabulary);

  virtual ~Tokenizer() = default;

  virtual std::vector<int32_t> Encode(
      absl::string_view text, const EncodeOptions& options = {}) const = 0;
  // Ids out of range are skipped. The result may hold bytes that are not
  // UTF-8 only with FromGguf and Create.
  virtual std::string Decode(absl::Span<const int32_t> ids,
                             bool skip_special = true) const = 0;

  // One more than the highest id.
  virtual int64_t n_tokens() const = 0;
  // BOS and EOS if the model names them (FromHfDirectory: by
  // tokenizer_config.json or config.json), and whether Encode adds them.
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;
  virtual bool adds_bos() const = 0;
  virtual bool adds_eos() const = 0;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_TOKENIZER_H_
