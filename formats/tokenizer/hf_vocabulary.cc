// Which file a vocabulary is read from, by family, as llama.cpp's converter
// chooses:
//
//   Llama, Mistral, Mixtral  tokenizer.model; else tokenizer.json, as kind
//                            "llama" if it falls back to bytes and "gpt2" if
//                            it is byte-level
//   Qwen 2, Qwen 3           tokenizer.model; else tokenizer.json ("gpt2")
//   Qwen 3 MoE               tokenizer.json ("gpt2")
//   Gemma 2, Gemma 3         tokenizer.model, without space prefix; else
//                            tokenizer.json ("gpt2")
//   Phi-3                    tokenizer.model, unless the class is
//                            GPT2Tokenizer; else tokenizer.json
//
// The converter refuses Gemma 2 and Phi-3 folders without tokenizer.model. We
// read their tokenizer.json: as "gpt2" where that can express it, else as
// "llama" with the scores that the order of merges implies.

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/tokenizer/hf_tokenizer.h"
#include "formats/tokenizer/pipeline/token_text.h"
#include "formats/tokenizer/pre_tokenizer_names.h"
#include "formats/tokenizer/sentencepiece_model.h"
#include "formats/tokenizer/special_tokens.h"
#include "formats/tokenizer/vocabulary.h"

