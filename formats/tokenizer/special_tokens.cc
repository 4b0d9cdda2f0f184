#include "formats/tokenizer/special_tokens.h"

#include <dirent.h>

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr int64_t kMaxTemplateBytes = 16 << 20;

// What tokenizer_config.json has under "bos_token" and the like. Objects
// compare unequal to any text, as the rules below want it.
struct Entry {
  enum class Kind { kNone, kText, kObject } kind = Kind::kNone;
  std::string text;  // of an object: its "content"
  bool has_content = false;

  bool Is(const std::string& other) const {
    return kind == Kind::kText && text == other;
  }
  bool IsSet() const {
    return kind == Kind::kObject || (kind == Kind::kText && !text.empty());
  }
  static Entry Text(std::string text) {
    return {Kind::kText, std::move(text), true};
  }
};

Entry ReadEntry(const std::optional<JsonValue>& value) {
  Entry entry;
  if (!value) return entry;
  if (value->is_string()) return Entry::Text(std::string(*value->GetString()));
  if (value->is_object()) {
    entry.kind = Entry::Kind::kObject;
    const auto content = value->Find("content");
    if (content && content->is_string()) {
      entry.text = std::string(*content->GetString());
      entry.has_content = true;
    }
  }
  return entry;
}

class Reader {
 public:
  Reader(const TokenizerFiles& files, std::vector<std::string> types,
         std::optional<int64_t> n_vocab, Vocabulary* v)
      : files_(files), types_(std::move(types)), n_vocab_(n_vocab), v_(v) {}

  absl::Status ReadAll() {
    if (files_.tokenizer_config != nullptr) {
      const auto members = files_.tokenizer_config->root().GetMembers();
      // An empty object counts as no file.
      if (members.ok() && !members->empty()) {
        config_ = files_.tokenizer_config->root();
      }
    }
    for (const char* type : {"bos", "eos", "cls", "sep"}) {
      entries_[type] = FromConfig(type);
    }
    if (files_.tokenizer != nullptr) {
      RETURN_IF_ERROR(ReadTokenizerJson(files_.tokenizer->root()));
    }
    if (config_) {
      RETURN_IF_ERROR(ReadTemplates());
      RETURN_IF_ERROR(ReadTokenizerConfig());
    }
    return ReadConfigIds();
  }

  absl::Status SetId(const std::string& type, int64_t id) {
    if (id < 0) {
      return absl::DataLossError(absl::StrCat(
          "special token '", type, "' has id ", id, " in ", files_.folder));
    }
    if (n_vocab_ && id >= *n_vocab_) return absl::OkStatus();
    if (!v_->SpecialId(type)) v_->special_ids.emplace_back(type, id);
    return absl::OkStatus();
  }

 private:
  Entry FromConfig(const std::string& type) const {
    return config_ ? ReadEntry(config_->FindNonNull(type + "_token")) : Entry();
  }
  // The converter edits its copy of tokenizer_config.json; so do we, if there
  // is one to edit.
  void Override(const std::string& type, Entry entry) {
    if (config_) overrides_[type] = entry;
    entries_[type] = std::move(entry);
  }

  void SetAdd(const std::string& type, bool add) {
    for (auto& [known, value] : v_->add_special) {
      if (known == type) {
        value = add;
        return;
      }
    }
    v_->add_special.emplace_back(type, add);
  }

  absl::Status ReadTokenizerJson(const JsonValue& root) {
    if (const auto normalizer = root.FindNonNull("normalizer")) {
      RETURN_IF_ERROR(ReadNormalizer(*normalizer, 0));
    }
    if (config_ && !entries_["bos"].IsSet() && entries_["cls"].IsSet()) {
      Override("bos", entries_["cls"]);
    }
    if (config_ && !entries_["eos"].IsSet() && entries_["sep"].IsSet()) {
      Override("eos", entries_["sep"]);
    }
    const auto post = root.FindNonNull("post_processor");
    if (!post) return absl::OkStatus();
    const auto list = post->Find("processors");
    if (!list) return ReadProcessor(*post);
    ASSIGN_OR_RETURN(const auto processors, list->GetElements());
    for (const JsonValue& processor : processors) {
      RETURN_IF_ERROR(ReadProcessor(processor));
    }
    return absl::OkStatus();
  }

