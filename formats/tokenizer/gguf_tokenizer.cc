// Where llama.cpp differs from tokenizer.json's semantics:
//   - special tokens are looked for longest first over the whole text, not
//     leftmost first; user-defined ones always, control ones on request;
//   - there are no normalizers but "▁" for spaces, with a space put before a
//     text, and before what follows a special token, for the kind "llama";
//   - merges of that kind follow from scores: any two neighbours whose union
//     is a token may merge, the best score first.

#include "formats/tokenizer/gguf_tokenizer.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/tokenizer/pipeline/byte_alphabet.h"
#include "formats/tokenizer/pipeline/token_text.h"
#include "formats/tokenizer/pre_tokenizer_names.h"

namespace narrow {
namespace {

using Words = absl::flat_hash_map<std::string, int32_t>;

std::array<int32_t, 256> ByteIds(const Words& words) {
  std::array<int32_t, 256> ids;
  for (int b = 0; b < 256; ++b) {
    auto it = words.find(ByteToken(static_cast<uint8_t>(b)));
    if (it == words.end())
      it = words.find(std::string(1, static_cast<char>(b)));
    ids[b] = it == words.end() ? -1 : it->second;
  }
  return ids;
}

absl::Status CheckUtf8(const std::vector<std::string>& texts,
                       absl::string_view what) {
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!utf8::IsValid(texts[i])) {
      return absl::DataLossError(
          absl::StrCat(what, " ", i, " is not valid UTF-8"));
    }
  }
  return absl::OkStatus();
}

// Every way to cut a token in two parts that are symbols, for the kind
// "llama". Characters that are no token get ids from `n_tokens` on.
std::vector<BpeMerge> MergesFromScores(const Vocabulary& v, Words* words) {
  std::vector<float> scores = v.scores;
  std::sort(scores.begin(), scores.end(), std::greater<float>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  auto next = static_cast<int32_t>(v.tokens.size());
  for (const std::string& text : v.tokens) {
    for (size_t i = 0; i < text.size();) {
      const size_t n = utf8::Length(static_cast<unsigned char>(text[i]));
      if (words->emplace(text.substr(i, n), next).second) ++next;
      i += n;
    }
  }
  std::vector<BpeMerge> merges;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const absl::string_view text = v.tokens[id];
    const auto rank = static_cast<int32_t>(
        std::lower_bound(scores.begin(), scores.end(), v.scores[id],
                         std::greater<float>()) -
        scores.begin());
    for (size_t i = 0; i < text.size();) {
      i += utf8::Length(static_cast<unsigned char>(text[i]));
      if (i >= text.size()) break;
      const auto left = words->find(text.substr(0, i));
      if (left == words->end()) continue;
      const auto right = words->find(text.substr(i));
      if (right == words->end()) continue;
      merges.push_back(
          {left->second, right->second, rank, static_cast<int32_t>(id)});
    }
  }
  return merges;
}

// Lines "left right"; of two for one pair the first counts.
absl::StatusOr<std::vector<BpeMerge>> MergesFromLines(const Vocabulary& v,
                                                      const Words& words) {
  std::vector<BpeMerge> merges;
  merges.reserve(v.merges.size());
  for (size_t i = 0; i < v.merges.size(); ++i) {
    const std::string& line = v.merges[i];
    // The first byte may be a space that is part of the left token.
    const size_t space = line.find(' ', 1);
    if (space == std::string::npos) {
      return absl::DataLossError(absl::StrCat("tokenizer.ggml.merges: entry ",
                                              i, " '", line, "' has no space"));
    }
    const std::string left = line.substr(0, space);
    const std::string right = line.substr(space + 1);
    const auto l = words.find(left);
    const auto r = words.find(right);
    const auto m = words.find(left + right);
    if (l == words.end() || r == words.end() || m == words.end()) {
      return absl::DataLossError(
          absl::StrCat("tokenizer.ggml.merges: entry ", i, " '", line,
                       "' names a token that is not in the vocabulary"));
    }
    merges.push_back(
        {l->second, r->second, static_cast<int32_t>(i), m->second});
  }
  std::reverse(merges.begin(), merges.end());  // later ones count in BpeModel
  return merges;
}

