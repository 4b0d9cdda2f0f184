// How each kind of vocabulary is spelled in tokenizer.json:
//
//   gpt2    BPE over the byte alphabet; Split by the patterns that
//           tokenizer.ggml.pre names, then ByteLevel
//   gpt2, raw text (Gemma 3)
//           BPE with byte fallback; Replace " " by "▁"
//   llama   the same with merges that follow from the scores, and Prepend
//           "▁" if the vocabulary puts a space before a text. As a normalizer
//           it acts on what follows a special token too, as llama.cpp does.
//
// All tokens are in the model's vocabulary with their ids, so that added ones
// keep theirs; only "[PADn]", rows of the embedding that no token has, are
// left out.

#include "formats/tokenizer/hf_export/hf_tokenizer_writer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/json/json_writer.h"
#include "formats/tokenizer/hf_export/score_merges.h"
#include "formats/tokenizer/hf_export/sentencepiece_writer.h"
#include "formats/tokenizer/pipeline/token_text.h"
#include "formats/tokenizer/pre_tokenizer_names.h"

namespace narrow {
namespace {

// Score that converters give to tokens which were added to a vocabulary.
constexpr float kAddedScore = -1000.0f;

// Names under which Qwen publishes vocabularies that normalize to NFC.
bool UsuallyNormalizes(absl::string_view pre) {
  return pre == "qwen2" || pre == "qwen35";
}

bool NamesPhi3(absl::string_view name) {
  const std::string lower = absl::AsciiStrToLower(name);
  return absl::StrContains(lower, "phi-3") || absl::StrContains(lower, "phi3");
}

bool IsAdded(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUserDefined ||
         type == TokenType::kUnknown;
}

class Writer {
 public:
  Writer(const Vocabulary& vocabulary, const HfTokenizerOptions& options)
      : v_(vocabulary),
        options_(options),
        is_llama_(vocabulary.kind == VocabularyKind::kLlama) {}

  absl::StatusOr<HfTokenizerFiles> Run() {
    RETURN_IF_ERROR(CheckTexts());
    RETURN_IF_ERROR(FindPipeline());
    SpellTokens();
    RETURN_IF_ERROR(FindMerges());
    FindSpecial();
    WriteTokenizer();
    WriteConfig();
    files_.tokenizer = json_.text() + "\n";
    if (is_llama_) {
      files_.sentencepiece = SentencePieceBytes();
    }
    return std::move(files_);
  }

 private:
  absl::Status CheckTexts() const {
    if (v_.types.size() != v_.tokens.size() ||
        (is_llama_ && v_.scores.size() != v_.tokens.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat(v_.types.size(), " types and ", v_.scores.size(),
                       " scores for ", v_.tokens.size(), " tokens"));
    }
    for (size_t i = 0; i < v_.tokens.size(); ++i) {
      if (!utf8::IsValid(v_.tokens[i])) {
        return absl::DataLossError(
            absl::StrCat("token ", i, " is not valid UTF-8"));
      }
      if (is_llama_ && v_.scores[i] != v_.scores[i]) {
        return absl::DataLossError(
            absl::StrCat("the score of token ", i, " is not a number"));
      }
    }
    for (const NamedChatTemplate& chat : v_.chat_templates) {
      if (!utf8::IsValid(chat.text)) {
        return absl::DataLossError("the chat template is not valid UTF-8");
      }
    }
    return absl::OkStatus();
  }

  absl::Status FindPipeline() {
    if (is_llama_) {
      adds_space_ = v_.add_space_prefix.value_or(true);
      return absl::OkStatus();
    }
    const auto row = FindPreTokenizer(v_.pre);
    if (!row.ok()) {
      return absl::UnimplementedError(
          absl::StrCat(row.status().message(),
                       " (tokenizer.ggml.pre), so its pattern "
                       "cannot be written to tokenizer.json"));
    }
    row_ = *row;
    ASSIGN_OR_RETURN(steps_, FindPreTokenizerSteps(v_.pre));
    if (UsuallyNormalizes(row_.name)) {
      files_.warnings.push_back(absl::StrCat(
          "tokenizer.json normalizes texts to NFC, as the vocabularies that "
          "pre-tokenizer '",
          row_.name,
          "' was made for do; GGUF does not say, and llama.cpp does not"));
    }
    return absl::OkStatus();
  }

