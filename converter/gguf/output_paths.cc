#include "converter/gguf/output_paths.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/gguf/gguf_split.h"

namespace narrow {
namespace {

// The last part of the model's path, without .gguf.
std::string BaseName(const std::string& model) {
  std::filesystem::path path = std::filesystem::path(model).lexically_normal();
  if (path.filename().empty() || path.filename() == ".") {
    path = std::filesystem::absolute(path).lexically_normal().parent_path();
  }
  const std::string name = path.filename().string();
  if (const auto shard = ParseSplitGgufName(name)) {
    return shard->prefix;
  }
  return path.extension() == ".gguf" ? path.stem().string() : name;
}

absl::Status IsInput(const std::string& file) {
  return absl::InvalidArgumentError(absl::StrCat(
      "output ", file, " is a file of the input; choose another --out"));
}

}  // namespace

std::string OutputPath(const std::string& model, const std::string& out,
                       const std::string& name, bool several) {
  const bool folder =
      several || out.empty() || out.back() == '/' || IsDirectory(out);
  return folder
             ? JoinPath(out, absl::StrCat(BaseName(model), "-", name, ".gguf"))
             : out;
}

absl::Status CheckOutputFile(const std::string& file, const std::string& model,
                             const std::string& json) {
  if (SameFile(file, model)) {
    return absl::InvalidArgumentError(
        absl::StrCat("output ", file, " is the input; choose another --out"));
  }
  if (!json.empty() && SameFile(file, json)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "output ", file, " is also the file of --json; choose another"));
  }
  return absl::OkStatus();
}

absl::Status CheckInputIsKept(const Checkpoint& model,
                              const std::string& file) {
  const std::string folder =
      JoinPath(std::filesystem::path(file).parent_path().string(), ".");
  if (IsDirectory(model.path()) && FileExists(file) &&
      !absl::EndsWith(file, ".gguf") && SameFile(model.path(), folder)) {
    return IsInput(file);
  }
  // Shards need not have tensors.
  if (const auto shard = ParseSplitGgufName(model.path())) {
    for (int64_t i = 0; i < shard->n_shards; ++i) {
      if (SameFile(file, SplitGgufName(shard->prefix, static_cast<size_t>(i),
                                       static_cast<size_t>(shard->n_shards)))) {
        return IsInput(file);
      }
    }
  }
  std::string last;
  for (const CheckpointTensor& tensor : model.tensors()) {
    if (tensor.origin.file != last) {
      last = tensor.origin.file;
      if (SameFile(file, last)) {
        return IsInput(file);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
