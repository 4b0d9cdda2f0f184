#include "converter/batch/target/target_record.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "converter/provenance/manifest.h"
#include "converter/quantize/recipe/text_proto.h"
#include "converter/version.h"
#include "formats/base/file.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxRecordBytes = 16 << 20;

absl::Status AddFile(const std::string& path, Sha256* hash) {
  ASSIGN_OR_RETURN(const FileDigest digest, DigestFile(path));
  hash->AddWithLength(digest.sha256.Hex());
  return absl::OkStatus();
}

// A file, or all files of a folder by their names.
absl::Status AddFiles(const std::string& path, Sha256* hash) {
  if (!IsDirectory(path)) {
    return AddFile(path, hash);
  }
  std::vector<std::string> names;
  std::error_code error;
  for (auto it = fs::directory_iterator(path, error);
       !error && it != fs::directory_iterator(); it.increment(error)) {
    if (it->is_regular_file(error)) {
      names.push_back(it->path().filename().string());
    }
  }
  if (error) {
    return absl::UnavailableError(
        absl::StrCat(error.message(), "; reading ", path));
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    hash->AddWithLength(name);
    RETURN_IF_ERROR(AddFile(JoinPath(path, name), hash));
  }
  return absl::OkStatus();
}

// The files of an output, sorted, relative to `out`.
absl::StatusOr<std::vector<std::string>> FilesOf(const std::string& out,
                                                 const std::string& output) {
  std::vector<std::string> names;
  std::error_code error;
  if (!IsDirectory(output)) {
    names.push_back(fs::relative(output, out, error).string());
  } else {
    for (auto it = fs::recursive_directory_iterator(output, error);
         !error && it != fs::recursive_directory_iterator();
         it.increment(error)) {
      // "narrow-manifest.pb", or a part of it that a stopped run left.
      const bool is_manifest =
          it.depth() == 0 &&
          absl::StartsWith(it->path().filename().string(),
                           absl::StrCat(kFolderManifest, "."));
      if (!it->is_directory(error) && !is_manifest) {
        names.push_back(fs::relative(it->path(), out, error).string());
      }
    }
  }
  if (error) {
    return absl::UnavailableError(
        absl::StrCat(error.message(), "; reading ", output));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::string RecordFolder(const std::string& out) {
  return JoinPath(out, ".narrow-batch");
}

std::string RecordPath(const std::string& out, const std::string& output) {
  return JoinPath(RecordFolder(out),
                  fs::path(output).filename().string() + ".txtpb");
}

std::string RecipePath(const std::string& out, const std::string& output) {
  return JoinPath(RecordFolder(out),
                  fs::path(output).filename().string() + ".recipe");
}

TargetRecord ReadRecord(const std::string& path) {
  TargetRecord record;
  const auto text = ReadTextFile(path, kMaxRecordBytes);
  if (!text.ok() || !ParseTextProto(*text, path, &record).ok()) {
    record.Clear();
  }
  return record;
}

absl::Status WriteRecord(const std::string& path, const TargetRecord& record) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(record, &text);
  return WriteTextFile(path, text);
}

absl::StatusOr<std::string> TargetKey(const PlannedTarget& target,
                                      const Sha256Digest& model) {
  Sha256 hash;
  hash.AddWithLength("narrow batch target 1");
  hash.AddWithLength(kNarrowVersion);
  hash.AddWithLength(model.Hex());
  hash.AddWithLength(target.settings);
  std::vector<std::string> files;
  if (!target.imatrix.empty()) {
    files.push_back(target.imatrix);
  }
  files.insert(files.end(), target.calibration.begin(),
               target.calibration.end());
  if (target.quantize.has_imatrix()) {
    files.push_back(target.quantize.imatrix());
  }
  for (const std::string& text : target.quantize.calibration().file()) {
    files.push_back(text);
  }
  hash.AddNumber(static_cast<int64_t>(files.size()));
  for (const std::string& file : files) {
    RETURN_IF_ERROR(AddFile(file, &hash));
  }
  return hash.Finish().Hex();
}

absl::StatusOr<std::string> ValidationKey(const ReleaseValidation& validation,
                                          const std::string& target_key) {
  Sha256 hash;
  hash.AddWithLength("narrow batch validation 3");
  hash.AddWithLength(target_key);
  ReleaseValidation settings = validation;
  for (ReleaseText& text : *settings.mutable_text()) {
    hash.AddNumber(text.file_size());
    for (const std::string& file : text.file()) {
      RETURN_IF_ERROR(AddFile(file, &hash));
    }
    text.clear_file();
  }
  for (ReleaseTask& task : *settings.mutable_task()) {
    for (std::string* path : {task.mutable_file(), task.mutable_few_shot()}) {
      if (!path->empty()) {
        RETURN_IF_ERROR(AddFiles(*path, &hash));
      }
      path->clear();
    }
  }
  std::string printed;
  google::protobuf::TextFormat::PrintToString(settings, &printed);
  hash.AddWithLength(printed);
  return hash.Finish().Hex();
}

absl::Status RecordFiles(const std::string& out, const std::string& output,
                         TargetRecord* record) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, FilesOf(out, output));
  record->clear_file();
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const FileDigest digest, DigestFile(JoinPath(out, name)));
    RecordedFile* file = record->add_file();
    file->set_name(name);
    file->set_n_bytes(digest.n_bytes);
    file->set_sha256(digest.sha256.Hex());
  }
  return absl::OkStatus();
}

absl::Status CheckFiles(const std::string& out, const std::string& output,
                        const TargetRecord& record) {
  if (!FileExists(output) && !IsDirectory(output)) {
    return absl::DataLossError(absl::StrCat(output, " is not there any more"));
  }
  TargetRecord now;
  RETURN_IF_ERROR(RecordFiles(out, output, &now));
  if (now.file_size() != record.file_size()) {
    return absl::DataLossError(absl::StrCat(output, " has ", now.file_size(),
                                            " files, not the ",
                                            record.file_size(), " it had"));
  }
  for (int i = 0; i < now.file_size(); ++i) {
    const RecordedFile& was = record.file(i);
    const RecordedFile& is = now.file(i);
    if (is.name() != was.name() || is.n_bytes() != was.n_bytes() ||
        is.sha256() != was.sha256()) {
      return absl::DataLossError(absl::StrCat(
          "file ", is.name(), " has ", is.n_bytes(), " bytes with the hash ",
          is.sha256(), ", not ", was.n_bytes(), " with ", was.sha256()));
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
