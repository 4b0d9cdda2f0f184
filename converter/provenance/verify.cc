#include "converter/provenance/verify.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "converter/provenance/digest_files.h"
#include "formats/base/file.h"
#include "formats/base/hash/sha256.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/digest/model_digest.h"
#include "formats/quant_type.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

std::string FolderOf(const std::string& path) {
  if (IsDirectory(path)) {
    return path;
  }
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string TypeAndShape(const provenance::Tensor& tensor) {
  return absl::StrCat(OneLine(tensor.type()), " ",
                      ShapeString({tensor.shape().data(),
                                   static_cast<size_t>(tensor.shape_size())}));
}

void CompareTensors(const provenance::Model& wanted,
                    const provenance::Model& found,
                    std::vector<std::string>* differences) {
  std::map<std::string, const provenance::Tensor*> by_name;
  for (const provenance::Tensor& tensor : found.tensors()) {
    by_name[tensor.name()] = &tensor;
  }
  for (const provenance::Tensor& tensor : wanted.tensors()) {
    const std::string name = QuotedName(tensor.name());
    const auto it = by_name.find(tensor.name());
    if (it == by_name.end()) {
      differences->push_back(absl::StrCat("tensor ", name, " is missing"));
      continue;
    }
    const provenance::Tensor& other = *it->second;
    by_name.erase(it);
    if (TypeAndShape(tensor) != TypeAndShape(other)) {
      differences->push_back(
          absl::StrCat("tensor ", name, " is ", TypeAndShape(other),
                       ", the manifest has ", TypeAndShape(tensor)));
    } else if (tensor.sha256() != other.sha256()) {
      differences->push_back(
          absl::StrCat("tensor ", name, " has other bytes: SHA-256 ",
                       other.sha256(), ", the manifest has ", tensor.sha256()));
    }
  }
  for (const auto& [name, tensor] : by_name) {
    differences->push_back(
        absl::StrCat("tensor ", QuotedName(name), " is not in the manifest"));
  }
}

void CompareFile(const provenance::File& wanted,
                 const absl::StatusOr<FileDigest>& found,
                 std::vector<std::string>* differences) {
  const std::string name = QuotedName(wanted.name());
  if (!found.ok()) {
    differences->push_back(absl::StrCat(
        "file ", name, " cannot be read: ", found.status().message()));
  } else if (found->n_bytes != wanted.n_bytes()) {
    differences->push_back(absl::StrCat("file ", name, " has ", found->n_bytes,
                                        " bytes, the manifest has ",
                                        wanted.n_bytes()));
  } else if (found->sha256.Hex() != wanted.sha256()) {
    differences->push_back(
        absl::StrCat("file ", name, " has SHA-256 ", found->sha256.Hex(),
                     ", the manifest has ", wanted.sha256()));
  }
}

// Files of an output directory that its manifest does not know.
absl::Status FindOthers(const provenance::Manifest& manifest,
                        const std::string& path,
                        std::vector<std::string>* differences) {
  if (!IsDirectory(path)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> files,
                   FilesOfModel(path, true));
  for (const std::string& file : files) {
    const std::string name =
        fs::path(file).lexically_relative(fs::path(path)).generic_string();
    const auto& known = manifest.output().files();
    if (std::none_of(
            known.begin(), known.end(),
            [&](const provenance::File& row) { return row.name() == name; })) {
      differences->push_back(
          absl::StrCat("file ", QuotedName(name), " is not in the manifest"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckNotCancelled(const std::atomic<bool>* cancelled) {
  return cancelled != nullptr && cancelled->load()
             ? absl::CancelledError("stopped by a signal")
             : absl::OkStatus();
}

}  // namespace

std::vector<std::string> CompareModels(const provenance::Model& wanted,
                                       const provenance::Model& found) {
  std::vector<std::string> differences;
  CompareTensors(wanted, found, &differences);
  if (differences.empty() && wanted.sha256() != found.sha256()) {
    differences.push_back(
        "the tensors are the same, settings, tokenizer or keys are not");
  }
  return differences;
}

absl::StatusOr<VerifyResult> VerifyOutputHashes(
    const provenance::Manifest& manifest, const std::string& path,
    int n_threads, const std::atomic<bool>* cancelled) {
  VerifyResult result;
  const std::string folder = FolderOf(path);
  const auto& files = manifest.output().files();
  std::vector<absl::StatusOr<FileDigest>> digests(
      static_cast<size_t>(files.size()), absl::CancelledError("stopped"));
  ThreadPool pool(n_threads);
  pool.ParallelFor(files.size(), [&](int64_t i) {
    const int at = static_cast<int>(i);
    if (CheckNotCancelled(cancelled).ok()) {
      std::string name = files[at].name();
      // An output of one file may have been given another name.
      if (files.size() == 1 && !IsDirectory(path)) {
        name = fs::path(path).filename().string();
      }
      digests[static_cast<size_t>(i)] = DigestFile(JoinPath(folder, name));
    }
  });
  RETURN_IF_ERROR(CheckNotCancelled(cancelled));
  for (int i = 0; i < files.size(); ++i) {
    CompareFile(files[i], digests[static_cast<size_t>(i)], &result.differences);
    result.n_bytes += files[i].n_bytes();
  }
  result.n_files = files.size();
  RETURN_IF_ERROR(FindOthers(manifest, path, &result.differences));
  auto share = DigestModelShare(path, 0, 1, n_threads, cancelled);
  RETURN_IF_ERROR(CheckNotCancelled(cancelled));
  if (!share.ok()) {
    result.differences.push_back(
        absl::StrCat("the tensors cannot be read: ", share.status().message()));
    return result;
  }
  ModelDigest digest;
  digest.tensors = std::move(share->tensors);
  digest.files = std::move(share->files);
  CombineDigests(&digest);
  result.n_tensors = static_cast<int64_t>(digest.tensors.size());
  const provenance::Model found = ModelOf(digest);
  const size_t n_before = result.differences.size();
  CompareTensors(manifest.output(), found, &result.differences);
  if (n_before == result.differences.size() && result.differences.empty() &&
      found.sha256() != manifest.output().sha256()) {
    result.differences.push_back(
        "the files and tensors are the manifest's, its hash of the model is "
        "not: the manifest was changed");
  }
  return result;
}

}  // namespace narrow