bool NamesPhi3(std::string name) {
  for (char& c : name) c = static_cast<char>(tolower(c));
  return name.find("phi-3") != std::string::npos ||
         name.find("phi3") != std::string::npos;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GgufTokenizer>> GgufTokenizer::FromVocabulary(
    const Vocabulary& vocabulary) {
  if (vocabulary.types.size() != vocabulary.tokens.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(vocabulary.types.size(), " token types for ",
                     vocabulary.tokens.size(), " tokens"));
  }
  RETURN_IF_ERROR(CheckUtf8(vocabulary.tokens, "token"));
  RETURN_IF_ERROR(CheckUtf8(vocabulary.merges, "merge"));
  auto result = std::make_unique<GgufTokenizer>();
  result->texts_ = vocabulary.tokens;
  result->types_ = vocabulary.types;
  result->is_llama_ = vocabulary.kind == VocabularyKind::kLlama;
  RETURN_IF_ERROR(result->is_llama_ ? result->BuildLlama(vocabulary)
                                    : result->BuildGpt2(vocabulary));
  result->SetSpecial(vocabulary);
  return result;
}

absl::Status GgufTokenizer::BuildGpt2(const Vocabulary& v) {
  ASSIGN_OR_RETURN(const PreTokenizerRow row, FindPreTokenizer(v.pre));
  ASSIGN_OR_RETURN(pre_tokenizer_, PreTokenizer::FromPatterns(row.patterns));
  is_raw_text_ = row.is_raw_text;
  adds_bos_ = row.adds_bos;
  Words words;
  words.reserve(v.tokens.size());
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    words.emplace(v.tokens[i], static_cast<int32_t>(i));
  }
  ASSIGN_OR_RETURN(const std::vector<BpeMerge> merges,
                   MergesFromLines(v, words));
  BpeOptions options;
  options.ignore_merges = row.ignore_merges;
  options.bytes_are_units = !is_raw_text_;
  options.byte_fallback = options.fallback_bytewise = is_raw_text_;
  const std::array<int32_t, 256> byte_ids = ByteIds(words);
  if (!is_raw_text_) {
    Words bytes;
    bytes.reserve(words.size());
    for (const auto& [text, id] : words) {
      if (auto decoded = byte_alphabet::Decode(text)) {
        bytes.emplace(*std::move(decoded), id);
      }
    }
    words = std::move(bytes);
  }
  bpe_.emplace(options, std::move(words), byte_ids,
               static_cast<int32_t>(v.tokens.size()), merges);
  return absl::OkStatus();
}

absl::Status GgufTokenizer::BuildLlama(const Vocabulary& v) {
  if (v.scores.size() != v.tokens.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        v.scores.size(), " scores for ", v.tokens.size(), " tokens"));
  }
  for (size_t i = 0; i < v.scores.size(); ++i) {
    if (v.scores[i] != v.scores[i]) {
      return absl::DataLossError(
          absl::StrCat("tokenizer.ggml.scores: entry ", i, " is not a number"));
    }
  }
  Words words;
  words.reserve(v.tokens.size());
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    words.emplace(v.tokens[i], static_cast<int32_t>(i));
  }
  const std::array<int32_t, 256> byte_ids = ByteIds(words);
  const std::vector<BpeMerge> merges = MergesFromScores(v, &words);
  BpeOptions options;
  options.byte_fallback = options.fallback_bytewise = true;
  options.unk_id = static_cast<int32_t>(v.SpecialId("unk").value_or(-1));
  bpe_.emplace(options, std::move(words), byte_ids,
               static_cast<int32_t>(v.tokens.size()), merges);
  adds_bos_ = true;
  add_space_prefix_ = v.add_space_prefix.value_or(true);
  return absl::OkStatus();
}

