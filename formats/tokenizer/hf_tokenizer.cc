#include "formats/tokenizer/hf_tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"

namespace narrow {
namespace {

constexpr int kMaxDepth = 16;

JsonValue GetOrNull(const JsonValue& root, absl::string_view key,
                    const JsonValue& null) {
  const auto value = root.Find(key);
  return value ? *value : null;
}

const JsonDocument& NullDocument() {
  static const JsonDocument* const kNull =
      JsonDocument::Parse("null", "null")->release();
  return *kNull;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HfTokenizer>> HfTokenizer::FromJson(
    const JsonValue& root) {
  auto result = std::make_unique<HfTokenizer>();
  const JsonValue null = NullDocument().root();
  ASSIGN_OR_RETURN(result->model_, ParseHfModel(root));
  ASSIGN_OR_RETURN(result->normalizer_,
                   Normalizer::FromJson(GetOrNull(root, "normalizer", null)));
  ASSIGN_OR_RETURN(result->pre_tokenizer_, PreTokenizer::FromJson(GetOrNull(
                                               root, "pre_tokenizer", null)));
  ASSIGN_OR_RETURN(result->decoder_,
                   Decoder::FromJson(GetOrNull(root, "decoder", null)));
  if (const auto post = root.FindNonNull("post_processor")) {
    RETURN_IF_ERROR(result->AddPostProcessor(*post, 0));
  }
  result->bpe_.emplace(result->model_.MakeBpe(
      result->pre_tokenizer_.bytes_stay_raw(), result->model_.ignore_merges));
  result->AddTokens();
  return result;
}

void HfTokenizer::AddTokens() {
  is_special_.resize(model_.texts.size());
  TextArena arena;
  for (const AddedToken& token : model_.added) {
    is_special_[token.id] = token.special;
    if (token.normalized) {
      normalized_tokens_.Add(token, normalizer_.Apply(token.content, &arena));
    } else {
      raw_tokens_.Add(token, token.content);
    }
  }
}

absl::Status HfTokenizer::AddPostProcessor(const JsonValue& json, int depth) {
  ASSIGN_OR_RETURN(const JsonValue type_value, json.Get("type"));
  ASSIGN_OR_RETURN(const absl::string_view type, type_value.GetString());
  if (depth > kMaxDepth) return json.Error("processors nested too deep");
  if (type == "ByteLevel") return absl::OkStatus();  // offsets only
  if (type == "TemplateProcessing") return AddTemplate(json);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    RETURN_IF_ERROR(AddPair(json, "cls", &prefix_));
    return AddPair(json, "sep", &suffix_);
  }
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonValue list, json.Get("processors"));
    ASSIGN_OR_RETURN(const auto members, list.GetElements());
    for (const JsonValue& member : members) {
      RETURN_IF_ERROR(AddPostProcessor(member, depth + 1));
    }
    return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat("post-processor '", type,
                                               "' is not supported; ",
                                               json.Error("found").message()));
}

// ["</s>", 2]
absl::Status HfTokenizer::AddPair(const JsonValue& json, absl::string_view key,
                                  std::vector<int32_t>* ids) const {
  ASSIGN_OR_RETURN(const JsonValue pair, json.Get(key));
  ASSIGN_OR_RETURN(const auto parts, pair.GetElements());
  if (parts.size() != 2) return pair.Error("not a token and its id");
  ASSIGN_OR_RETURN(const int64_t id, parts[1].GetInteger());
  if (id < 0 || id >= n_tokens()) return parts[1].Error("id out of range");
  ids->push_back(static_cast<int32_t>(id));
  return absl::OkStatus();
}

absl::Status HfTokenizer::AddTemplate(const JsonValue& json) {
  ASSIGN_OR_RETURN(const JsonValue single, json.Get("single"));
  ASSIGN_OR_RETURN(const auto items, single.GetElements());
  std::vector<int32_t> before, after;
  bool seen = false;
  for (const JsonValue& item : items) {
    if (item.Find("Sequence")) {
      if (seen) return item.Error("the text occurs twice in the template");
      seen = true;
      continue;
    }
    ASSIGN_OR_RETURN(const JsonValue token, item.Get("SpecialToken"));
    ASSIGN_OR_RETURN(const JsonValue name_value, token.Get("id"));
    ASSIGN_OR_RETURN(const absl::string_view name, name_value.GetString());
    ASSIGN_OR_RETURN(const JsonValue known, json.Get("special_tokens"));
    ASSIGN_OR_RETURN(const JsonValue entry, known.Get(name));
    ASSIGN_OR_RETURN(const JsonValue ids_value, entry.Get("ids"));
    ASSIGN_OR_RETURN(const auto ids, ids_value.GetElements());
    for (const JsonValue& value : ids) {
      ASSIGN_OR_RETURN(const int64_t id, value.GetInteger());
      if (id < 0 || id >= n_tokens()) return value.Error("id out of range");
      (seen ? after : before).push_back(static_cast<int32_t>(id));
    }
  }
  if (!seen) return single.Error("the template has no text");
  prefix_.insert(prefix_.begin(), before.begin(), before.end());
  suffix_.insert(suffix_.end(), after.begin(), after.end());
  return absl::OkStatus();
}

std::vector<int32_t> HfTokenizer::Encode(absl::string_view text,
                                         const EncodeOptions& options) const {
  TextArena arena;
  if (!utf8::IsValid(text)) text = arena.Keep(utf8::ToValid(text));
  std::vector<TextPiece> pieces;
  if (!text.empty()) pieces.push_back({text, -1, true});
  raw_tokens_.Apply(options.parse_special, &pieces);
  if (!normalizer_.empty()) {
    for (TextPiece& piece : pieces) {
      if (piece.id < 0) piece.text = normalizer_.Apply(piece.text, &arena);
    }
  }
  normalized_tokens_.Apply(options.parse_special, &pieces);
  pre_tokenizer_.Apply(&pieces, &arena);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + prefix_.size() + suffix_.size());
  if (options.add_special) ids = prefix_;
  BpeModel::Scratch scratch;
  for (const TextPiece& piece : pieces) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
    } else {
      bpe_->Encode(piece.text, &scratch, &ids);
    }
  }
  if (options.add_special)
    ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  return ids;
}

std::string HfTokenizer::Decode(absl::Span<const int32_t> ids,
                                bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    if (id < 0 || id >= n_tokens() || !model_.texts[id]) continue;
    if (skip_special && is_special_[id]) continue;
    tokens.push_back(*model_.texts[id]);
  }
  return decoder_.Apply(std::move(tokens));
}

bool HfTokenizer::adds_bos() const {
  return bos_id_ && !prefix_.empty() && prefix_.front() == *bos_id_;
}

bool HfTokenizer::adds_eos() const {
  return eos_id_ && !suffix_.empty() && suffix_.back() == *eos_id_;
}

std::optional<int32_t> HfTokenizer::FindToken(absl::string_view text) const {
  const auto it = model_.ids.find(text);
  if (it == model_.ids.end()) return std::nullopt;
  return it->second;
}

}  // namespace narrow
