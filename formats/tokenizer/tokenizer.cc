#include "formats/tokenizer/tokenizer.h"

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/tokenizer/gguf_tokenizer.h"
#include "formats/tokenizer/hf_tokenizer.h"
#include "formats/tokenizer/special_tokens.h"

namespace narrow {

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromHfDirectory(
    absl::string_view folder) {
  ASSIGN_OR_RETURN(const TokenizerFiles files, ReadTokenizerFiles(folder));
  if (files.tokenizer == nullptr) {
    if (!FileExists(JoinPath(folder, "tokenizer.model"))) {
      return absl::NotFoundError(absl::StrCat(
          "neither tokenizer.json nor tokenizer.model in '", folder, "'"));
    }
    ASSIGN_OR_RETURN(const Vocabulary vocabulary,
                     VocabularyFromHfDirectory(folder));
    return Create(vocabulary);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<HfTokenizer> tokenizer,
                   HfTokenizer::FromJson(files.tokenizer->root()));
  Vocabulary special;
  RETURN_IF_ERROR(ReadSpecialTokens(files, tokenizer->n_tokens(), &special));
  if (const auto bos = special.SpecialId("bos")) {
    tokenizer->set_bos_id(static_cast<int32_t>(*bos));
  }
  if (const auto eos = special.SpecialId("eos")) {
    tokenizer->set_eos_id(static_cast<int32_t>(*eos));
  }
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromTokenizerJson(
    absl::string_view json, absl::string_view origin) {
  ASSIGN_OR_RETURN(const auto document, JsonDocument::Parse(json, origin));
  ASSIGN_OR_RETURN(std::unique_ptr<HfTokenizer> tokenizer,
                   HfTokenizer::FromJson(document->root()));
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(
    const Metadata& metadata) {
  ASSIGN_OR_RETURN(const Vocabulary vocabulary, VocabularyFromGguf(metadata));
  return Create(vocabulary);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(
    const Vocabulary& vocabulary) {
  ASSIGN_OR_RETURN(std::unique_ptr<GgufTokenizer> tokenizer,
                   GgufTokenizer::FromVocabulary(vocabulary));
  return tokenizer;
}

}  // namespace narrow
