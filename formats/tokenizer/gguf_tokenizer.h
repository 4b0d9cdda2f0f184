// A tokenizer with llama.cpp's reading of a vocabulary, for the kinds "gpt2"
// and "llama".

#ifndef NARROW_FORMATS_TOKENIZER_GGUF_TOKENIZER_H_
#define NARROW_FORMATS_TOKENIZER_GGUF_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/tokenizer/pipeline/added_tokens.h"
#include "formats/tokenizer/pipeline/bpe.h"
#include "formats/tokenizer/pipeline/pre_tokenizer.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/vocabulary.h"

namespace narrow {

class GgufTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<GgufTokenizer>> FromVocabulary(
      const Vocabulary& vocabulary);

  std::vector<int32_t> Encode(absl::string_view text,
                              const EncodeOptions& options) const override;
  std::string Decode(absl::Span<const int32_t> ids,
                     bool skip_special) const override;
  int64_t n_tokens() const override {
    return static_cast<int64_t>(texts_.size());
  }
  std::optional<int32_t> bos_id() const override { return bos_id_; }
  std::optional<int32_t> eos_id() const override { return eos_id_; }
  bool adds_bos() const override { return adds_bos_; }
  bool adds_eos() const override { return adds_eos_; }

 private:
  absl::Status BuildGpt2(const Vocabulary& vocabulary);
  absl::Status BuildLlama(const Vocabulary& vocabulary);
  void SetSpecial(const Vocabulary& vocabulary);
  void EncodeText(const TextPiece& piece, bool after_special, TextArena* arena,
                  BpeModel::Scratch* scratch, std::vector<int32_t>* ids) const;
  std::string TextOf(int32_t id) const;

  std::vector<std::string> texts_;
  std::vector<TokenType> types_;
  std::optional<BpeModel> bpe_;
  PreTokenizer pre_tokenizer_;
  AddedTokens added_;
  bool is_llama_ = false;
  bool is_raw_text_ = false;  // "▁" for spaces, bytes as "<0x0A>"
  bool add_space_prefix_ = false;
  std::optional<int32_t> bos_id_;
  std::optional<int32_t> eos_id_;
  bool adds_bos_ = false;
  bool adds_eos_ = false;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_GGUF_TOKENIZER_H_
