#include "converter/provenance/manifest.h"

#include <cmath>
#include <cstdio>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "formats/base/file.h"
#include "formats/base/hash/sha256.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_split.h"
#include "formats/json/json_writer.h"
#include "formats/quant_type.h"

namespace narrow {
namespace {

constexpr int64_t kFormat = 1;
// A million tensors take about a fifth of it.
constexpr int64_t kMaxBytes = int64_t{1} << 29;

absl::Status Bad(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the manifest is damaged: ", what));
}

absl::Status CheckHash(const std::string& hash, absl::string_view of) {
  return Sha256Digest::FromHex(hash).has_value()
             ? absl::OkStatus()
             : Bad(absl::StrCat("the hash of ", QuotedName(of), " is ",
                                QuotedName(hash)));
}

// Whether a name stays in its folder.
bool IsRelative(absl::string_view name) {
  if (name.empty() || name[0] == '/' || name.find('\0') != name.npos) {
    return false;
  }
  for (const absl::string_view part : absl::StrSplit(name, '/')) {
    if (part.empty() || part == "." || part == "..") {
      return false;
    }
  }
  return true;
}

absl::Status CheckModel(const provenance::Model& model) {
  RETURN_IF_ERROR(CheckHash(model.sha256(), model.role()));
  std::set<std::string> names;
  for (const provenance::Tensor& tensor : model.tensors()) {
    RETURN_IF_ERROR(CheckHash(tensor.sha256(), tensor.name()));
    const auto type = TypeFromName(tensor.type());
    if (!type.has_value()) {
      return Bad(absl::StrCat("tensor ", QuotedName(tensor.name()),
                              " has the unknown type ",
                              QuotedName(tensor.type())));
    }
    RETURN_IF_ERROR(
        Annotate(TensorBytes(*type, {tensor.shape().data(),
                                     static_cast<size_t>(tensor.shape_size())})
                     .status(),
                 absl::StrCat("the manifest is damaged: tensor ",
                              QuotedName(tensor.name()))));
    if (!names.insert(tensor.name()).second) {
      return Bad(absl::StrCat("tensor ", QuotedName(tensor.name()),
                              " is there twice"));
    }
  }
  names.clear();
  for (const provenance::File& file : model.files()) {
    RETURN_IF_ERROR(CheckHash(file.sha256(), file.name()));
    if (!IsRelative(file.name()) || !names.insert(file.name()).second) {
      return Bad(absl::StrCat("file ", QuotedName(file.name()),
                              " is outside the folder, or there twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckManifest(const provenance::Manifest& manifest) {
  if (manifest.format() > kFormat) {
    return absl::UnimplementedError(
        absl::StrCat("the manifest has format ", manifest.format(),
                     ", this narrow reads format ", kFormat));
  }
  if (manifest.format() != kFormat || !manifest.has_output()) {
    return Bad("it describes no output");
  }
  RETURN_IF_ERROR(CheckModel(manifest.output()));
  for (const provenance::Model& input : manifest.inputs()) {
    RETURN_IF_ERROR(CheckModel(input));
  }
  for (const provenance::UsedFile& file : manifest.used()) {
    RETURN_IF_ERROR(CheckHash(file.sha256(), file.option()));
  }
  return absl::OkStatus();
}

void AddModel(const provenance::Model& model, JsonWriter* json) {
  json->BeginObject();
  json->Key("role").String(model.role());
  json->Key("path").String(model.path());
  json->Key("sha256").String(model.sha256());
  json->Key("files").BeginArray();
  for (const provenance::File& file : model.files()) {
    json->BeginObject();
    json->Key("name").String(file.name());
    json->Key("bytes").Integer(file.n_bytes());
    json->Key("sha256").String(file.sha256());
    json->EndObject();
  }
  json->EndArray();
  json->Key("tensors").BeginArray();
  for (const provenance::Tensor& tensor : model.tensors()) {
    json->BeginObject();
    json->Key("name").String(tensor.name());
    json->Key("type").String(tensor.type());
    json->Key("shape").BeginArray();
    for (const int64_t size : tensor.shape()) {
      json->Integer(size);
    }
    json->EndArray();
    json->Key("sha256").String(tensor.sha256());
    json->EndObject();
  }
  json->EndArray();
  json->EndObject();
}

void AddRecipe(const provenance::Manifest& manifest, JsonWriter* json) {
  json->Key("command").String(manifest.command());
  json->Key("arguments").BeginArray();
  for (const std::string& argument : manifest.arguments()) {
    json->String(argument);
  }
  json->EndArray();
  json->Key("recipe").BeginArray();  // names may repeat
  for (const provenance::Setting& setting : manifest.recipe()) {
    json->BeginObject();
    json->Key("name").String(setting.name());
    json->Key("value").String(setting.value());
    json->EndObject();
  }
  json->EndArray();
  json->Key("used").BeginArray();
  for (const provenance::UsedFile& file : manifest.used()) {
    json->BeginObject();
    json->Key("option").String(file.option());
    json->Key("path").String(file.path());
    json->Key("bytes").Integer(file.n_bytes());
    json->Key("sha256").String(file.sha256());
    json->EndObject();
  }
  json->EndArray();
}

void AddRun(const provenance::Manifest& manifest, JsonWriter* json) {
  json->Key("measured").BeginArray();
  for (const provenance::Measurement& row : manifest.measured()) {
    json->BeginObject();
    json->Key("name").String(row.name());
    json->Key("value").Number(row.value());
    json->Key("text").String(row.text());
    json->EndObject();
  }
  json->EndArray();
  json->Key("machine").BeginObject();
  json->Key("processor").String(manifest.machine().processor());
  json->Key("processors").Integer(manifest.machine().n_processors());
  json->Key("memory_bytes").Integer(manifest.machine().memory_bytes());
  json->Key("system").String(manifest.machine().system());
  json->EndObject();
  json->Key("started").String(manifest.started());
  json->Key("seconds").Number(manifest.seconds());
  json->Key("threads").Integer(manifest.n_threads());
}

}  // namespace

std::string FolderManifestPath(const std::string& folder) {
  return JoinPath(folder, kFolderManifest);
}

std::string ManifestPath(const std::string& output) {
  if (IsDirectory(output)) {
    return FolderManifestPath(output);
  }
  const auto shard = ParseSplitGgufName(output);
  return absl::StrCat(
      shard.has_value() ? absl::StrCat(shard->prefix, ".gguf") : output,
      ".manifest");
}

std::string ManifestJson(const provenance::Manifest& manifest) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("format").Integer(manifest.format());
  json.Key("version").String(manifest.version());
  json.Key("build").String(manifest.build());
  AddRecipe(manifest, &json);
  if (manifest.n_parts() > 0) {
    json.Key("parts").Integer(manifest.n_parts());
  }
  AddRun(manifest, &json);
  json.Key("output");
  AddModel(manifest.output(), &json);
  json.Key("inputs").BeginArray();
  for (const provenance::Model& input : manifest.inputs()) {
    AddModel(input, &json);
  }
  json.EndArray();
  json.EndObject();
  return absl::StrCat(json.text(), "\n");
}

absl::Status WriteManifest(const provenance::Manifest& manifest,
                           const std::string& path) {
  RETURN_IF_ERROR(
      WriteTextFile(absl::StrCat(path, ".json"), ManifestJson(manifest)));
  return WriteTextFile(absl::StrCat(path, ".pb"), manifest.SerializeAsString());
}

void RemoveManifest(const std::string& path) {
  std::remove(absl::StrCat(path, ".pb").c_str());
  std::remove(absl::StrCat(path, ".json").c_str());
}

absl::StatusOr<provenance::Manifest> ReadManifest(const std::string& path) {
  const std::string file = absl::StrCat(path, ".pb");
  if (!FileExists(file)) {
    return absl::NotFoundError(absl::StrCat(
        "no manifest: narrow writes one beside every output unless told "
        "--no-manifest; looking for ",
        file));
  }
  ASSIGN_OR_RETURN(const std::string bytes, ReadTextFile(file, kMaxBytes));
  provenance::Manifest manifest;
  absl::Status status = manifest.ParseFromString(bytes)
                            ? CheckManifest(manifest)
                            : Bad("it does not parse");
  RETURN_IF_ERROR(Annotate(status, absl::StrCat("reading ", file)));
  return manifest;
}

}  // namespace narrow