namespace narrow {
namespace {

constexpr float kAddedScore = -1000.0f;
constexpr float kPaddingScore = -10000.0f;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxModelBytes = int64_t{1} << 28;

enum class Family { kLlama, kQwen, kQwenMoe, kGemma, kPhi3 };

absl::StatusOr<Family> FamilyOf(const TokenizerFiles& files,
                                const VocabularyOptions& options) {
  std::string name = options.architecture;
  if (name.empty() && files.config != nullptr) {
    const JsonValue root = files.config->root();
    std::optional<JsonValue> list;
    if (const auto text = root.FindNonNull("text_config")) {
      list = text->FindNonNull("architectures");
    }
    if (!list) list = root.FindNonNull("architectures");
    if (list) {
      ASSIGN_OR_RETURN(const auto names, list->GetElements());
      if (!names.empty()) {
        ASSIGN_OR_RETURN(const absl::string_view first, names[0].GetString());
        name = std::string(first);
      }
    }
  }
  static const auto* const kFamilies = new std::map<std::string, Family>{
      {"LlamaForCausalLM", Family::kLlama},
      {"LLaMAForCausalLM", Family::kLlama},
      {"MistralForCausalLM", Family::kLlama},
      {"MixtralForCausalLM", Family::kLlama},
      {"Qwen2ForCausalLM", Family::kQwen},
      {"Qwen3ForCausalLM", Family::kQwen},
      {"Qwen3MoeForCausalLM", Family::kQwenMoe},
      {"Gemma2ForCausalLM", Family::kGemma},
      {"Gemma3ForCausalLM", Family::kGemma},
      {"Gemma3ForConditionalGeneration", Family::kGemma},
      {"Phi3ForCausalLM", Family::kPhi3},
  };
  const auto it = kFamilies->find(name);
  if (it != kFamilies->end()) return it->second;
  std::string known;
  for (const auto& row : *kFamilies) {
    absl::StrAppend(&known, known.empty() ? "" : ", ", row.first);
  }
  return absl::UnimplementedError(
      absl::StrCat("no rule for the vocabulary of architecture '", name,
                   "'; known: ", known, "; reading ", files.folder));
}

// Rows of the embedding, or -1 if no file tells.
absl::StatusOr<int64_t> VocabSize(const TokenizerFiles& files,
                                  const VocabularyOptions& options) {
  int64_t size = options.n_vocab;
  std::string model_type;
  if (size < 0 && files.config != nullptr) {
    const JsonValue root = files.config->root();
    std::vector<JsonValue> places = {root};
    if (const auto text = root.FindNonNull("text_config")) {
      places.insert(places.begin(), *text);
    }
    for (const JsonValue& place : places) {
      if (const auto value = place.FindNonNull("vocab_size");
          value && size < 0) {
        ASSIGN_OR_RETURN(size, value->GetInteger());
        if (size <= 0 || size > kMaxVocab) {
          return value->Error(absl::StrCat("vocab_size ", size));
        }
      }
      const auto type = place.FindNonNull("model_type");
      if (type && type->is_string() && model_type.empty()) {
        model_type = std::string(*type->GetString());
      }
    }
  }
  if (size < 0) {
    // What the configuration classes of transformers say when a file does not.
    static const auto* const kDefaults = new std::map<std::string, int64_t>{
        {"llama", 32000},   {"mistral", 32000},      {"mixtral", 32000},
        {"qwen2", 151936},  {"qwen3", 151936},       {"qwen3_moe", 151936},
        {"gemma2", 256000}, {"gemma3_text", 262208}, {"gemma3", 262208},
        {"phi3", 32064},
    };
    const auto it = kDefaults->find(model_type);
    if (it != kDefaults->end()) size = it->second;
  }
  if (size > kMaxVocab) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocabulary of ", size, " tokens, at most ", kMaxVocab));
  }
  return size;
}

void Pad(int64_t n, float score, Vocabulary* v) {
  v->tokens.reserve(static_cast<size_t>(n));
  for (auto i = static_cast<int64_t>(v->tokens.size()); i < n; ++i) {
    v->tokens.push_back(absl::StrCat("[PAD", i, "]"));
    v->types.push_back(TokenType::kUnused);
    if (v->kind == VocabularyKind::kLlama) v->scores.push_back(score);
  }
}

TokenType TypeOf(SentencePiece::Type type) {
  switch (type) {
    case SentencePiece::Type::kUnknown:
      return TokenType::kUnknown;
    case SentencePiece::Type::kControl:
      return TokenType::kControl;
    case SentencePiece::Type::kUnused:
      return TokenType::kUnused;
    case SentencePiece::Type::kByte:
      return TokenType::kByte;
    case SentencePiece::Type::kNormal:
    case SentencePiece::Type::kUserDefined:
      break;
  }
  return TokenType::kNormal;
}

absl::StatusOr<bool> IsTrue(const JsonValue& object, absl::string_view key) {
  const auto value = object.FindNonNull(key);
  return value ? value->GetBool() : false;
}

// Puts a token at a row of a "llama" vocabulary; rows past the end are
// passed over, unless `strict`, when they are an error.
absl::Status PutAdded(const JsonValue& where, absl::string_view text,
                      int64_t id, TokenType type, bool strict, Vocabulary* v) {
  if (id < 0 || (strict && id >= static_cast<int64_t>(v->tokens.size()))) {
    return where.Error(absl::StrCat("token id ", id, " of '", text,
                                    "' is outside a vocabulary of ",
                                    v->tokens.size()));
  }
  if (id >= static_cast<int64_t>(v->tokens.size())) return absl::OkStatus();
  v->tokens[id] = std::string(text);
  v->types[id] = type;
  v->scores[id] = kAddedScore;
  return absl::OkStatus();
}

absl::Status PutAddedJson(const TokenizerFiles& files, Vocabulary* v) {
  const std::string path = JoinPath(files.folder, "added_tokens.json");
  if (!FileExists(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto document, JsonDocument::ReadFile(path));
  ASSIGN_OR_RETURN(const auto members, document->root().GetMembers());
  for (const auto& [text, value] : members) {
    ASSIGN_OR_RETURN(const int64_t id, value.GetInteger());
    RETURN_IF_ERROR(
        PutAdded(value, text, id, TokenType::kUserDefined, false, v));
  }
  return absl::OkStatus();
}

absl::Status PutAddedDecoder(const TokenizerFiles& files, bool phi3,
                             Vocabulary* v) {
  if (files.tokenizer_config == nullptr) return absl::OkStatus();
  const auto list =
      files.tokenizer_config->root().FindNonNull("added_tokens_decoder");
  if (!list) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto members, list->GetMembers());
  for (const auto& [key, value] : members) {
    int64_t id;
    if (!absl::SimpleAtoi(key, &id)) {
      return value.Error(absl::StrCat("'", key, "' is not a token id"));
    }
    ASSIGN_OR_RETURN(const JsonValue content, value.Get("content"));
    ASSIGN_OR_RETURN(const absl::string_view text, content.GetString());
    ASSIGN_OR_RETURN(const bool special, IsTrue(value, "special"));
    std::string spelled(text);
    TokenType type = TokenType::kControl;
    if (!special && (phi3 || !LooksSpecial(text))) {
      type = TokenType::kUserDefined;
      if (!phi3) {
        spelled = absl::StrReplaceAll(text, {{kSpaceMark, " "}});
      }
    }
    RETURN_IF_ERROR(PutAdded(value, spelled, id, type, phi3, v));
  }
  return absl::OkStatus();
}

// Phi-3 alone also takes the added tokens of tokenizer.json.
absl::Status PutAddedTokenizer(const TokenizerFiles& files, Vocabulary* v) {
  if (files.tokenizer == nullptr) return absl::OkStatus();
  const auto list = files.tokenizer->root().FindNonNull("added_tokens");
  if (!list) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto tokens, list->GetElements());
  for (const JsonValue& token : tokens) {
    ASSIGN_OR_RETURN(const JsonValue id_value, token.Get("id"));
    ASSIGN_OR_RETURN(const int64_t id, id_value.GetInteger());
    ASSIGN_OR_RETURN(const JsonValue content, token.Get("content"));
    ASSIGN_OR_RETURN(const absl::string_view text, content.GetString());
    ASSIGN_OR_RETURN(const bool special, IsTrue(token, "special"));
    RETURN_IF_ERROR(PutAdded(
        id_value, text, id,
        special ? TokenType::kControl : TokenType::kUserDefined, true, v));
  }
  return absl::OkStatus();
}

