#include "formats/tokenizer/vocabulary.h"

#include <algorithm>
#include <cctype>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr char kModelKey[] = "tokenizer.ggml.model";
constexpr char kPreKey[] = "tokenizer.ggml.pre";
constexpr char kTokensKey[] = "tokenizer.ggml.tokens";
constexpr char kTypesKey[] = "tokenizer.ggml.token_type";
constexpr char kScoresKey[] = "tokenizer.ggml.scores";
constexpr char kMergesKey[] = "tokenizer.ggml.merges";
constexpr char kSpacePrefixKey[] = "tokenizer.ggml.add_space_prefix";
constexpr char kTemplateKey[] = "tokenizer.chat_template";
constexpr char kTemplatesKey[] = "tokenizer.chat_templates";
constexpr char kLowercaseKey[] = "tokenizer.ggml.normalizer.lowercase";
constexpr char kStripAccentsKey[] = "tokenizer.ggml.normalizer.strip_accents";

struct SpecialKey {
  const char* name;
  const char* key;  // "seperator" is how the format spells it
};
constexpr SpecialKey kSpecialKeys[] = {
    {"bos", "tokenizer.ggml.bos_token_id"},
    {"eos", "tokenizer.ggml.eos_token_id"},
    {"eot", "tokenizer.ggml.eot_token_id"},
    {"eom", "tokenizer.ggml.eom_token_id"},
    {"unk", "tokenizer.ggml.unknown_token_id"},
    {"sep", "tokenizer.ggml.seperator_token_id"},
    {"pad", "tokenizer.ggml.padding_token_id"},
    {"mask", "tokenizer.ggml.mask_token_id"},
};
constexpr SpecialKey kAddKeys[] = {
    {"bos", "tokenizer.ggml.add_bos_token"},
    {"eos", "tokenizer.ggml.add_eos_token"},
    {"sep", "tokenizer.ggml.add_sep_token"},
};

template <typename T>
const T* FindAs(const Metadata& metadata, absl::string_view key) {
  const MetadataValue* value = metadata.Find(key);
  return value == nullptr ? nullptr : std::get_if<T>(value);
}

absl::Status KeyError(absl::string_view key, absl::string_view cause) {
  return absl::DataLossError(absl::StrCat("key '", key, "': ", cause));
}

absl::Status ReadTypes(const Metadata& metadata, Vocabulary* v) {
  v->types.assign(v->tokens.size(), TokenType::kNormal);
  if (!metadata.Has(kTypesKey)) return absl::OkStatus();
  const auto types = metadata.GetIntegers(kTypesKey);
  if (!types) return KeyError(kTypesKey, "not a list of integers");
  if (types->size() != v->tokens.size()) {
    return KeyError(kTypesKey,
                    absl::StrCat("has ", types->size(), " entries for ",
                                 v->tokens.size(), " tokens"));
  }
  for (size_t i = 0; i < types->size(); ++i) {
    const int64_t type = (*types)[i];
    if (type < 0 || type > static_cast<int64_t>(TokenType::kByte)) {
      return KeyError(kTypesKey,
                      absl::StrCat("unknown type ", type, " of token ", i));
    }
    // 0 is "undefined": a token like any other that never prints.
    v->types[i] = static_cast<TokenType>(type);
  }
  return absl::OkStatus();
}

absl::Status ReadScores(const Metadata& metadata, Vocabulary* v) {
  if (const auto* scores = FindAs<std::vector<float>>(metadata, kScoresKey)) {
    v->scores = *scores;
  } else if (const auto ints = metadata.GetIntegers(kScoresKey)) {
    v->scores.assign(ints->begin(), ints->end());
  } else if (metadata.Has(kScoresKey)) {
    return KeyError(kScoresKey, "not a list of numbers");
  } else {
    v->scores.assign(v->tokens.size(), 0.0f);
  }
  if (v->scores.size() != v->tokens.size()) {
    return KeyError(kScoresKey,
                    absl::StrCat("has ", v->scores.size(), " entries for ",
                                 v->tokens.size(), " tokens"));
  }
  return absl::OkStatus();
}