  bool is_raw_text() const { return is_llama_ || row_.is_raw_text; }

  // Added tokens of nothing but spaces stand in SentencePiece vocabularies as
  // "▁", which GGUF shows as spaces; merges make them.
  std::string Spelling(size_t id) const {
    const std::string& text = v_.tokens[id];
    const bool marked = row_.is_raw_text || (is_llama_ && !adds_space_);
    if (!marked || v_.types[id] != TokenType::kUserDefined ||
        text.find_first_not_of(' ') != std::string::npos) {
      return text;
    }
    std::string spelled = absl::StrReplaceAll(text, {{" ", kSpaceMark}});
    return known_.contains(spelled) ? text : spelled;
  }

  bool IsPadding(size_t id) const {
    return v_.types[id] == TokenType::kUnused &&
           v_.tokens[id] == absl::StrCat("[PAD", id, "]");
  }

  void SpellTokens() {
    known_.insert(v_.tokens.begin(), v_.tokens.end());
    texts_.reserve(v_.tokens.size());
    for (size_t id = 0; id < v_.tokens.size(); ++id) {
      texts_.push_back(Spelling(id));
    }
    known_.clear();
    for (size_t id = 0; id < texts_.size(); ++id) {
      if (!IsPadding(id)) known_.insert(texts_[id]);
    }
    has_bytes_ = true;
    for (int b = 0; b < 256; ++b) {
      has_bytes_ =
          has_bytes_ && known_.contains(ByteToken(static_cast<uint8_t>(b)));
    }
  }

  absl::Status FindMerges() {
    if (is_llama_) {
      ScoreMerges found = MergesFromScores(v_, texts_);
      merges_ = std::move(found.merges);
      if (found.has_ties) {
        files_.warnings.push_back(
            "several tokens have one score, where llama.cpp merges what comes "
            "first in the text; tokenizer.json merges the lower id first");
      }
      return absl::OkStatus();
    }
    merges_.reserve(v_.merges.size());
    for (size_t i = 0; i < v_.merges.size(); ++i) {
      const std::string& line = v_.merges[i];
      // The first byte may be a space that is part of the left token.
      const size_t space = line.find(' ', 1);
      if (space == std::string::npos) {
        return MergeError(i, "has no space");
      }
      std::string left = line.substr(0, space);
      std::string right = line.substr(space + 1);
      if (!known_.contains(left) || !known_.contains(right) ||
          !known_.contains(left + right)) {
        return MergeError(i, "names a token that is not in the vocabulary");
      }
      merges_.emplace_back(std::move(left), std::move(right));
    }
    return absl::OkStatus();
  }

  absl::Status MergeError(size_t i, absl::string_view cause) const {
    return absl::DataLossError(absl::StrCat("tokenizer.ggml.merges: entry ", i,
                                            " ", QuotedName(v_.merges[i]), " ",
                                            cause));
  }

  std::optional<int64_t> IdOf(absl::string_view name,
                              std::optional<int64_t> otherwise) const {
    const std::optional<int64_t> id =
        v_.SpecialId(name) ? v_.SpecialId(name) : otherwise;
    return id && *id >= 0 && *id < static_cast<int64_t>(texts_.size())
               ? id
               : std::nullopt;
  }

  // What llama.cpp puts around a text, with the ids that it assumes for a
  // file that names none.
  void FindSpecial() {
    const int64_t usual_bos = is_llama_ ? 1 : 11;
    const int64_t usual_eos = is_llama_ ? 2 : 11;
    const bool usually = is_llama_ || row_.adds_bos;
    if (v_.AddsSpecial("bos").value_or(usually) || row_.is_raw_text) {
      first_ = IdOf("bos", usual_bos);
    }
    if (v_.AddsSpecial("eos").value_or(false)) {
      last_ = IdOf("eos", usual_eos);
    }
    unk_ = IdOf("unk", std::nullopt);
    for (size_t id = 0; !unk_ && id < texts_.size(); ++id) {
      if (v_.types[id] == TokenType::kUnknown) {
        unk_ = static_cast<int64_t>(id);
      }
    }
  }