absl::Status FromSentencePiece(const TokenizerFiles& files, int64_t n_vocab,
                               bool phi3, Vocabulary* v) {
  const std::string path = JoinPath(files.folder, "tokenizer.model");
  ASSIGN_OR_RETURN(const std::string bytes, ReadTextFile(path, kMaxModelBytes));
  ASSIGN_OR_RETURN(auto pieces, ParseSentencePieceModel(bytes, path));
  v->kind = VocabularyKind::kLlama;
  v->pre = "default";
  const auto n_pieces = static_cast<int64_t>(pieces.size());
  if (n_vocab < 0) n_vocab = n_pieces;
  if (phi3 && n_pieces > n_vocab) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " has ", n_pieces, " pieces, the model ", n_vocab, " rows"));
  }
  for (int64_t i = 0; i < std::min(n_pieces, n_vocab); ++i) {
    v->tokens.push_back(std::move(pieces[i].text));
    v->types.push_back(TypeOf(pieces[i].type));
    v->scores.push_back(pieces[i].score);
  }
  Pad(n_vocab, kPaddingScore, v);
  RETURN_IF_ERROR(PutAddedJson(files, v));
  RETURN_IF_ERROR(PutAddedDecoder(files, phi3, v));
  if (phi3) RETURN_IF_ERROR(PutAddedTokenizer(files, v));
  return ReadSpecialTokens(files, static_cast<int64_t>(v->tokens.size()), v);
}

// The tokens that transformers treats as added or special: those in
// tokenizer.json, in added_tokens_decoder, and named in tokenizer_config.json.
class AddedVocabulary {
 public:
  absl::Status Read(const TokenizerFiles& files, const HfModel& model) {
    ids_ = &model.ids;
    next_id_ = static_cast<int64_t>(model.texts.size());
    for (const AddedToken& token : model.added) Put(token);
    if (files.tokenizer_config == nullptr) return absl::OkStatus();
    const JsonValue config = files.tokenizer_config->root();
    RETURN_IF_ERROR(ReadDecoder(config));
    for (const char* type :
         {"bos", "eos", "unk", "sep", "pad", "cls", "mask"}) {
      PutNamed(config.FindNonNull(absl::StrCat(type, "_token")));
    }
    for (const char* key :
         {"additional_special_tokens", "extra_special_tokens"}) {
      const auto list = config.FindNonNull(key);
      if (!list) continue;
      if (list->is_array()) {
        ASSIGN_OR_RETURN(const auto names, list->GetElements());
        for (const JsonValue& name : names) PutNamed(name);
      } else if (list->is_object()) {
        ASSIGN_OR_RETURN(const auto names, list->GetMembers());
        for (const auto& name : names) PutNamed(name.second);
      }
    }
    return absl::OkStatus();
  }

