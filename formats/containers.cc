#include "formats/containers.h"

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/file.h"
#include "formats/base/lfs_pointer.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_reader.h"
#include "formats/safetensors/safetensors_format.h"
#include "formats/safetensors/safetensors_reader.h"

namespace narrow {
namespace {

constexpr Container kContainers[] = {
#define NARROW_CONTAINER(...) {__VA_ARGS__},
#include "formats/containers.inc"
#undef NARROW_CONTAINER
};

// Formats that are met often and not read: their first bytes and what to do.
struct ForeignFormat {
  absl::string_view magic;
  const char* name;
  const char* remedy;
};

constexpr char kSaveAgain[] =
    "load it with transformers and save_pretrained, which writes safetensors";

constexpr ForeignFormat kForeignFormats[] = {
    {absl::string_view("PK\x03\x04", 4), "a PyTorch or zip archive",
     kSaveAgain},
    {absl::string_view("\x80\x02", 2), "a Python pickle", kSaveAgain},
    {absl::string_view("\x89HDF\r\n", 6), "an HDF5 file", kSaveAgain},
    {"lmgg", "a model of ggml before GGUF", "convert the original model again"},
    {"tjgg", "a model of ggml before GGUF", "convert the original model again"},
    {"fmgg", "a model of ggml before GGUF", "convert the original model again"},
};

absl::Status UnknownFile(absl::string_view path,
                         absl::Span<const uint8_t> bytes) {
  const absl::string_view text(reinterpret_cast<const char*>(bytes.data()),
                               bytes.size());
  for (const ForeignFormat& format : kForeignFormats) {
    if (absl::StartsWith(text, format.magic)) {
      return absl::UnimplementedError(
          absl::StrCat("the file is ", format.name, ", which is not read; ",
                       format.remedy, "; reading ", path));
    }
  }
  return absl::UnimplementedError(
      absl::StrCat("neither safetensors nor GGUF; reading ", path));
}

absl::StatusOr<std::unique_ptr<TensorSource>> OpenFile(absl::string_view path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  RETURN_IF_ERROR(CheckNotLfsPointer(file->bytes(), path));
  for (const Container& container : kContainers) {
    if (container.looks_like(file->bytes())) {
      return container.open(path);
    }
  }
  // A damaged file of a known name is better explained by its reader.
  for (const Container& container : kContainers) {
    if (absl::EndsWith(path, container.ending)) {
      return container.open(path);
    }
  }
  return UnknownFile(path, file->bytes());
}

// The first file, by name, that has one of the endings of PyTorch's pickles.
std::string FindPickle(absl::string_view folder) {
  std::string found;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(folder), error)) {
    const std::string name = entry.path().filename().string();
    if ((absl::EndsWith(name, ".bin") || absl::EndsWith(name, ".pt") ||
         absl::EndsWith(name, ".pth")) &&
        (found.empty() || name < found)) {
      found = name;
    }
  }
  return found;
}

absl::StatusOr<std::unique_ptr<TensorSource>> OpenFolder(
    absl::string_view folder) {
  for (const Container& container : kContainers) {
    if (container.folder_has(folder)) {
      return container.open_folder(folder);
    }
  }
  if (FileExists(JoinPath(folder, "consolidated.safetensors"))) {
    return absl::UnimplementedError(absl::StrCat(
        "the folder has only consolidated.safetensors, Mistral's own naming; "
        "use the transformers version of the model; reading ",
        folder));
  }
  const std::string pickle = FindPickle(folder);
  if (!pickle.empty()) {
    return absl::UnimplementedError(
        absl::StrCat("the folder has only PyTorch weights (", pickle, "); ",
                     kSaveAgain, "; reading ", folder));
  }
  return absl::NotFoundError(
      absl::StrCat("no model.safetensors, no ", kSafetensorsIndexName,
                   " and no .gguf file; reading ", folder));
}

}  // namespace

absl::Span<const Container> AllContainers() { return kContainers; }

absl::StatusOr<std::unique_ptr<TensorSource>> OpenTensorSource(
    absl::string_view path) {
  if (IsDirectory(path)) {
    return OpenFolder(path);
  }
  absl::string_view folder = path;
  if (absl::ConsumeSuffix(&folder, kSafetensorsIndexName) &&
      (folder.empty() || folder.back() == '/') && FileExists(path)) {
    return OpenSafetensorsFolder(folder.empty() ? "." : folder);
  }
  return OpenFile(path);
}

}  // namespace narrow
