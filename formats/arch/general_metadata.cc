#include "formats/arch/general_metadata.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/hf/model_card.h"
#include "formats/hf/model_name.h"
#include "formats/json/json.h"

namespace narrow {
namespace {

using Text = std::optional<std::string>;

// What is known of a model; the first source that says something counts.
struct Facts {
  Text name, author, version, organization, finetune, basename, description,
      size_label, license, license_name, license_link, source_url, source_doi,
      source_uuid, source_repo_url;
  // Of each ancestor or data set: (field, text), in the order of GGUF.
  using Relative = std::vector<std::pair<std::string, std::string>>;
  std::optional<std::vector<Relative>> base_models;
  std::optional<std::vector<Relative>> datasets;
  std::optional<std::vector<std::string>> tags;
  std::optional<std::vector<std::string>> languages;
};

void SetOnce(const Text& text, Text* fact) {
  if (!*fact && text) {
    *fact = text;
  }
}

void TakeFrom(const YamlValue& card, const char* key, Text* fact) {
  const YamlValue* value = card.Find(key);
  if (value != nullptr && value->is_scalar()) {
    SetOnce(value->text, fact);
  }
}

// Appends the strings under `key`: one, or a list of them.
void AppendFrom(const YamlValue& card, const char* key,
                std::optional<std::vector<std::string>>* list) {
  const YamlValue* value = card.Find(key);
  if (value == nullptr || value->kind == YamlValue::Kind::kNull) {
    return;
  }
  if (!*list) {
    list->emplace();
  }
  if (value->kind == YamlValue::Kind::kString) {
    (*list)->push_back(value->text);
  }
  for (const YamlValue& item : value->items) {
    if (item.is_scalar()) {
      (*list)->push_back(item.text);
    }
  }
}

// What an id or address of the hub says of the model it names.
Facts::Relative RelativeFromId(absl::string_view id, int64_t n_parameters) {
  Facts::Relative relative;
  const bool is_address = absl::StartsWith(id, "http://") ||
                          absl::StartsWith(id, "https://") ||
                          absl::StartsWith(id, "ssh://");
  std::string repo_url;
  absl::string_view hub_id = id;
  if (is_address) {
    repo_url = std::string(id);
    absl::string_view path = id;
    const bool is_hub =
        (absl::ConsumePrefix(&path, "https://huggingface.co/") ||
         absl::ConsumePrefix(&path, "http://huggingface.co/")) &&
        std::count(path.begin(), path.end(), '/') == 1 && path.front() != '/' &&
        path.back() != '/';
    if (!is_hub) {
      relative.emplace_back("repo_url", repo_url);
      return relative;
    }
    hub_id = path;
  }
  const ModelName name = ParseModelName(hub_id, n_parameters);
  relative.emplace_back("name", TitleOf(name.full_name));
  if (name.version) {
    relative.emplace_back("version", *name.version);
  }
  if (name.organization) {
    relative.emplace_back("organization", TitleOf(*name.organization));
    if (!is_address) {
      repo_url = absl::StrCat("https://huggingface.co/", *name.organization,
                              "/", name.full_name);
    }
  }
  if (!repo_url.empty()) {
    relative.emplace_back("repo_url", repo_url);
  }
  return relative;
}

Facts::Relative RelativeFrom(const YamlValue& value, int64_t n_parameters) {
  if (value.kind != YamlValue::Kind::kMap) {
    return value.kind == YamlValue::Kind::kString
               ? RelativeFromId(value.text, n_parameters)
               : Facts::Relative();
  }
  Facts::Relative relative;
  for (const char* field : {"name", "author", "version", "organization",
                            "description", "url", "doi", "uuid", "repo_url"}) {
    const YamlValue* text = value.Find(field);
    if (text != nullptr && text->is_scalar()) {
      relative.emplace_back(field, text->text);
    }
  }
  return relative;
}

// The first of `keys` that the card has.
std::optional<std::vector<Facts::Relative>> RelativesFrom(
    const YamlValue& card, std::initializer_list<const char*> keys,
    int64_t n_parameters) {
  for (const char* key : keys) {
    const YamlValue* value = card.Find(key);
    if (value == nullptr) {
      continue;
    }
    std::vector<Facts::Relative> relatives;
    if (value->kind == YamlValue::Kind::kString) {
      relatives.push_back(RelativeFrom(*value, n_parameters));
    }
    for (const YamlValue& item : value->items) {
      relatives.push_back(RelativeFrom(item, n_parameters));
    }
    return relatives;
  }
  return std::nullopt;
}

void TakeCard(const YamlValue& card, int64_t n_parameters, Facts* facts) {
  // Three conventions: plain keys, keys with "model_" before them, and those
  // of well-known publishers.
  const std::pair<const char*, Text*> fields[] = {
      {"name", &facts->name},
      {"author", &facts->author},
      {"version", &facts->version},
      {"organization", &facts->organization},
      {"description", &facts->description},
      {"finetune", &facts->finetune},
      {"basename", &facts->basename},
      {"size_label", &facts->size_label},
      {"url", &facts->source_url},
      {"doi", &facts->source_doi},
      {"uuid", &facts->source_uuid},
      {"repo_url", &facts->source_repo_url},
  };
  for (const auto& [key, fact] : fields) {
    TakeFrom(card, key, fact);
  }
  for (const auto& [key, fact] : fields) {
    TakeFrom(card, absl::StrCat("model_", key).c_str(), fact);
  }
  TakeFrom(card, "model_creator", &facts->author);
  TakeFrom(card, "model_type", &facts->basename);
  facts->base_models = RelativesFrom(
      card, {"base_model", "base_models", "base_model_sources"}, n_parameters);
  facts->datasets = RelativesFrom(
      card, {"datasets", "dataset", "dataset_sources"}, n_parameters);
  const YamlValue* license = card.Find("license");
  if (license != nullptr && license->kind == YamlValue::Kind::kList) {
    facts->license = absl::StrJoin(license->items, ",",
                                   [](std::string* out, const YamlValue& item) {
                                     out->append(item.text);
                                   });
  }
  TakeFrom(card, "license", &facts->license);
  TakeFrom(card, "license_name", &facts->license_name);
  TakeFrom(card, "license_link", &facts->license_link);
  AppendFrom(card, "tags", &facts->tags);
  AppendFrom(card, "pipeline_tag", &facts->tags);
  AppendFrom(card, "languages", &facts->languages);
  AppendFrom(card, "language", &facts->languages);
}

void TakeName(absl::string_view id, int64_t n_parameters, Facts* facts) {
  const ModelName name = ParseModelName(id, n_parameters);
  SetOnce(TitleOf(name.full_name), &facts->name);
  if (name.organization) {
    SetOnce(TitleOf(*name.organization), &facts->organization);
  }
  SetOnce(name.basename, &facts->basename);
  SetOnce(name.finetune, &facts->finetune);
  SetOnce(name.version, &facts->version);
  SetOnce(name.size_label, &facts->size_label);
}

// The last component of a path; nothing for ".".
std::string FolderName(absl::string_view folder) {
  std::string name;
  for (absl::string_view part :
       absl::StrSplit(folder, '/', absl::SkipEmpty())) {
    if (part != ".") {
      name = std::string(part);
    }
  }
  return name;
}

absl::Status TakeConfig(absl::string_view folder, int64_t n_parameters,
                        Facts* facts) {
  const std::string file = JoinPath(folder, "config.json");
  if (!FileExists(file)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto document, JsonDocument::ReadFile(file));
  std::optional<JsonValue> value =
      document->root().FindNonNull("_name_or_path");
  if (!value || !value->is_string()) {
    return absl::OkStatus();
  }
  // More slashes make it a path on the publisher's machine.
  ASSIGN_OR_RETURN(const absl::string_view id, value->GetString());
  if (std::count(id.begin(), id.end(), '/') <= 1) {
    TakeName(id, n_parameters, facts);
  }
  return absl::OkStatus();
}

// general.sampling.* from generation_config.json. A file that is no JSON is
// passed over, as is a value of another type.
void AddSampling(absl::string_view folder, Metadata* metadata) {
  const std::string file = JoinPath(folder, "generation_config.json");
  if (!FileExists(file)) {
    return;
  }
  const auto document = JsonDocument::ReadFile(file);
  if (!document.ok() || !(*document)->root().is_object()) {
    return;
  }
  const JsonValue& config = (*document)->root();
  if (auto sequence = config.FindNonNull("sequence");
      sequence && sequence->is_string() && !sequence->GetString()->empty()) {
    metadata->Set("general.sampling.sequence",
                  std::string(*sequence->GetString()));
  }
  struct Field {
    const char* gguf;
    const char* key;
    const char* other_key;
    bool is_integer;
  };
  constexpr Field kFields[] = {
      {"top_k", "top_k", "", true},
      {"top_p", "top_p", "", false},
      {"min_p", "min_p", "", false},
      {"xtc_probability", "xtc_probability", "", false},
      {"xtc_threshold", "xtc_threshold", "", false},
      {"temp", "temperature", "", false},
      {"penalty_last_n", "penalty_last_n", "", true},
      {"penalty_repeat", "penalty_repeat", "repetition_penalty", false},
      {"mirostat", "mirostat", "", true},
      {"mirostat_tau", "mirostat_tau", "", false},
      {"mirostat_eta", "mirostat_eta", "", false},
  };
  for (const Field& field : kFields) {
    std::optional<JsonValue> value = config.Find(field.key);
    if (!value && *field.other_key != '\0') {
      value = config.Find(field.other_key);
    }
    if (!value || !value->is_number()) {
      continue;
    }
    const std::string name = absl::StrCat("general.sampling.", field.gguf);
    if (!field.is_integer) {
      metadata->Set(name, static_cast<float>(*value->GetNumber()));
    } else if (value->is_integer()) {
      const absl::StatusOr<int64_t> n = value->GetInteger();
      if (n.ok() && *n >= INT32_MIN && *n <= INT32_MAX) {
        metadata->Set(name, static_cast<int32_t>(*n));
      }
    }
  }
}

void AddRelatives(absl::string_view kind,
                  const std::optional<std::vector<Facts::Relative>>& relatives,
                  Metadata* metadata) {
  if (!relatives) {
    return;
  }
  metadata->Set(absl::StrCat("general.", kind, ".count"),
                static_cast<uint32_t>(relatives->size()));
  for (size_t i = 0; i < relatives->size(); ++i) {
    for (const auto& [field, text] : (*relatives)[i]) {
      if (!text.empty()) {
        metadata->Set(absl::StrCat("general.", kind, ".", i, ".", field), text);
      }
    }
  }
}

void AddFacts(const Facts& facts, Metadata* metadata) {
  const std::pair<const char*, const Text&> fields[] = {
      {"name", facts.name},
      {"author", facts.author},
      {"version", facts.version},
      {"organization", facts.organization},
      {"finetune", facts.finetune},
      {"basename", facts.basename},
      {"description", facts.description},
      {"size_label", facts.size_label},
      {"license", facts.license},
      {"license.name", facts.license_name},
      {"license.link", facts.license_link},
      {"source.url", facts.source_url},
      {"source.doi", facts.source_doi},
      {"source.uuid", facts.source_uuid},
      {"source.repo_url", facts.source_repo_url},
  };
  for (const auto& [key, fact] : fields) {
    if (fact && !fact->empty()) {
      metadata->Set(absl::StrCat("general.", key), *fact);
    }
  }
  AddRelatives("base_model", facts.base_models, metadata);
  AddRelatives("dataset", facts.datasets, metadata);
  if (facts.tags && !facts.tags->empty()) {
    metadata->Set("general.tags", *facts.tags);
  }
  if (facts.languages && !facts.languages->empty()) {
    metadata->Set("general.languages", *facts.languages);
  }
}

}  // namespace

ParameterCount CountParameters(absl::Span<const CheckpointTensor> tensors) {
  ParameterCount count;
  int64_t n_stacks = 0;
  int64_t n_experts = 0;
  for (const CheckpointTensor& tensor : tensors) {
    const int64_t n = tensor.meta.n_elements();
    count.total += n;
    if (absl::StrContains(tensor.meta.name, "_exps.") &&
        tensor.meta.shape.size() >= 3) {
      count.expert += n / tensor.meta.shape[0];
      n_experts += tensor.meta.shape[0];
      ++n_stacks;
    } else {
      count.shared += n;
    }
  }
  count.n_experts = n_stacks > 0 ? n_experts / n_stacks : 0;
  return count;
}

std::string SizeLabel(const ParameterCount& count) {
  return count.n_experts > 0
             ? absl::StrCat(count.n_experts, "x",
                            RoundedCount(count.shared + count.expert))
             : RoundedCount(count.total);
}

absl::Status AddGeneralMetadata(const GeneralMetadataInputs& inputs,
                                Metadata* metadata) {
  const int64_t n_parameters = inputs.parameters.total;
  Facts facts;
  const std::string readme = JoinPath(inputs.folder, "README.md");
  if (FileExists(readme)) {
    ASSIGN_OR_RETURN(const std::string text, ReadTextFile(readme, 64 << 20));
    TakeCard(ParseModelCard(text), n_parameters, &facts);
  }
  RETURN_IF_ERROR(TakeConfig(inputs.folder, n_parameters, &facts));
  TakeName(FolderName(inputs.folder), n_parameters, &facts);
  if (!inputs.model_name.empty()) {
    facts.name = inputs.model_name;
  }
  if (!facts.size_label && n_parameters > 0) {
    facts.size_label = SizeLabel(inputs.parameters);
  }
  metadata->Set("general.type", std::string("model"));
  AddSampling(inputs.folder, metadata);
  AddFacts(facts, metadata);
  return absl::OkStatus();
}

}  // namespace narrow