  const std::map<int32_t, AddedToken>& tokens() const { return tokens_; }
  // Whether tokenizer_config.json names it as BOS, EOS and the like.
  bool IsNamed(int32_t id) const {
    return std::find(named_.begin(), named_.end(), id) != named_.end();
  }

 private:
  void Put(const AddedToken& token) { tokens_[token.id] = token; }

  int32_t IdOf(const std::string& text) {
    const auto it = ids_->find(text);
    if (it != ids_->end()) return it->second;
    const auto [place, is_new] =
        new_ids_.emplace(text, static_cast<int32_t>(next_id_));
    if (is_new) ++next_id_;
    return place->second;
  }

  absl::Status ReadDecoder(const JsonValue& config) {
    const auto list = config.FindNonNull("added_tokens_decoder");
    if (!list) return absl::OkStatus();
    ASSIGN_OR_RETURN(const auto members, list->GetMembers());
    for (const auto& [key, value] : members) {
      ASSIGN_OR_RETURN(const JsonValue content, value.Get("content"));
      ASSIGN_OR_RETURN(const absl::string_view text, content.GetString());
      AddedToken token;
      token.content = std::string(text);
      token.id = IdOf(token.content);
      ASSIGN_OR_RETURN(token.special, IsTrue(value, "special"));
      ASSIGN_OR_RETURN(token.normalized, IsTrue(value, "normalized"));
      Put(token);
    }
    return absl::OkStatus();
  }

  void PutNamed(const std::optional<JsonValue>& value) {
    if (!value) return;
    auto content = value->is_object() ? value->FindNonNull("content") : value;
    if (!content || !content->is_string()) return;
    AddedToken token;
    token.content = std::string(*content->GetString());
    if (token.content.empty()) return;
    token.id = IdOf(token.content);
    const auto it = tokens_.find(token.id);
    token.normalized = it != tokens_.end() && it->second.normalized;
    token.special = true;
    named_.push_back(token.id);
    Put(token);
  }

  const absl::flat_hash_map<std::string, int32_t>* ids_ = nullptr;
  int64_t next_id_ = 0;
  absl::flat_hash_map<std::string, int32_t> new_ids_;  // past the model's
  std::map<int32_t, AddedToken> tokens_;
  std::vector<int32_t> named_;
};

std::string SpellSpaces(absl::string_view text) {
  return absl::StrReplaceAll(text, {{" ", "\xc4\xa0"}});  // U+0120
}

absl::Status ReadMerges(const TokenizerFiles& files, const HfModel& model,
                        Vocabulary* v) {
  for (const auto& [left, right] : model.merges) {
    v->merges.push_back(
        absl::StrCat(SpellSpaces(left), " ", SpellSpaces(right)));
  }
  const std::string path = JoinPath(files.folder, "merges.txt");
  if (!v->merges.empty() || !FileExists(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxModelBytes));
  bool first = true;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const bool is_comment =
        first && absl::StartsWith(absl::StripAsciiWhitespace(line), "#");
    first = false;
    const std::vector<absl::string_view> parts =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (is_comment || parts.size() != 2) continue;
    v->merges.push_back(absl::StrCat(parts[0], " ", parts[1]));
  }
  return absl::OkStatus();
}