  absl::Status ReadNormalizer(const JsonValue& json, int depth) {
    const auto type = json.Find("type");
    if (!type || !type->is_string() || depth > 16) return absl::OkStatus();
    const absl::string_view name = *type->GetString();
    if (name == "Lowercase") v_->normalizer_lowercase = true;
    if (name == "StripAccents") v_->normalizer_strip_accents = true;
    if (name != "Sequence") return absl::OkStatus();
    ASSIGN_OR_RETURN(const JsonValue list, json.Get("normalizers"));
    ASSIGN_OR_RETURN(const auto members, list.GetElements());
    for (const JsonValue& member : members) {
      RETURN_IF_ERROR(ReadNormalizer(member, depth + 1));
    }
    return absl::OkStatus();
  }

  absl::Status ReadProcessor(const JsonValue& json) {
    const auto type = json.Find("type");
    if (!type || !type->is_string()) return absl::OkStatus();
    const absl::string_view name = *type->GetString();
    if (name == "ByteLevel") {
      for (const char* token : {"bos", "eos"}) {
        if (!v_->AddsSpecial(token)) SetAdd(token, false);
      }
    } else if (name == "RobertaProcessing") {
      for (const char* token : {"bos", "eos", "sep"}) SetAdd(token, true);
      OverrideFromPair(json, "cls", "bos");
      OverrideFromPair(json, "sep", "eos");
    } else if (name == "TemplateProcessing") {
      return ReadTemplate(json);
    }
    return absl::OkStatus();
  }

  // ["</s>", 2] under `type`, if tokenizer_config.json has no such token.
  void OverrideFromPair(const JsonValue& json, const std::string& type,
                        const std::string& otherwise) {
    if (!config_ || entries_[type].IsSet()) return;
    Entry entry = entries_[otherwise];
    if (const auto pair = json.Find(type)) {
      const auto parts = pair->GetElements();
      if (parts.ok() && !parts->empty()) entry = ReadEntry((*parts)[0]);
    }
    Override(type, std::move(entry));
  }

  static std::string SpecialAt(const JsonValue& item) {
    const auto token = item.Find("SpecialToken");
    const auto id = token ? token->Find("id") : std::nullopt;
    return id && id->is_string() ? std::string(*id->GetString()) : "";
  }
  static std::string SequenceAt(const JsonValue& item) {
    const auto token = item.Find("Sequence");
    const auto id = token ? token->Find("id") : std::nullopt;
    return id && id->is_string() ? std::string(*id->GetString()) : "";
  }

  static absl::StatusOr<std::vector<JsonValue>> ItemsOf(const JsonValue& json,
                                                        absl::string_view key) {
    const auto list = json.Find(key);
    if (!list) return std::vector<JsonValue>();
    return list->GetElements();
  }

  absl::Status ReadTemplate(const JsonValue& json) {
    ASSIGN_OR_RETURN(const auto single, ItemsOf(json, "single"));
    ASSIGN_OR_RETURN(const auto pair, ItemsOf(json, "pair"));
    std::string first, last;
    if (single.size() > 1) {
      first = SpecialAt(single.front());
      if (!first.empty()) ReadFirst(first);
      last = SpecialAt(single.back());
      if (!last.empty()) ReadLast(last);
    }
    ReadPair(pair, first, last);
    return absl::OkStatus();
  }

  void ReadFirst(const std::string& first) {
    const auto known = [&] {
      return entries_["bos"].Is(first) || entries_["cls"].Is(first);
    };
    if (!config_) {
      entries_["bos"] = Entry::Text(first);
    } else if (!known()) {
      if (!entries_["bos"].IsSet()) Override("bos", Entry::Text(first));
      if (!entries_["cls"].IsSet()) Override("cls", Entry::Text(first));
    }
    SetAdd("bos", known());
  }

  void ReadLast(const std::string& last) {
    if (!config_) {
      entries_["eos"] = Entry::Text(last);
    } else if (!entries_["eos"].Is(last)) {
      // What ended a text before now ends a turn, or a message.
      for (const char* type : {"eot", "eom"}) {
        if (std::find(types_.begin(), types_.end(), type) == types_.end()) {
          types_.push_back(type);
          overrides_[type] = entries_["eos"];
          break;
        }
      }
      Override("eos", Entry::Text(last));
    }
    SetAdd("eos", true);
  }