  void WriteTokenizer() {
    json_.BeginObject();
    json_.Key("version").String("1.0");
    json_.Key("truncation").Null();
    json_.Key("padding").Null();
    WriteAddedTokens();
    WriteNormalizer();
    WritePreTokenizer();
    WritePostProcessor();
    WriteDecoder();
    WriteModel();
    json_.EndObject();
  }

  void WriteAddedTokens() {
    json_.Key("added_tokens").BeginArray();
    for (size_t id = 0; id < texts_.size(); ++id) {
      if (!IsAdded(v_.types[id])) continue;
      const bool special = v_.types[id] != TokenType::kUserDefined;
      json_.BeginObject();
      json_.Key("id").Integer(static_cast<int64_t>(id));
      json_.Key("content").String(texts_[id]);
      json_.Key("single_word").Bool(false);
      json_.Key("lstrip").Bool(false);
      json_.Key("rstrip").Bool(false);
      json_.Key("normalized").Bool(false);
      json_.Key("special").Bool(special);
      json_.EndObject();
    }
    json_.EndArray();
    if (NamesPhi3(v_.model_name)) {
      files_.warnings.push_back(
          "GGUF does not hold which added tokens take away the white space "
          "after them; in tokenizer.json none does, while Phi-3's published "
          "tokenizer, and llama.cpp by the model's name, have some that do");
    }
  }

  void WriteReplace(absl::string_view from, absl::string_view to) {
    json_.BeginObject();
    json_.Key("type").String("Replace");
    json_.Key("pattern").BeginObject().Key("String").String(from).EndObject();
    json_.Key("content").String(to);
    json_.EndObject();
  }

  void WriteNormalizer() {
    json_.Key("normalizer");
    if (is_raw_text()) {
      if (!adds_space_) {
        WriteReplace(" ", kSpaceMark);
        return;
      }
      json_.BeginObject().Key("type").String("Sequence");
      json_.Key("normalizers").BeginArray();
      json_.BeginObject().Key("type").String("Prepend");
      json_.Key("prepend").String(kSpaceMark).EndObject();
      WriteReplace(" ", kSpaceMark);
      json_.EndArray().EndObject();
      return;
    }
    if (UsuallyNormalizes(row_.name)) {
      json_.BeginObject().Key("type").String("NFC").EndObject();
      return;
    }
    json_.Null();
  }

  void WriteByteLevel() {
    json_.BeginObject();
    json_.Key("type").String("ByteLevel");
    json_.Key("add_prefix_space").Bool(false);
    json_.Key("trim_offsets").Bool(true);
    json_.Key("use_regex").Bool(false);
    json_.EndObject();
  }

  void WritePreTokenizer() {
    json_.Key("pre_tokenizer");
    if (is_raw_text()) {
      json_.Null();
      return;
    }
    json_.BeginObject().Key("type").String("Sequence");
    json_.Key("pretokenizers").BeginArray();
    for (const PreTokenizerStep& step : steps_) {
      const absl::string_view behavior = step.behavior;
      if (behavior == "byte_level") {
        WriteByteLevel();
        continue;
      }
      json_.BeginObject().Key("type").String("Split");
      json_.Key("pattern").BeginObject();
      json_.Key("Regex").String(step.pattern).EndObject();
      json_.Key("behavior")
          .String(behavior == "contiguous" ? "Contiguous" : "Isolated");
      json_.Key("invert").Bool(false);
      json_.EndObject();
    }
    json_.EndArray().EndObject();
  }

  void WriteSpecialItem(int64_t id, int64_t type_id) {
    json_.BeginObject().Key("SpecialToken").BeginObject();
    json_.Key("id").String(texts_[static_cast<size_t>(id)]);
    json_.Key("type_id").Integer(type_id);
    json_.EndObject().EndObject();
  }
  void WriteSequenceItem(const char* name, int64_t type_id) {
    json_.BeginObject().Key("Sequence").BeginObject();
    json_.Key("id").String(name).Key("type_id").Integer(type_id);
    json_.EndObject().EndObject();
  }