absl::Status ReadTokens(const Metadata& metadata, Vocabulary* v) {
  const auto* tokens = FindAs<std::vector<std::string>>(metadata, kTokensKey);
  if (tokens == nullptr) return KeyError(kTokensKey, "not a list of strings");
  if (tokens->empty()) return KeyError(kTokensKey, "no tokens");
  v->tokens = *tokens;
  absl::flat_hash_set<absl::string_view> seen;
  seen.reserve(v->tokens.size());
  for (size_t i = 0; i < v->tokens.size(); ++i) {
    // As the published reader names them.
    if (v->tokens[i].empty()) v->tokens[i] = absl::StrCat("[EMPTY_", i, "]");
    if (!seen.insert(v->tokens[i]).second) {
      return KeyError(kTokensKey, absl::StrCat("token ", i, " '", v->tokens[i],
                                               "' occurs twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSpecial(const Metadata& metadata, Vocabulary* v) {
  const auto n = static_cast<int64_t>(v->tokens.size());
  for (const Metadata::Entry& entry : metadata.entries()) {
    for (const SpecialKey& row : kSpecialKeys) {
      if (entry.first != row.key) continue;
      const auto id = metadata.GetInteger(row.key);
      if (!id) return KeyError(row.key, "not an integer");
      if (*id < 0 || *id >= n) {
        return KeyError(row.key, absl::StrCat("id ", *id, " for ", n,
                                              " tokens is out of range"));
      }
      v->special_ids.emplace_back(row.name, *id);
    }
    for (const SpecialKey& row : kAddKeys) {
      if (entry.first != row.key) continue;
      const auto add = metadata.GetBool(row.key);
      if (!add) return KeyError(row.key, "not a bool");
      v->add_special.emplace_back(row.name, *add);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadTemplates(const Metadata& metadata, Vocabulary* v) {
  const std::string prefix = absl::StrCat(kTemplateKey, ".");
  for (const Metadata::Entry& entry : metadata.entries()) {
    if (entry.first.rfind(prefix, 0) != 0) continue;
    const auto* text = std::get_if<std::string>(&entry.second);
    if (text == nullptr) return KeyError(entry.first, "not a string");
    v->chat_templates.push_back({entry.first.substr(prefix.size()), *text});
    v->chat_templates_are_list = true;
  }
  if (metadata.Has(kTemplateKey)) {
    const auto text = metadata.GetString(kTemplateKey);
    if (!text) return KeyError(kTemplateKey, "not a string");
    v->chat_templates.push_back(
        {v->chat_templates_are_list ? "default" : "", *text});
  }
  return absl::OkStatus();
}

void AddSpecialIds(const std::vector<std::pair<std::string, int64_t>>& ids,
                   Metadata* metadata) {
  for (const auto& [name, id] : ids) {
    for (const SpecialKey& row : kSpecialKeys) {
      if (name == row.name) metadata->Set(row.key, static_cast<uint32_t>(id));
    }
  }
}

std::string KeyName(absl::string_view name) {
  std::string out;
  for (const char c : name) {
    out.push_back(isalnum(static_cast<unsigned char>(c)) ? c : '_');
  }
  return out;
}

void AddTemplates(const Vocabulary& v, Metadata* metadata) {
  if (!v.chat_templates_are_list) {
    for (const NamedChatTemplate& chat : v.chat_templates) {
      metadata->Set(kTemplateKey, chat.text);
    }
    return;
  }
  const std::string* default_text = nullptr;
  std::vector<std::string> names;
  for (const NamedChatTemplate& chat : v.chat_templates) {
    const std::string name = KeyName(chat.name);
    if (name.empty()) continue;
    if (name == "default") {
      default_text = &chat.text;
      continue;
    }
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
    metadata->Set(absl::StrCat(kTemplateKey, ".", name), chat.text);
  }
  if (!names.empty()) metadata->Set(kTemplatesKey, names);
  if (default_text != nullptr) metadata->Set(kTemplateKey, *default_text);
}

}  // namespace

std::optional<int64_t> Vocabulary::SpecialId(absl::string_view name) const {
  for (const auto* ids : {&special_ids, &late_special_ids}) {
    for (const auto& [known, id] : *ids) {
      if (known == name) return id;
    }
  }
  return std::nullopt;
}

std::optional<bool> Vocabulary::AddsSpecial(absl::string_view name) const {
  for (const auto& [known, add] : add_special) {
    if (known == name) return add;
  }
  return std::nullopt;
}

absl::StatusOr<Vocabulary> VocabularyFromGguf(const Metadata& metadata) {
  Vocabulary v;
  const auto kind = metadata.GetString(kModelKey);
  if (!kind) return KeyError(kModelKey, "missing, or not a string");
  if (*kind == "gpt2") {
    v.kind = VocabularyKind::kGpt2;
  } else if (*kind == "llama") {
    v.kind = VocabularyKind::kLlama;
  } else {
    return absl::UnimplementedError(absl::StrCat(
        "tokenizer model '", *kind, "' is not supported, only gpt2 and llama"));
  }
  v.pre = metadata.GetString(kPreKey).value_or("");
  RETURN_IF_ERROR(ReadTokens(metadata, &v));
  RETURN_IF_ERROR(ReadTypes(metadata, &v));
  if (v.kind == VocabularyKind::kLlama) {
    RETURN_IF_ERROR(ReadScores(metadata, &v));
  } else {
    const auto* merges = FindAs<std::vector<std::string>>(metadata, kMergesKey);
    if (merges == nullptr) return KeyError(kMergesKey, "not a list of strings");
    v.merges = *merges;
  }
  RETURN_IF_ERROR(ReadSpecial(metadata, &v));
  if (metadata.Has(kSpacePrefixKey)) {
    v.add_space_prefix = metadata.GetBool(kSpacePrefixKey);
    if (!v.add_space_prefix) return KeyError(kSpacePrefixKey, "not a bool");
  }
  RETURN_IF_ERROR(ReadTemplates(metadata, &v));
  v.normalizer_lowercase = metadata.GetBool(kLowercaseKey);
  v.normalizer_strip_accents = metadata.GetBool(kStripAccentsKey);
  v.model_name = metadata.GetString("general.name").value_or("");
  return v;
}

void AddTokenizerMetadata(const Vocabulary& v, Metadata* metadata) {
  const bool is_llama = v.kind == VocabularyKind::kLlama;
  if (v.add_space_prefix && v.space_prefix_first) {
    metadata->Set(kSpacePrefixKey, *v.add_space_prefix);
  }
  metadata->Set(kModelKey, std::string(is_llama ? "llama" : "gpt2"));
  metadata->Set(kPreKey, v.pre);
  metadata->Set(kTokensKey, v.tokens);
  if (is_llama) metadata->Set(kScoresKey, v.scores);
  std::vector<int32_t> types;
  types.reserve(v.types.size());
  for (const TokenType type : v.types) {
    types.push_back(static_cast<int32_t>(type));
  }
  metadata->Set(kTypesKey, std::move(types));
  if (!v.merges.empty()) metadata->Set(kMergesKey, v.merges);
  AddSpecialIds(v.special_ids, metadata);
  for (const auto& [name, add] : v.add_special) {
    for (const SpecialKey& row : kAddKeys) {
      if (name == row.name) metadata->Set(row.key, add);
    }
  }
  AddTemplates(v, metadata);
  AddSpecialIds(v.late_special_ids, metadata);
  if (v.normalizer_lowercase) {
    metadata->Set(kLowercaseKey, *v.normalizer_lowercase);
  }
  if (v.normalizer_strip_accents) {
    metadata->Set(kStripAccentsKey, *v.normalizer_strip_accents);
  }
  if (v.add_space_prefix && !v.space_prefix_first) {
    metadata->Set(kSpacePrefixKey, *v.add_space_prefix);
  }
}

}  // namespace narrow
