#include "formats/safetensors/safetensors_reader.h"

#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/mapped_source.h"
#include "formats/safetensors/safetensors_format.h"
#include "formats/safetensors/safetensors_header.h"
#include "formats/safetensors/safetensors_index.h"

namespace narrow {
namespace {

constexpr absl::string_view kFormat = "safetensors";

// Files opened one after another into one source.
class Parts {
 public:
  absl::Status Add(absl::string_view path) {
    ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
    ASSIGN_OR_RETURN(SafetensorsHeader header,
                     ParseSafetensorsHeader(file->bytes(), path));
    files_.push_back(std::move(file));
    for (TensorView& tensor : header.tensors) {
      tensors_.push_back(std::move(tensor));
    }
    for (const auto& [key, value] : header.metadata.entries()) {
      if (!metadata_.Has(key)) {
        metadata_.Set(key, value);
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<TensorSource>> Join() && {
    return MappedSource::Create(kFormat, std::move(files_), std::move(tensors_),
                                std::move(metadata_));
  }

 private:
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<TensorView> tensors_;
  Metadata metadata_;
};

// Every tensor of the index is there, and in the file that the index names.
absl::Status CheckIndex(const SafetensorsIndex& index,
                        const TensorSource& source, absl::string_view folder,
                        absl::string_view index_path) {
  for (const auto& [name, file] : index.weight_map) {
    const TensorView* tensor = source.Find(name);
    const std::string path = JoinPath(folder, file);
    if (tensor == nullptr || tensor->origin.file != path) {
      return absl::DataLossError(absl::StrCat(
          "tensor ", QuotedName(name), " is not in ", file, ", where the ",
          "index has it",
          tensor == nullptr ? ""
                            : absl::StrCat(", but in ", tensor->origin.file),
          "; reading ", index_path));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TensorSource>> OpenIndexed(
    absl::string_view folder, absl::string_view index_path) {
  ASSIGN_OR_RETURN(const SafetensorsIndex index,
                   ReadSafetensorsIndex(index_path));
  std::set<std::string> files;
  for (const auto& entry : index.weight_map) {
    files.insert(entry.second);
  }
  Parts parts;
  for (const std::string& file : files) {
    const absl::Status status = parts.Add(JoinPath(folder, file));
    if (absl::IsNotFound(status)) {
      return Annotate(status, absl::StrCat("file '", file,
                                           "' is named by the index but "
                                           "missing; reading ",
                                           index_path));
    }
    RETURN_IF_ERROR(status);
  }
  ASSIGN_OR_RETURN(auto source, std::move(parts).Join());
  RETURN_IF_ERROR(CheckIndex(index, *source, folder, index_path));
  return source;
}

// N if the folder has model-00001-of-0000N.safetensors, else 0. The least N
// if there are several, so that the answer does not hang on the directory's
// order.
size_t CountShards(absl::string_view folder) {
  size_t n_shards = 0;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(folder), error)) {
    const std::string name = entry.path().filename().string();
    size_t n;
    constexpr absl::string_view kHead = "model-00001-of-";
    if (absl::StartsWith(name, kHead) &&
        absl::SimpleAtoi(absl::string_view(name).substr(kHead.size(), 5), &n) &&
        n > 0 && name == SafetensorsShardName(0, n) &&
        (n_shards == 0 || n < n_shards)) {
      n_shards = n;
    }
  }
  return n_shards;
}

absl::StatusOr<std::unique_ptr<TensorSource>> OpenShards(
    absl::string_view folder, size_t n_shards) {
  Parts parts;
  for (size_t i = 0; i < n_shards; ++i) {
    const std::string file = SafetensorsShardName(i, n_shards);
    const absl::Status status = parts.Add(JoinPath(folder, file));
    if (absl::IsNotFound(status)) {
      return Annotate(status, absl::StrCat("file '", file, "' is missing"));
    }
    RETURN_IF_ERROR(status);
  }
  return std::move(parts).Join();
}

}  // namespace

absl::StatusOr<std::unique_ptr<TensorSource>> OpenSafetensors(
    absl::string_view path) {
  Parts parts;
  RETURN_IF_ERROR(parts.Add(path));
  return std::move(parts).Join();
}

absl::StatusOr<std::unique_ptr<TensorSource>> OpenSafetensorsFolder(
    absl::string_view folder) {
  const std::string index_path = JoinPath(folder, kSafetensorsIndexName);
  if (FileExists(index_path)) {
    return OpenIndexed(folder, index_path);
  }
  const std::string file_path = JoinPath(folder, kSafetensorsFileName);
  if (FileExists(file_path)) {
    return OpenSafetensors(file_path);
  }
  if (const size_t n_shards = CountShards(folder); n_shards > 0) {
    return OpenShards(folder, n_shards);
  }
  return absl::NotFoundError(absl::StrCat("no ", kSafetensorsFileName,
                                          " and no ", kSafetensorsIndexName,
                                          "; reading ", folder));
}

bool HasSafetensors(absl::string_view folder) {
  return FileExists(JoinPath(folder, kSafetensorsIndexName)) ||
         FileExists(JoinPath(folder, kSafetensorsFileName)) ||
         CountShards(folder) > 0;
}

bool LooksLikeSafetensors(absl::Span<const uint8_t> bytes) {
  // A length below 2^32, which any allowed one is, and the first bracket.
  return bytes.size() > 8 && bytes[4] == 0 && bytes[5] == 0 && bytes[6] == 0 &&
         bytes[7] == 0 && bytes[8] == '{';
}

}  // namespace narrow
