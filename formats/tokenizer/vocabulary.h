// What a model calls its tokens, neutral to the container: texts, types,
// scores or merges, special tokens and chat templates.
//
//   VocabularyOptions options;
//   options.n_vocab = config.vocab_size;
//   ASSIGN_OR_RETURN(Vocabulary v, VocabularyFromHfDirectory(dir, options));
//   AddTokenizerMetadata(v, &metadata);           // tokenizer.ggml.*
//   ASSIGN_OR_RETURN(Vocabulary w, VocabularyFromGguf(metadata));
//
// A plain value. The keys, their order, types and values are those of
// llama.cpp's converter; the rules that lead from a checkpoint folder to them
// are in hf_vocabulary.cc and special_tokens.cc.

#ifndef NARROW_FORMATS_TOKENIZER_VOCABULARY_H_
#define NARROW_FORMATS_TOKENIZER_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/metadata.h"

namespace narrow {

enum class VocabularyKind {
  kGpt2,   // BPE by merge rank; byte-level, or raw text with byte tokens
  kLlama,  // SentencePiece BPE: the pair whose union scores best merges first
};

// As stored in tokenizer.ggml.token_type; frozen.
enum class TokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct NamedChatTemplate {
  std::string name;  // empty: the template that tokenizer_config.json gives
  std::string text;
};

struct Vocabulary {
  VocabularyKind kind = VocabularyKind::kGpt2;
  std::string pre;  // tokenizer.ggml.pre, such as "llama-bpe" or "default"
  // By id. Rows past the tokenizer's own are "[PADn]" and unused.
  std::vector<std::string> tokens;
  std::vector<TokenType> types;
  std::vector<float> scores;        // kLlama only
  std::vector<std::string> merges;  // kGpt2 only: "left right", by rank
  // Special tokens and what is added around a text, in the order of the
  // metadata, under the names "bos", "eos", "unk", "sep", "pad", "mask",
  // "eot", "eom".
  std::vector<std::pair<std::string, int64_t>> special_ids;
  std::vector<std::pair<std::string, bool>> add_special;
  // Written after the templates: the infill tokens of Code Llama.
  std::vector<std::pair<std::string, int64_t>> late_special_ids;
  std::optional<bool> add_space_prefix;
  // The converter writes add_space_prefix before all else for the Llama
  // family and after all else for Gemma.
  bool space_prefix_first = false;
  std::vector<NamedChatTemplate> chat_templates;
  // A template list in tokenizer_config.json is written as a list even if it
  // has one entry.
  bool chat_templates_are_list = false;
  std::optional<bool> normalizer_lowercase;
  std::optional<bool> normalizer_strip_accents;
  // general.name of a GGUF file, which llama.cpp asks for the habits of a
  // few models; not written.
  std::string model_name;

  std::optional<int64_t> SpecialId(absl::string_view name) const;
  std::optional<bool> AddsSpecial(absl::string_view name) const;
};

struct VocabularyOptions {
  // Rows of the embedding; -1: vocab_size of config.json, else the default of
  // its model_type.
  int64_t n_vocab = -1;
  // Used as tokenizer.ggml.pre instead of the name that follows from the
  // pattern in tokenizer.json.
  std::string pre;
  // Class name as in config.json's "architectures"; empty: read it there.
  std::string architecture;
};

// Reads tokenizer.model or tokenizer.json, whichever the converter prefers
// for the architecture, with tokenizer_config.json, added_tokens.json,
// merges.txt, config.json and chat templates beside it.
// NotFound: no tokenizer. Unimplemented: a construct that we do not know, with
// its name, and for an unknown pre-tokenizer its pattern. DataLoss: damage.
absl::StatusOr<Vocabulary> VocabularyFromHfDirectory(
    absl::string_view folder, const VocabularyOptions& options = {});

// Reads tokenizer.ggml.*. DataLoss if lists disagree in length or an id is
// out of range; Unimplemented for kinds other than "gpt2" and "llama".
absl::StatusOr<Vocabulary> VocabularyFromGguf(const Metadata& metadata);

// Appends the tokenizer.* keys in the converter's order.
void AddTokenizerMetadata(const Vocabulary& vocabulary, Metadata* metadata);

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_VOCABULARY_H_