  void WriteSequences(bool is_pair) {
    json_.BeginArray();
    if (first_) WriteSpecialItem(*first_, 0);
    WriteSequenceItem("A", 0);
    if (is_pair) {
      if (last_) WriteSpecialItem(*last_, 0);
      // A file that says whether a separator is added was made from a pair
      // with something between its parts.
      if (first_ && v_.AddsSpecial("sep")) WriteSpecialItem(*first_, 1);
      WriteSequenceItem("B", 1);
    }
    if (last_) WriteSpecialItem(*last_, is_pair ? 1 : 0);
    json_.EndArray();
  }

  void WritePostProcessor() {
    json_.Key("post_processor").BeginObject();
    json_.Key("type").String("TemplateProcessing");
    json_.Key("single");
    WriteSequences(false);
    json_.Key("pair");
    WriteSequences(true);
    json_.Key("special_tokens").BeginObject();
    std::vector<int64_t> ids;
    if (first_) ids.push_back(*first_);
    if (last_ && last_ != first_) ids.push_back(*last_);
    for (const int64_t id : ids) {
      const std::string& text = texts_[static_cast<size_t>(id)];
      json_.Key(text).BeginObject();
      json_.Key("id").String(text);
      json_.Key("ids").BeginArray().Integer(id).EndArray();
      json_.Key("tokens").BeginArray().String(text).EndArray();
      json_.EndObject();
    }
    json_.EndObject().EndObject();
  }

  void WriteDecoder() {
    json_.Key("decoder");
    if (!is_raw_text()) {
      json_.BeginObject();
      json_.Key("type").String("ByteLevel");
      json_.Key("add_prefix_space").Bool(true);
      json_.Key("trim_offsets").Bool(true);
      json_.Key("use_regex").Bool(true);
      json_.EndObject();
      return;
    }
    json_.BeginObject().Key("type").String("Sequence");
    json_.Key("decoders").BeginArray();
    WriteReplace(kSpaceMark, " ");
    json_.BeginObject().Key("type").String("ByteFallback").EndObject();
    json_.BeginObject().Key("type").String("Fuse").EndObject();
    if (adds_space_) {
      json_.BeginObject().Key("type").String("Strip");
      json_.Key("content").String(" ");
      json_.Key("start").Integer(1).Key("stop").Integer(0).EndObject();
    }
    json_.EndArray().EndObject();
  }

  void WriteModel() {
    json_.Key("model").BeginObject();
    json_.Key("type").String("BPE");
    json_.Key("dropout").Null();
    json_.Key("unk_token");
    unk_&& is_raw_text() ? json_.String(texts_[static_cast<size_t>(*unk_)])
                         : json_.Null();
    json_.Key("continuing_subword_prefix").Null();
    json_.Key("end_of_word_suffix").Null();
    json_.Key("fuse_unk").Bool(is_raw_text());
    json_.Key("byte_fallback").Bool(is_raw_text() && has_bytes_);
    json_.Key("ignore_merges").Bool(!is_raw_text() && row_.ignore_merges);
    json_.Key("vocab").BeginObject();
    for (size_t id = 0; id < texts_.size(); ++id) {
      if (!IsPadding(id)) {
        json_.Key(texts_[id]).Integer(static_cast<int64_t>(id));
      }
    }
    json_.EndObject();
    json_.Key("merges").BeginArray();
    for (const auto& [left, right] : merges_) {
      json_.BeginArray().String(left).String(right).EndArray();
    }
    json_.EndArray().EndObject();
  }

  void WriteConfig() {
    JsonWriter json(JsonWriter::kIndented);
    json.BeginObject();
    // The flags only where the file has them: transformers then makes the
    // post-processor anew from them.
    for (const char* name : {"bos", "eos"}) {
      if (const auto adds = v_.AddsSpecial(name)) {
        const auto& id = name[0] == 'b' ? first_ : last_;
        json.Key(absl::StrCat("add_", name, "_token"))
            .Bool(*adds && id.has_value());
      }
    }
    if (v_.add_space_prefix) {
      json.Key("add_prefix_space").Bool(*v_.add_space_prefix);
    }
    if (is_llama_) {
      WriteAddedDecoder(&json);
    }
    for (const char* name : {"bos", "eos", "mask", "pad", "sep", "unk"}) {
      if (const auto id = IdOf(name, std::nullopt)) {
        json.Key(absl::StrCat(name, "_token"))
            .String(texts_[static_cast<size_t>(*id)]);
      }
    }
    WriteTemplates(&json);
    json.Key("clean_up_tokenization_spaces").Bool(false);
    if (options_.max_length > 0) {
      json.Key("model_max_length").Integer(options_.max_length);
    }
    // transformers takes tokenizer.json as it is for this class.
    json.Key("tokenizer_class").String("PreTrainedTokenizerFast");
    json.EndObject();
    files_.tokenizer_config = json.text() + "\n";
  }