absl::Status FromByteLevel(const TokenizerFiles& files, int64_t n_vocab,
                           const VocabularyOptions& options,
                           const HfTokenizer& tokenizer, Vocabulary* v) {
  const HfModel& model = tokenizer.model();
  v->kind = VocabularyKind::kGpt2;
  if (options.pre.empty()) {
    auto name = PreTokenizerName(tokenizer);
    if (!name.ok()) {
      return Annotate(name.status(), absl::StrCat("reading ", files.folder));
    }
    v->pre = *std::move(name);
  } else {
    RETURN_IF_ERROR(FindPreTokenizer(options.pre).status());
    v->pre = options.pre;
  }
  AddedVocabulary added;
  RETURN_IF_ERROR(added.Read(files, model));
  int64_t n_known = static_cast<int64_t>(model.texts.size());
  if (!added.tokens().empty()) {
    n_known = std::max(n_known, int64_t{added.tokens().rbegin()->first} + 1);
  }
  if (n_vocab < 0) n_vocab = n_known;
  if (n_known > n_vocab) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the tokenizer has token ", n_known - 1, ", the model has vocab_size ",
        n_vocab, "; reading ", files.folder));
  }
  Pad(n_vocab, 0, v);
  for (int64_t id = 0; id < n_known; ++id) {
    const auto it = added.tokens().find(static_cast<int32_t>(id));
    if (it == added.tokens().end()) {
      if (static_cast<size_t>(id) < model.texts.size() && model.texts[id]) {
        v->tokens[id] = *model.texts[id];
        v->types[id] = TokenType::kNormal;
      }
      continue;
    }
    std::string text = it->second.content;
    if (!it->second.normalized) {
      EncodeOptions encode;
      encode.add_special = false;
      const std::vector<int32_t> ids = tokenizer.Encode(text, encode);
      text = tokenizer.Decode(ids, /*skip_special=*/false);
    }
    if (it->second.special || LooksSpecial(text)) {
      v->types[id] = TokenType::kControl;
    } else {
      v->types[id] = TokenType::kUserDefined;
      text = absl::StrReplaceAll(text, {{kSpaceMark, " "}});
    }
    v->tokens[id] = std::move(text);
  }
  RETURN_IF_ERROR(ReadMerges(files, model, v));
  return ReadSpecialTokens(files, std::nullopt, v);
}

// A tokenizer.json that falls back to bytes, as kind "llama". The converter
// gives every token the score of an added one; with `scores_from_merges` a
// token's score is the negative rank of the first merge that makes it, so
// that scores merge in the order of merges.
absl::Status FromByteFallback(const TokenizerFiles& files, int64_t n_vocab,
                              bool scores_from_merges,
                              const HfTokenizer& tokenizer, Vocabulary* v) {
  const HfModel& model = tokenizer.model();
  AddedVocabulary added;
  RETURN_IF_ERROR(added.Read(files, model));
  v->kind = VocabularyKind::kLlama;
  v->pre = "default";
  Pad(model.n_model_ids, kAddedScore, v);
  for (int64_t id = 0; id < model.n_model_ids; ++id) {
    if (!model.texts[id]) {
      return absl::DataLossError(
          absl::StrCat("no token has id ", id, " of ", model.n_model_ids,
                       "; reading ", JoinPath(files.folder, "tokenizer.json")));
    }
    const std::string& text = *model.texts[id];
    v->tokens[id] = text;
    v->scores[id] = kAddedScore;
    v->types[id] = ByteOfToken(text) >= 0 ? TokenType::kByte
                   : added.IsNamed(static_cast<int32_t>(id))
                       ? TokenType::kControl
                       : TokenType::kNormal;
    const auto it = added.tokens().find(static_cast<int32_t>(id));
    if (scores_from_merges && it != added.tokens().end()) {
      v->types[id] =
          it->second.special ? TokenType::kControl : TokenType::kUserDefined;
    }
  }
  for (const auto& [id, token] : added.tokens()) {
    if (id < model.n_model_ids) continue;
    v->tokens.push_back(token.content);
    v->scores.push_back(kAddedScore);
    const bool control = scores_from_merges ? token.special : added.IsNamed(id);
    v->types.push_back(control ? TokenType::kControl : TokenType::kUserDefined);
  }
  if (scores_from_merges) {
    for (auto it = model.merge_ids.rbegin(); it != model.merge_ids.rend();
         ++it) {
      v->scores[it->merged] = -static_cast<float>(it->rank);
    }
    if (model.unk_id >= 0) v->types[model.unk_id] = TokenType::kUnknown;
    Pad(n_vocab, kPaddingScore, v);
    v->add_space_prefix =
        tokenizer.normalizer().Signature().find("Prepend") != std::string::npos;
  }
  return ReadSpecialTokens(files, static_cast<int64_t>(v->tokens.size()), v);
}