void GgufTokenizer::SetSpecial(const Vocabulary& v) {
  const auto id_of = [&](absl::string_view name,
                         int32_t otherwise) -> std::optional<int32_t> {
    const int64_t id = v.SpecialId(name).value_or(otherwise);
    if (id < 0 || id >= n_tokens()) return std::nullopt;
    return static_cast<int32_t>(id);
  };
  // The ids that llama.cpp assumes for a file that names none.
  bos_id_ = id_of("bos", is_llama_ ? 1 : 11);
  eos_id_ = id_of("eos", is_llama_ ? 2 : 11);
  adds_bos_ = v.AddsSpecial("bos").value_or(adds_bos_) || is_raw_text_;
  adds_eos_ = v.AddsSpecial("eos").value_or(false);
  adds_bos_ = adds_bos_ && bos_id_;
  adds_eos_ = adds_eos_ && eos_id_;
  const bool phi3 = NamesPhi3(v.model_name);
  for (size_t i = 0; i < texts_.size(); ++i) {
    const TokenType type = types_[i];
    if (type != TokenType::kControl && type != TokenType::kUserDefined &&
        type != TokenType::kUnknown) {
      continue;
    }
    AddedToken token;
    token.id = static_cast<int32_t>(i);
    token.content = texts_[i];
    token.special = type != TokenType::kUserDefined;
    token.rstrip = phi3 && texts_[i] != "<unk>" && texts_[i] != "<s>" &&
                   texts_[i] != "<|endoftext|>";
    added_.Add(token, texts_[i]);
  }
}

void GgufTokenizer::EncodeText(const TextPiece& piece, bool after_special,
                               TextArena* arena, BpeModel::Scratch* scratch,
                               std::vector<int32_t>* ids) const {
  absl::string_view text = piece.text;
  if (is_llama_ || is_raw_text_) {
    std::string marked = absl::StrReplaceAll(text, {{" ", kSpaceMark}});
    if (is_llama_ && add_space_prefix_ && after_special) {
      marked.insert(0, kSpaceMark.data(), kSpaceMark.size());
    }
    text = arena->Keep(std::move(marked));
  }
  if (is_llama_) {
    bpe_->Encode(text, scratch, ids);
    return;
  }
  std::vector<TextPiece> words = {{text, -1, false}};
  pre_tokenizer_.Apply(&words, arena);
  for (const TextPiece& word : words) {
    if (is_raw_text_ && word.text[0] == '\n') {
      const int32_t whole = bpe_->Find(word.text);
      if (whole >= 0) {
        ids->push_back(whole);
        continue;
      }
    }
    bpe_->Encode(word.text, scratch, ids);
  }
}

std::vector<int32_t> GgufTokenizer::Encode(absl::string_view text,
                                           const EncodeOptions& options) const {
  TextArena arena;
  if (!utf8::IsValid(text)) text = arena.Keep(utf8::ToValid(text));
  std::vector<TextPiece> pieces;
  if (!text.empty()) pieces.push_back({text, -1, true});
  added_.ApplyLongestFirst(options.parse_special, &pieces);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 2);
  if (options.add_special && adds_bos_) ids.push_back(*bos_id_);
  BpeModel::Scratch scratch;
  bool after_special = true;
  for (const TextPiece& piece : pieces) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
    } else {
      EncodeText(piece, after_special, &arena, &scratch, &ids);
    }
    after_special = piece.id >= 0;
  }
  if (options.add_special && adds_eos_) ids.push_back(*eos_id_);
  return ids;
}

std::string GgufTokenizer::TextOf(int32_t id) const {
  const std::string& text = texts_[id];
  switch (types_[id]) {
    case TokenType::kControl:
    case TokenType::kUnknown:
    case TokenType::kUserDefined:
      return text;
    case TokenType::kByte: {
      const int byte = ByteOfToken(text);
      return byte < 0 ? text : std::string(1, static_cast<char>(byte));
    }
    case TokenType::kNormal:
      if (is_llama_ || is_raw_text_) {
        // The converter marks byte tokens as normal in this container.
        const int byte = is_raw_text_ ? ByteOfToken(text) : -1;
        if (byte >= 0) return std::string(1, static_cast<char>(byte));
        return absl::StrReplaceAll(text, {{kSpaceMark, " "}});
      }
      return byte_alphabet::Decode(text).value_or(text);
    case TokenType::kUnused:
      break;
  }
  return "";
}

std::string GgufTokenizer::Decode(absl::Span<const int32_t> ids,
                                  bool skip_special) const {
  std::string out;
  bool first = true;
  for (const int32_t id : ids) {
    if (id < 0 || id >= n_tokens()) continue;
    const bool special =
        types_[id] == TokenType::kControl || types_[id] == TokenType::kUnknown;
    if (special && skip_special) continue;
    std::string text = TextOf(id);
    // The space that Encode put before the text.
    if (first && !special && add_space_prefix_ && !text.empty() &&
        text[0] == ' ') {
      text.erase(0, 1);
    }
    first = false;
    out += text;
  }
  return out;
}

}  // namespace narrow
