#include "formats/tokenizer/hf_model.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/tokenizer/pipeline/byte_alphabet.h"
#include "formats/tokenizer/pipeline/token_text.h"

namespace narrow {
namespace {

// Ids may leave holes, but not so many that a damaged id costs gigabytes.
int64_t MaxId(size_t n_entries) {
  return static_cast<int64_t>(n_entries) * 2 + (1 << 16);
}

absl::Status Place(const JsonValue& where, absl::string_view text, int64_t id,
                   int64_t max_id, HfModel* model) {
  if (id < 0 || id > max_id) {
    return where.Error(absl::StrCat("id ", id, " of token '", text,
                                    "' is out of range, at most ", max_id));
  }
  if (static_cast<size_t>(id) >= model->texts.size()) {
    model->texts.resize(static_cast<size_t>(id) + 1);
  }
  auto& slot = model->texts[id];
  if (slot && *slot != text) {
    return where.Error(absl::StrCat("tokens '", *slot, "' and '", text,
                                    "' have the same id ", id));
  }
  slot = std::string(text);
  return absl::OkStatus();
}

absl::Status ReadVocab(const JsonValue& json, HfModel* model) {
  ASSIGN_OR_RETURN(const JsonValue vocab, json.Get("vocab"));
  ASSIGN_OR_RETURN(const auto members, vocab.GetMembers());
  const int64_t max_id = MaxId(members.size());
  model->ids.reserve(members.size() + 64);
  for (const auto& [text, value] : members) {
    ASSIGN_OR_RETURN(const int64_t id, value.GetInteger());
    RETURN_IF_ERROR(Place(value, text, id, max_id, model));
    if (!model->ids.emplace(text, static_cast<int32_t>(id)).second) {
      return value.Error(absl::StrCat("token '", text, "' occurs twice"));
    }
  }
  model->n_model_ids = static_cast<int64_t>(model->texts.size());
  model->n_model_tokens = static_cast<int64_t>(members.size());
  return absl::OkStatus();
}

absl::Status ReadMerge(const JsonValue& json, HfModel* model) {
  std::pair<std::string, std::string> merge;
  if (json.is_string()) {
    ASSIGN_OR_RETURN(const absl::string_view line, json.GetString());
    if (absl::StartsWith(line, "#version")) return absl::OkStatus();
    const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
    if (parts.size() != 2) {
      return json.Error(
          absl::StrCat("merge '", line, "' is not two tokens and a space"));
    }
    merge = {std::string(parts[0]), std::string(parts[1])};
  } else {
    ASSIGN_OR_RETURN(const auto parts, json.GetElements());
    if (parts.size() != 2) return json.Error("a merge is not a pair");
    ASSIGN_OR_RETURN(const absl::string_view left, parts[0].GetString());
    ASSIGN_OR_RETURN(const absl::string_view right, parts[1].GetString());
    merge = {std::string(left), std::string(right)};
  }
  const auto id_of = [&](const std::string& text) {
    const auto it = model->ids.find(text);
    return it == model->ids.end() ? -1 : it->second;
  };
  const std::string both = merge.first + merge.second;
  const BpeMerge ids = {id_of(merge.first), id_of(merge.second),
                        static_cast<int32_t>(model->merges.size()),
                        id_of(both)};
  for (const auto& [id, text] :
       {std::make_pair(ids.left, absl::string_view(merge.first)),
        std::make_pair(ids.right, absl::string_view(merge.second)),
        std::make_pair(ids.merged, absl::string_view(both))}) {
    if (id < 0) {
      return json.Error(absl::StrCat("merge of '", merge.first, "' and '",
                                     merge.second, "': '", text,
                                     "' is not in the vocabulary"));
    }
  }
  model->merge_ids.push_back(ids);
  model->merges.push_back(std::move(merge));
  return absl::OkStatus();
}

absl::StatusOr<bool> BoolOr(const JsonValue& json, absl::string_view key,
                            bool otherwise) {
  const auto value = json.FindNonNull(key);
  return value ? value->GetBool() : otherwise;
}

// Options that change the result and that no published byte-pair model of the
// supported families uses.
absl::Status RefuseRareOptions(const JsonValue& json) {
  if (const auto dropout = json.FindNonNull("dropout")) {
    ASSIGN_OR_RETURN(const double value, dropout->GetNumber());
    if (value != 0) {
      return absl::UnimplementedError(
          absl::StrCat("BPE dropout; ", dropout->Error("found").message()));
    }
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (const auto affix = json.FindNonNull(key)) {
      ASSIGN_OR_RETURN(const absl::string_view text, affix->GetString());
      if (!text.empty()) {
        return absl::UnimplementedError(absl::StrCat(
            "BPE with ", key, "; ", affix->Error("found").message()));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReadModel(const JsonValue& json, HfModel* model) {
  if (const auto type = json.FindNonNull("type")) {
    ASSIGN_OR_RETURN(const absl::string_view name, type->GetString());
    if (name != "BPE") {
      return absl::UnimplementedError(
          absl::StrCat("tokenizer model '", name, "' is not supported, only ",
                       "BPE; ", type->Error("found").message()));
    }
  }
  RETURN_IF_ERROR(RefuseRareOptions(json));
  ASSIGN_OR_RETURN(model->fuse_unk, BoolOr(json, "fuse_unk", false));
  ASSIGN_OR_RETURN(model->byte_fallback, BoolOr(json, "byte_fallback", false));
  ASSIGN_OR_RETURN(model->ignore_merges, BoolOr(json, "ignore_merges", false));
  RETURN_IF_ERROR(ReadVocab(json, model));
  ASSIGN_OR_RETURN(const JsonValue merges, json.Get("merges"));
  ASSIGN_OR_RETURN(const auto lines, merges.GetElements());
  model->merges.reserve(lines.size());
  model->merge_ids.reserve(lines.size());
  for (const JsonValue& line : lines) RETURN_IF_ERROR(ReadMerge(line, model));
  if (const auto unk = json.FindNonNull("unk_token")) {
    ASSIGN_OR_RETURN(const absl::string_view text, unk->GetString());
    model->unk_token = std::string(text);
    const auto it = model->ids.find(text);
    if (it == model->ids.end()) {
      return unk->Error(
          absl::StrCat("unk_token '", text, "' is not in the vocabulary"));
    }
    model->unk_id = it->second;
  }
  return absl::OkStatus();
}

absl::Status ReadAddedToken(const JsonValue& json, int64_t max_id,
                            int64_t* next_id, HfModel* model) {
  AddedToken token;
  ASSIGN_OR_RETURN(const JsonValue content, json.Get("content"));
  ASSIGN_OR_RETURN(const absl::string_view text, content.GetString());
  token.content = std::string(text);
  ASSIGN_OR_RETURN(const JsonValue id_value, json.Get("id"));
  ASSIGN_OR_RETURN(const int64_t id, id_value.GetInteger());
  ASSIGN_OR_RETURN(token.single_word, BoolOr(json, "single_word", false));
  ASSIGN_OR_RETURN(token.lstrip, BoolOr(json, "lstrip", false));
  ASSIGN_OR_RETURN(token.rstrip, BoolOr(json, "rstrip", false));
  ASSIGN_OR_RETURN(token.special, BoolOr(json, "special", false));
  ASSIGN_OR_RETURN(token.normalized,
                   BoolOr(json, "normalized", !token.special));
  const auto it = model->ids.find(text);
  if (it != model->ids.end() && it->second != id) {
    return id_value.Error(absl::StrCat("added token '", text, "' has id ", id,
                                       ", in the vocabulary it has ",
                                       it->second));
  }
  // Tokens outside the model's vocabulary are numbered on from its end, by
  // the published library whatever the file says; a file that says otherwise
  // does not mean the model it came with.
  if (it == model->ids.end()) {
    const int64_t next = std::max(model->n_model_tokens, *next_id);
    if (id != next) {
      return id_value.Error(absl::StrCat("added token '", text, "' has id ", id,
                                         ", the next free one is ", next));
    }
    *next_id = id + 1;
  }
  RETURN_IF_ERROR(Place(id_value, text, id, max_id, model));
  token.id = static_cast<int32_t>(id);
  model->ids.emplace(text, token.id);
  model->added.push_back(std::move(token));
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const JsonValue& root, HfModel* model) {
  const auto list = root.FindNonNull("added_tokens");
  if (!list) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto tokens, list->GetElements());
  const int64_t max_id = MaxId(model->texts.size() + tokens.size());
  int64_t next_id = 0;
  for (const JsonValue& token : tokens) {
    RETURN_IF_ERROR(ReadAddedToken(token, max_id, &next_id, model));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HfModel> ParseHfModel(const JsonValue& root) {
  HfModel model;
  ASSIGN_OR_RETURN(const JsonValue json, root.Get("model"));
  RETURN_IF_ERROR(ReadModel(json, &model));
  RETURN_IF_ERROR(ReadAddedTokens(root, &model));
  return model;
}

std::array<int32_t, 256> HfModel::ByteIds() const {
  std::array<int32_t, 256> result;
  for (int b = 0; b < 256; ++b) {
    const auto it = ids.find(ByteToken(static_cast<uint8_t>(b)));
    result[b] = it == ids.end() || it->second >= n_model_ids ? -1 : it->second;
  }
  return result;
}

BpeModel HfModel::MakeBpe(bool bytes_are_units, bool ignore_merges_too) const {
  BpeOptions options;
  options.bytes_are_units = bytes_are_units;
  options.byte_fallback = byte_fallback && !bytes_are_units;
  options.ignore_merges = ignore_merges_too;
  options.fuse_unknown = fuse_unk;
  options.unk_id = unk_id;
  // Texts in added_tokens alone are no part of the model.
  std::vector<bool> only_added(texts.size());
  for (size_t i = static_cast<size_t>(n_model_ids); i < texts.size(); ++i) {
    only_added[i] = true;
  }
  absl::flat_hash_map<std::string, int32_t> words;
  words.reserve(ids.size());
  for (const auto& [text, id] : ids) {
    if (only_added[id]) continue;
    if (!bytes_are_units) {
      words.emplace(text, id);
    } else if (auto bytes = byte_alphabet::Decode(text)) {
      words.emplace(*std::move(bytes), id);
    }
  }
  return BpeModel(options, std::move(words), ByteIds(),
                  static_cast<int32_t>(texts.size()), merge_ids);
}

}  // namespace narrow