absl::StatusOr<std::unique_ptr<HfTokenizer>> LoadTokenizerJson(
    const TokenizerFiles& files) {
  if (files.tokenizer == nullptr) {
    const bool unread = FileExists(JoinPath(files.folder, "tokenizer.model"));
    return absl::NotFoundError(absl::StrCat(
        unread ? "no tokenizer.json (this family's tokenizer.model is not read)"
               : "neither tokenizer.json nor tokenizer.model",
        " in '", files.folder, "'"));
  }
  return HfTokenizer::FromJson(files.tokenizer->root());
}

bool FallsBackToBytes(const HfTokenizer& tokenizer) {
  return tokenizer.model().byte_fallback &&
         !tokenizer.pre_tokenizer().byte_level();
}

absl::Status ReadLlamaFlags(const TokenizerFiles& files, Vocabulary* v) {
  if (files.tokenizer_config == nullptr) return absl::OkStatus();
  if (const auto prefix =
          files.tokenizer_config->root().FindNonNull("add_prefix_space")) {
    ASSIGN_OR_RETURN(v->add_space_prefix, prefix->GetBool());
    v->space_prefix_first = true;
  }
  return absl::OkStatus();
}

bool HasClassGpt2(const TokenizerFiles& files) {
  if (files.tokenizer_config == nullptr) return false;
  const auto name = files.tokenizer_config->root().Find("tokenizer_class");
  return name && name->is_string() && *name->GetString() == "GPT2Tokenizer";
}

// Habits of the Llama family that hang on the size of a vocabulary.
absl::Status ApplySizeRules(const TokenizerFiles& files, int64_t n_vocab,
                            Vocabulary* v) {
  constexpr int64_t kCodeLlama = 32016;
  constexpr int64_t kCodeLlamaEot = 32010;
  constexpr int64_t kGraniteSmall = 49152;
  if (n_vocab == kCodeLlama) {
    return AddInfillTokens(files, kCodeLlamaEot, v);
  }
  if (n_vocab == kGraniteSmall) {
    for (auto& [name, add] : v->add_special) {
      if (name == "bos") {
        add = false;
        return absl::OkStatus();
      }
    }
    v->add_special.emplace_back("bos", false);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Vocabulary> VocabularyFromHfDirectory(
    absl::string_view folder, const VocabularyOptions& options) {
  ASSIGN_OR_RETURN(const TokenizerFiles files, ReadTokenizerFiles(folder));
  ASSIGN_OR_RETURN(const Family family, FamilyOf(files, options));
  ASSIGN_OR_RETURN(const int64_t n_vocab, VocabSize(files, options));
  Vocabulary v;
  if (family == Family::kLlama) RETURN_IF_ERROR(ReadLlamaFlags(files, &v));
  const bool has_model = FileExists(JoinPath(folder, "tokenizer.model")) &&
                         family != Family::kQwenMoe &&
                         !(family == Family::kPhi3 && HasClassGpt2(files));
  if (has_model) {
    RETURN_IF_ERROR(
        FromSentencePiece(files, n_vocab, family == Family::kPhi3, &v));
    if (family == Family::kGemma) v.add_space_prefix = false;
  } else {
    ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizerJson(files));
    const bool fallback = FallsBackToBytes(*tokenizer);
    if (fallback && (family == Family::kLlama || family == Family::kPhi3)) {
      RETURN_IF_ERROR(FromByteFallback(files, n_vocab, family == Family::kPhi3,
                                       *tokenizer, &v));
    } else {
      RETURN_IF_ERROR(FromByteLevel(files, n_vocab, options, *tokenizer, &v));
    }
  }
  if (family == Family::kLlama) {
    RETURN_IF_ERROR(ApplySizeRules(files, n_vocab, &v));
  }
  return v;
}

}  // namespace narrow
