// A tokenizer with the semantics of tokenizer.json.

#ifndef NARROW_FORMATS_TOKENIZER_HF_TOKENIZER_H_
#define NARROW_FORMATS_TOKENIZER_HF_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/json/json.h"
#include "formats/tokenizer/hf_model.h"
#include "formats/tokenizer/pipeline/added_tokens.h"
#include "formats/tokenizer/pipeline/bpe.h"
#include "formats/tokenizer/pipeline/decoder.h"
#include "formats/tokenizer/pipeline/normalizer.h"
#include "formats/tokenizer/pipeline/pre_tokenizer.h"
#include "formats/tokenizer/tokenizer.h"

namespace narrow {

class HfTokenizer : public Tokenizer {
 public:
  // `root` is the whole of tokenizer.json.
  static absl::StatusOr<std::unique_ptr<HfTokenizer>> FromJson(
      const JsonValue& root);

  std::vector<int32_t> Encode(absl::string_view text,
                              const EncodeOptions& options) const override;
  std::string Decode(absl::Span<const int32_t> ids,
                     bool skip_special) const override;
  int64_t n_tokens() const override {
    return static_cast<int64_t>(model_.texts.size());
  }
  std::optional<int32_t> bos_id() const override { return bos_id_; }
  std::optional<int32_t> eos_id() const override { return eos_id_; }
  bool adds_bos() const override;
  bool adds_eos() const override;

  const HfModel& model() const { return model_; }
  const PreTokenizer& pre_tokenizer() const { return pre_tokenizer_; }
  const Normalizer& normalizer() const { return normalizer_; }
  std::optional<int32_t> FindToken(absl::string_view text) const;

  // BOS and EOS are not in tokenizer.json; whoever knows them says so.
  void set_bos_id(int32_t id) { bos_id_ = id; }
  void set_eos_id(int32_t id) { eos_id_ = id; }

 private:
  absl::Status AddPostProcessor(const JsonValue& json, int depth);
  absl::Status AddTemplate(const JsonValue& json);
  absl::Status AddPair(const JsonValue& json, absl::string_view key,
                       std::vector<int32_t>* ids) const;
  void AddTokens();

  HfModel model_;
  std::optional<BpeModel> bpe_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Decoder decoder_;
  AddedTokens raw_tokens_;         // looked for before normalization
  AddedTokens normalized_tokens_;  // and after
  std::vector<bool> is_special_;   // by id
  std::vector<int32_t> prefix_;    // what the post-processor adds
  std::vector<int32_t> suffix_;
  std::optional<int32_t> bos_id_;
  std::optional<int32_t> eos_id_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_HF_TOKENIZER_H_