  // Looks for A [sep] [eos] B between the outer tokens of the pair.
  void ReadPair(const std::vector<JsonValue>& pair, const std::string& first,
                const std::string& last) {
    if (pair.empty()) return;
    size_t begin = 0, end = pair.size();
    if (!first.empty() && SpecialAt(pair.front()) == first) ++begin;
    if (!last.empty() && SpecialAt(pair.back()) == last) --end;
    if (begin >= end || SequenceAt(pair[begin]) != "A" ||
        SequenceAt(pair[end - 1]) != "B" || end - begin < 3) {
      return;
    }
    const auto ends_a_part = [&](const JsonValue& item) {
      const std::string name = SpecialAt(item);
      return !name.empty() &&
             (entries_["sep"].Is(name) || entries_["eos"].Is(name));
    };
    bool add = ends_a_part(pair[begin + 1]) && last.empty();
    if (end - begin == 4 && ends_a_part(pair[begin + 2])) add = true;
    SetAdd("sep", add);
    if (add && config_ && !entries_["sep"].IsSet()) {
      overrides_["sep"] = entries_["eos"];
    }
  }

  absl::Status ReadTokenizerConfig() {
    std::map<std::string, JsonValue> added;  // the first of each content
    if (files_.tokenizer != nullptr) {
      if (const auto list =
              files_.tokenizer->root().FindNonNull("added_tokens")) {
        ASSIGN_OR_RETURN(const auto tokens, list->GetElements());
        for (const JsonValue& token : tokens) {
          const auto content = token.Find("content");
          const auto id = token.Find("id");
          if (content && content->is_string() && id) {
            added.emplace(std::string(*content->GetString()), *id);
          }
        }
      }
    }
    for (const std::string& type : types_) {
      const auto add = config_->Find(absl::StrCat("add_", type, "_token"));
      if (add && add->is_bool() && !v_->AddsSpecial(type)) {
        SetAdd(type, *add->GetBool());
      }
      const auto override = overrides_.find(type);
      const Entry entry =
          override != overrides_.end() ? override->second : FromConfig(type);
      if (entry.kind == Entry::Kind::kNone || !entry.has_content) continue;
      const auto it = added.find(entry.text);
      if (it == added.end() || !it->second.is_integer()) continue;
      ASSIGN_OR_RETURN(const int64_t id, it->second.GetInteger());
      RETURN_IF_ERROR(SetId(type, id));
    }
    return absl::OkStatus();
  }

  absl::Status ReadConfigIds() {
    if (files_.config == nullptr) return absl::OkStatus();
    const JsonValue root = files_.config->root();
    const auto text_config = root.FindNonNull("text_config");
    for (const std::string& type : types_) {
      const std::string key = type + "_token_id";
      auto value = root.FindNonNull(key);
      if (!value && text_config) value = text_config->FindNonNull(key);
      if (!value || !value->is_integer()) continue;
      ASSIGN_OR_RETURN(const int64_t id, value->GetInteger());
      RETURN_IF_ERROR(SetId(type, id));
    }
    return absl::OkStatus();
  }

  absl::Status ReadTemplates() {
    v_->chat_templates.clear();
    v_->chat_templates_are_list = false;
    if (const auto value = config_->Find("chat_template")) {
      return ReadTemplateValue(*value);
    }
    const std::string jinja = JoinPath(files_.folder, "chat_template.jinja");
    const std::string json = JoinPath(files_.folder, "chat_template.json");
    if (FileExists(jinja)) return ReadTemplateFiles(jinja);
    if (FileExists(json)) {
      ASSIGN_OR_RETURN(const auto document, JsonDocument::ReadFile(json));
      if (const auto value = document->root().Find("chat_template")) {
        return ReadTemplateValue(*value);
      }
    }
    return absl::OkStatus();
  }

