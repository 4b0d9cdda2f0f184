#include "formats/gguf/gguf_reader.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_format.h"
#include "formats/gguf/gguf_header.h"
#include "formats/gguf/gguf_split.h"
#include "formats/mapped_source.h"

namespace narrow {
namespace {

struct OpenedFile {
  std::shared_ptr<const MappedFile> file;
  GgufHeader header;
};

absl::StatusOr<OpenedFile> OpenOne(absl::string_view path) {
  OpenedFile opened;
  ASSIGN_OR_RETURN(opened.file, MappedFile::Open(path));
  ASSIGN_OR_RETURN(opened.header, ParseGgufHeader(opened.file->bytes(), path));
  return opened;
}

// The number under `key`, which a shard must have and which must be
// `expected`.
absl::Status CheckSplitKey(const OpenedFile& shard, absl::string_view key,
                           int64_t expected) {
  const std::optional<int64_t> value = shard.header.metadata.GetInteger(key);
  if (value != expected) {
    return absl::DataLossError(absl::StrCat(
        key, value.has_value() ? absl::StrCat(" is ", *value) : " is missing",
        ", expected ", expected, "; reading ", shard.file->path()));
  }
  return absl::OkStatus();
}

absl::StatusOr<OpenedFile> OpenShard(const GgufSplitName& name, size_t index) {
  const size_t n_shards = static_cast<size_t>(name.n_shards);
  absl::StatusOr<OpenedFile> shard =
      OpenOne(SplitGgufName(name.prefix, index, n_shards));
  if (absl::IsNotFound(shard.status())) {
    return Annotate(
        shard.status(),
        absl::StrCat("shard ", index + 1, " of ", n_shards,
                     " is missing; all shards must lie in one folder"));
  }
  RETURN_IF_ERROR(shard.status());
  RETURN_IF_ERROR(
      CheckSplitKey(*shard, kGgufSplitNoKey, static_cast<int64_t>(index)));
  RETURN_IF_ERROR(CheckSplitKey(*shard, kGgufSplitCountKey, name.n_shards));
  return shard;
}

absl::StatusOr<std::unique_ptr<TensorSource>> JoinShards(
    std::vector<OpenedFile> shards) {
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<TensorView> tensors;
  for (OpenedFile& shard : shards) {
    files.push_back(shard.file);
    for (TensorView& tensor : shard.header.tensors) {
      tensors.push_back(std::move(tensor));
    }
  }
  // Checked where it is given; older writers leave it out. A shard of
  // another set may say something else.
  for (const OpenedFile& shard : shards) {
    if (shards.size() > 1 && shard.header.metadata.Has(kGgufSplitTensorsKey)) {
      RETURN_IF_ERROR(CheckSplitKey(shard, kGgufSplitTensorsKey,
                                    static_cast<int64_t>(tensors.size())));
    }
  }
  return MappedSource::Create("gguf", std::move(files), std::move(tensors),
                              std::move(shards[0].header.metadata));
}

// Names of the .gguf files of a folder, sorted; of a set of shards the least.
std::vector<std::string> ListModels(absl::string_view folder) {
  std::map<std::string, std::string> by_prefix;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(folder), error)) {
    const std::string name = entry.path().filename().string();
    if (!absl::EndsWith(name, ".gguf") || !FileExists(entry.path().string())) {
      continue;
    }
    const auto shard = ParseSplitGgufName(name);
    const std::string model =
        shard.has_value() ? absl::StrCat(shard->prefix, "-of-", shard->n_shards)
                          : name;
    const auto [it, inserted] = by_prefix.emplace(model, name);
    if (!inserted) {
      it->second = std::min(it->second, name);
    }
  }
  std::vector<std::string> names;
  for (const auto& model : by_prefix) {
    names.push_back(model.second);
  }
  return names;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TensorSource>> OpenGguf(absl::string_view path) {
  ASSIGN_OR_RETURN(OpenedFile given, OpenOne(path));
  const int64_t n_shards =
      given.header.metadata.GetInteger(kGgufSplitCountKey).value_or(0);
  std::vector<OpenedFile> shards;
  if (n_shards <= 1) {  // a merged file says 0
    shards.push_back(std::move(given));
    return JoinShards(std::move(shards));
  }
  const std::optional<GgufSplitName> name = ParseSplitGgufName(path);
  if (!name.has_value() || name->n_shards != n_shards) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the file is one of ", n_shards,
        " shards, but its name does not end in -#####-of-",
        absl::string_view(SplitGgufName("", 0, static_cast<size_t>(n_shards)))
            .substr(10),
        ", so that the others cannot be found; reading ", path));
  }
  for (size_t i = 0; i < static_cast<size_t>(n_shards); ++i) {
    ASSIGN_OR_RETURN(OpenedFile shard, OpenShard(*name, i));
    shards.push_back(std::move(shard));
  }
  return JoinShards(std::move(shards));
}

bool LooksLikeGguf(absl::Span<const uint8_t> bytes) {
  return bytes.size() >= kGgufMagic.size() &&
         std::memcmp(bytes.data(), kGgufMagic.data(), kGgufMagic.size()) == 0;
}

absl::StatusOr<std::unique_ptr<TensorSource>> OpenGgufFolder(
    absl::string_view folder) {
  const std::vector<std::string> names = ListModels(folder);
  if (names.empty()) {
    return absl::NotFoundError(absl::StrCat("no .gguf file; reading ", folder));
  }
  if (names.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "several GGUF files, name one of them: ", absl::StrJoin(names, ", "),
        "; reading ", folder));
  }
  return OpenGguf(JoinPath(folder, names[0]));
}

bool HasGguf(absl::string_view folder) { return !ListModels(folder).empty(); }

}  // namespace narrow
