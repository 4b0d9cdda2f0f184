#include "converter/provenance/digest_files.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "converter/provenance/manifest.h"
#include "formats/base/file.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/containers.h"
#include "formats/gguf/gguf_split.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

std::string ParentOf(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// The name of a file of the model at `path`, relative to its folder.
std::string NameOf(const std::string& file, const std::string& path) {
  const std::string folder = IsDirectory(path) ? path : ParentOf(path);
  const std::string name =
      fs::path(file).lexically_relative(fs::path(folder)).generic_string();
  return name.empty() || absl::StartsWith(name, "..")
             ? fs::path(file).filename().string()
             : name;
}

absl::StatusOr<std::vector<std::string>> AllFiles(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end;
       !error && it != end; it.increment(error)) {
    std::error_code type_error;
    const std::string file = it->path().string();
    if (fs::is_regular_file(it->path(), type_error) &&
        NameOf(file, folder) != absl::StrCat(kFolderManifest, ".pb") &&
        NameOf(file, folder) != absl::StrCat(kFolderManifest, ".json")) {
      files.push_back(file);
    }
  }
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("reading ", folder));
  }
  return files;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FilesOfModel(const std::string& path,
                                                      bool all_files) {
  std::vector<std::string> files;
  if (all_files && IsDirectory(path)) {
    ASSIGN_OR_RETURN(files, AllFiles(path));
    std::sort(files.begin(), files.end());
    return files;
  }
  ASSIGN_OR_RETURN(const auto source, OpenTensorSource(path));
  std::set<std::string> names;
  std::string last;
  for (const TensorView& view : source->tensors()) {
    if (view.origin.file != last) {
      last = view.origin.file;
      names.insert(last);
    }
  }
  if (IsDirectory(path)) {
    for (const std::string& name : ModelSideFiles(path)) {
      names.insert(JoinPath(path, name));
    }
  } else if (const auto shard = ParseSplitGgufName(path)) {
    // The first may have no tensors.
    for (int64_t i = 0; i < shard->n_shards; ++i) {
      const std::string file =
          SplitGgufName(shard->prefix, static_cast<size_t>(i),
                        static_cast<size_t>(shard->n_shards));
      if (FileExists(file)) {
        names.insert(file);
      }
    }
  } else if (names.empty()) {
    names.insert(path);
  }
  return std::vector<std::string>(names.begin(), names.end());
}

provenance::Model ModelOf(const ModelDigest& digest) {
  provenance::Model model;
  model.set_sha256(digest.sha256.Hex());
  for (const TensorDigest& tensor : digest.tensors) {
    provenance::Tensor* row = model.add_tensors();
    row->set_name(tensor.meta.name);
    row->set_type(TypeName(tensor.meta.type));
    for (const int64_t size : tensor.meta.shape) {
      row->add_shape(size);
    }
    row->set_sha256(tensor.sha256.Hex());
  }
  return model;
}

absl::StatusOr<provenance::Model> DigestFolder(const std::string& role,
                                               const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> files,
                   FilesOfModel(path, true));
  ModelDigest digest;
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(const FileDigest found, DigestFile(file));
    digest.files.push_back({NameOf(file, path), found.n_bytes, found.sha256});
  }
  CombineDigests(&digest);
  provenance::Model model = ModelOf(digest);
  model.set_role(role);
  model.set_path(path);
  for (const SideFileDigest& found : digest.files) {
    provenance::File* file = model.add_files();
    file->set_name(found.name);
    file->set_n_bytes(found.n_bytes);
    file->set_sha256(found.sha256.Hex());
  }
  return model;
}

absl::StatusOr<provenance::Model> DigestModelFiles(
    const std::string& role, const std::string& path, bool all_files,
    int n_threads, const std::atomic<bool>* cancelled) {
  ASSIGN_OR_RETURN(const std::vector<std::string> files,
                   FilesOfModel(path, all_files));
  const int n = n_threads < 1 ? NumProcessors() : n_threads;
  // Half of the threads hash files, the others their tensors: both are read
  // once, near to each other.
  std::vector<absl::StatusOr<FileDigest>> digests(files.size(),
                                                  absl::UnknownError(""));
  const auto hash_files = [&] {
    ThreadPool pool(std::max(1, n / 2));
    pool.ParallelFor(static_cast<int64_t>(files.size()), [&](int64_t i) {
      const size_t at = static_cast<size_t>(i);
      digests[at] = cancelled != nullptr && cancelled->load()
                        ? absl::CancelledError("stopped while hashing")
                        : DigestFile(files[at]);
    });
  };
  std::thread thread(hash_files);
  auto share = DigestModelShare(path, 0, 1, std::max(1, n / 2), cancelled);
  thread.join();
  RETURN_IF_ERROR(share.status());
  ModelDigest digest;
  digest.tensors = std::move(share->tensors);
  digest.files = std::move(share->files);
  CombineDigests(&digest);
  provenance::Model model = ModelOf(digest);
  model.set_role(role);
  model.set_path(path);
  for (size_t i = 0; i < files.size(); ++i) {
    RETURN_IF_ERROR(digests[i].status());
    provenance::File* file = model.add_files();
    file->set_name(NameOf(files[i], path));
    file->set_n_bytes(digests[i]->n_bytes);
    file->set_sha256(digests[i]->sha256.Hex());
  }
  return model;
}

}  // namespace narrow