  // A text, or a list of names and texts; anything else is passed over.
  absl::Status ReadTemplateValue(const JsonValue& value) {
    if (value.is_string()) {
      v_->chat_templates.push_back({"", std::string(*value.GetString())});
    } else if (value.is_array()) {
      v_->chat_templates_are_list = true;
      ASSIGN_OR_RETURN(const auto choices, value.GetElements());
      for (const JsonValue& choice : choices) {
        const auto name = choice.FindNonNull("name");
        const auto text = choice.FindNonNull("template");
        if (!name || !text) continue;
        ASSIGN_OR_RETURN(const absl::string_view name_text, name->GetString());
        ASSIGN_OR_RETURN(const absl::string_view body, text->GetString());
        v_->chat_templates.push_back(
            {std::string(name_text), std::string(body)});
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadTemplateFiles(const std::string& jinja) {
    ASSIGN_OR_RETURN(const std::string text,
                     ReadTextFile(jinja, kMaxTemplateBytes));
    v_->chat_templates.push_back({"", UniversalNewlines(text)});
    const std::string folder =
        JoinPath(files_.folder, "additional_chat_templates");
    std::vector<std::string> names;
    if (DIR* dir = opendir(folder.c_str())) {
      while (const dirent* entry = readdir(dir)) {
        const std::string name = entry->d_name;
        if (absl::EndsWith(name, ".jinja")) names.push_back(name);
      }
      closedir(dir);
    }
    if (names.empty()) return absl::OkStatus();
    std::sort(names.begin(), names.end());
    v_->chat_templates_are_list = true;
    v_->chat_templates[0].name = "default";
    for (const std::string& name : names) {
      ASSIGN_OR_RETURN(const std::string more,
                       ReadTextFile(JoinPath(folder, name), kMaxTemplateBytes));
      const std::string stem = name.substr(0, name.size() - 6);
      v_->chat_templates.push_back({stem, UniversalNewlines(more)});
    }
    return absl::OkStatus();
  }

  // Python opens text files so.
  static std::string UniversalNewlines(absl::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\r') {
        out.push_back(text[i]);
      } else {
        out.push_back('\n');
        if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
      }
    }
    return out;
  }

  const TokenizerFiles& files_;
  std::optional<JsonValue> config_;  // tokenizer_config.json, if not empty
  std::vector<std::string> types_;
  std::optional<int64_t> n_vocab_;
  Vocabulary* v_;
  std::map<std::string, Entry> entries_;    // as known so far
  std::map<std::string, Entry> overrides_;  // of tokenizer_config.json
};

absl::StatusOr<std::unique_ptr<const JsonDocument>> ReadIfThere(
    absl::string_view folder, absl::string_view name) {
  const std::string path = JoinPath(folder, name);
  if (!FileExists(path)) return std::unique_ptr<const JsonDocument>();
  ASSIGN_OR_RETURN(auto document, JsonDocument::ReadFile(path));
  if (!document->root().is_object()) {
    return document->root().Error("not a JSON object");
  }
  return document;
}

}  // namespace

absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(absl::string_view folder) {
  TokenizerFiles files;
  files.folder = std::string(folder);
  if (!IsDirectory(folder)) {
    return absl::NotFoundError(absl::StrCat("'", folder, "' is not a folder"));
  }
  ASSIGN_OR_RETURN(files.tokenizer, ReadIfThere(folder, "tokenizer.json"));
  ASSIGN_OR_RETURN(files.tokenizer_config,
                   ReadIfThere(folder, "tokenizer_config.json"));
  ASSIGN_OR_RETURN(files.config, ReadIfThere(folder, "config.json"));
  return files;
}

absl::Status ReadSpecialTokens(const TokenizerFiles& files,
                               std::optional<int64_t> n_vocab,
                               Vocabulary* vocabulary) {
  Reader reader(files, {"bos", "eos", "unk", "sep", "pad", "cls", "mask"},
                n_vocab, vocabulary);
  return reader.ReadAll();
}

absl::Status AddInfillTokens(const TokenizerFiles& files, int64_t id,
                             Vocabulary* vocabulary) {
  Vocabulary infill;
  Reader reader(files, {"eot"}, std::nullopt, &infill);
  RETURN_IF_ERROR(reader.ReadAll());
  RETURN_IF_ERROR(reader.SetId("eot", id));
  vocabulary->late_special_ids = std::move(infill.special_ids);
  return absl::OkStatus();
}

}  // namespace narrow
