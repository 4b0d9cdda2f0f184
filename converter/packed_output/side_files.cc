#include "converter/packed_output/side_files.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeightEndings[] = {
    ".safetensors", ".safetensors.index.json",
    ".bin",         ".bin.index.json",
    ".pt",          ".pth",
    ".ckpt",        ".gguf",
    ".ggml",        ".h5",
    ".msgpack",     ".msgpack.index.json",
    ".onnx",        ".onnx_data",
    ".tflite",      ".ot",
    ".pkl",         ".npz",
    ".mlmodel",     ".partial",
    ".pt2",         ".engine"};
constexpr const char* kWrittenAnew[] = {
    "config.json",          "README.md",
    "quantize_config.json", "quant_config.json",
    "hf_quant_config.json", "quantization_config.json"};
// Other forms of the same weights.
constexpr const char* kWeightFolders[] = {"onnx",   "openvino", "coreml",
                                          "metal",  "original", "gguf",
                                          "tflite", "runs"};
// A file above this is no setting.
constexpr uintmax_t kMaxBytes = uintmax_t{256} << 20;

bool IsOneOf(absl::string_view name, absl::Span<const char* const> names) {
  return std::any_of(names.begin(), names.end(),
                     [&](const char* row) { return name == row; });
}

bool IsWeights(const std::string& name) {
  const std::string lower = absl::AsciiStrToLower(name);
  return std::any_of(
      std::begin(kWeightEndings), std::end(kWeightEndings),
      [&](const char* ending) { return absl::EndsWith(lower, ending); });
}

// Of an output of ours (converter/provenance).
bool IsManifest(const std::string& name) {
  return absl::StartsWith(name, "narrow-manifest.") ||
         absl::EndsWith(name, ".manifest.pb") ||
         absl::EndsWith(name, ".manifest.json");
}

bool IsSideFile(const fs::path& path, const std::string& name) {
  std::error_code error;
  return name[0] != '.' && !IsOneOf(name, kWrittenAnew) && !IsWeights(name) &&
         !IsManifest(name) && fs::is_regular_file(path, error) &&
         fs::file_size(path, error) <= kMaxBytes && !error;
}

// Files of a folder below the model's. Modules of sentence-transformers, which
// modules.json names, go along with their own weights; a folder with weights
// that nobody names is another model.
std::vector<std::string> FilesBelow(const fs::path& folder, bool is_module) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const std::string file = it->path().filename().string();
    std::error_code file_error;
    if (is_module ? fs::is_regular_file(it->path(), file_error)
                  : file == "config.json" || IsSideFile(it->path(), file)) {
      names.push_back(file);
    } else if (!is_module && IsWeights(file)) {
      return {};
    }
  }
  return names;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ListSideFiles(
    absl::string_view folder) {
  const fs::path root{std::string(folder)};
  std::vector<std::string> names;
  std::string modules;
  const std::string modules_path = JoinPath(folder, "modules.json");
  if (FileExists(modules_path)) {
    ASSIGN_OR_RETURN(modules, ReadTextFile(modules_path, 16 << 20));
  }
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (IsSideFile(it->path(), name)) {
      names.push_back(name);
    }
    std::error_code below_error;
    if (name[0] == '.' || absl::EndsWith(name, ".partial") ||
        IsOneOf(name, kWeightFolders) ||
        !fs::is_directory(it->path(), below_error)) {
      continue;
    }
    const bool is_module =
        absl::StrContains(modules, absl::StrCat("\"", name, "\""));
    for (const std::string& file : FilesBelow(it->path(), is_module)) {
      names.push_back(absl::StrCat(name, "/", file));
    }
  }
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat("reading ", root.string()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status CopySideFiles(absl::string_view folder,
                           const std::vector<std::string>& names,
                           absl::string_view to) {
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const auto from, MappedFile::Open(JoinPath(folder, name)));
    ASSIGN_OR_RETURN(const auto file, OutputFile::Create(JoinPath(to, name)));
    RETURN_IF_ERROR(file->Append(from->bytes()));
    RETURN_IF_ERROR(file->Finish());
  }
  return absl::OkStatus();
}

}  // namespace narrow