  // Tells converters which pieces of tokenizer.model were added to it.
  void WriteAddedDecoder(JsonWriter* json) const {
    json->Key("added_tokens_decoder").BeginObject();
    for (size_t id = 0; id < texts_.size(); ++id) {
      if (!IsAdded(v_.types[id]) || v_.scores[id] != kAddedScore) continue;
      const bool special = v_.types[id] != TokenType::kUserDefined;
      json->Key(absl::StrCat(id)).BeginObject();
      json->Key("content").String(texts_[id]);
      json->Key("lstrip").Bool(false).Key("normalized").Bool(false);
      json->Key("rstrip").Bool(false);
      json->Key("single_word").Bool(false).Key("special").Bool(special);
      json->EndObject();
    }
    json->EndObject();
  }

  void WriteTemplates(JsonWriter* json) const {
    if (v_.chat_templates.empty()) return;
    json->Key("chat_template");
    if (!v_.chat_templates_are_list) {
      json->String(v_.chat_templates[0].text);
      return;
    }
    json->BeginArray();
    for (const NamedChatTemplate& chat : v_.chat_templates) {
      json->BeginObject();
      json->Key("name").String(chat.name);
      json->Key("template").String(chat.text);
      json->EndObject();
    }
    json->EndArray();
  }

  std::string SentencePieceBytes() const {
    size_t n = texts_.size();
    while (n > 0 && IsPadding(n - 1)) --n;
    std::vector<SentencePiece> pieces;
    for (size_t id = 0; id < n; ++id) {
      // 0, "undefined", is a token like any other.
      const auto type = v_.types[id] < TokenType::kNormal
                            ? SentencePiece::Type::kNormal
                            : static_cast<SentencePiece::Type>(v_.types[id]);
      pieces.push_back({texts_[id], v_.scores[id], type});
    }
    // sentencepiece wants one unknown piece and no more.
    for (size_t id = 0; id < n; ++id) {
      if (pieces[id].type == SentencePiece::Type::kUnknown) {
        pieces[id].type = SentencePiece::Type::kControl;
      }
    }
    if (unk_ && *unk_ < static_cast<int64_t>(n)) {
      pieces[static_cast<size_t>(*unk_)].type = SentencePiece::Type::kUnknown;
    }
    SentencePieceOptions options;
    options.byte_fallback = has_bytes_;
    options.add_dummy_prefix = adds_space_;
    options.unk_id = unk_.value_or(-1);
    options.bos_id = IdOf("bos", -1).value_or(-1);
    options.eos_id = IdOf("eos", -1).value_or(-1);
    options.pad_id = IdOf("pad", -1).value_or(-1);
    return SentencePieceModelBytes(pieces, options);
  }

  const Vocabulary& v_;
  const HfTokenizerOptions& options_;
  const bool is_llama_;
  bool adds_space_ = false;
  bool has_bytes_ = false;
  PreTokenizerRow row_;  // kGpt2 only
  PreTokenizerSteps steps_;
  std::vector<std::string> texts_;  // as the model's vocabulary spells them
  absl::flat_hash_set<std::string> known_;
  std::vector<std::pair<std::string, std::string>> merges_;
  std::optional<int64_t> first_, last_;  // put around a text
  std::optional<int64_t> unk_;
  JsonWriter json_{JsonWriter::kCompact};
  HfTokenizerFiles files_;
};

}  // namespace

absl::StatusOr<HfTokenizerFiles> WriteHfTokenizer(
    const Vocabulary& vocabulary, const HfTokenizerOptions& options) {
  return Writer(vocabulary, options).Run();
}

}  // namespace narrow
