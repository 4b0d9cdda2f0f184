#include "converter/packed_output/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/file.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

constexpr char kLock[] = "lock";
constexpr char kOutput[] = "output";
constexpr char kWork[] = "state";
constexpr char kJob[] = "job";
constexpr char kOld[] = ".old";  // after ".partial": being removed

absl::Status Failed(const std::error_code& error, absl::string_view action,
                    const fs::path& path) {
  return absl::ErrnoToStatus(error.value(),
                             absl::StrCat(action, " ", path.string()));
}

bool IsFull(const fs::path& folder) {
  std::error_code error;
  return fs::exists(fs::symlink_status(folder, error)) &&
         (!fs::is_directory(folder, error) || !fs::is_empty(folder, error));
}

// Finished pieces of a run before, beside the name of its job.
bool HasWork(const fs::path& partial) {
  std::error_code error;
  const fs::path work = partial / kWork;
  if (!fs::exists(work / kJob, error)) {
    return false;
  }
  fs::directory_iterator it(work, error);
  return !error && std::distance(it, fs::directory_iterator()) > 1;
}

absl::Status CheckContents(const fs::path& partial) {
  std::error_code error;
  const bool is_ours = fs::exists(partial / kLock, error) ||
                       fs::exists(partial / kWork / kJob, error);
  for (fs::directory_iterator it(partial, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!is_ours || (name != kLock && name != kOutput && name != kWork)) {
      return absl::InvalidArgumentError(
          absl::StrCat(it->path().string(),
                       " is in the way: this directory is needed until the "
                       "output is complete; move it, or choose another "
                       "output"));
    }
  }
  return error ? Failed(error, "reading", partial) : absl::OkStatus();
}

// Makes names durable: they lie in the folder's own blocks.
void Sync(const fs::path& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    fsync(fd);
    close(fd);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<OutputFolder>> OutputFolder::Create(
    absl::string_view folder) {
  fs::path target = fs::path(std::string(folder)).lexically_normal();
  if (!target.has_filename()) {
    target = target.parent_path();  // "out/"
  }
  if (target.empty() || target.filename() == "." || target.filename() == "..") {
    return absl::InvalidArgumentError(
        absl::StrCat("output '", folder, "' is no name for a new directory"));
  }
  const fs::path partial = target.string() + ".partial";
  std::error_code error;
  const fs::path old = partial.string() + kOld;
  if (fs::exists(old / kLock, error) || fs::is_empty(old, error)) {
    fs::remove_all(old, error);
  }
  const bool is_full = IsFull(target);
  if (is_full && !(fs::is_directory(target, error) &&
                   fs::exists(partial / kWork / kJob, error) &&
                   !fs::exists(partial / kOutput, error))) {
    return absl::InvalidArgumentError(
        absl::StrCat("output ", target.string(),
                     " is there and is no empty directory; choose another"));
  }
  fs::create_directories(partial, error);
  if (error) {
    return Failed(error, "creating", partial);
  }
  RETURN_IF_ERROR(CheckContents(partial));
  const std::string lock_path = (partial / kLock).string();
  const int lock =
      open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (lock < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("creating ", lock_path));
  }
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    close(lock);
    return absl::AlreadyExistsError(absl::StrCat(
        "another process is writing this output; locking ", lock_path));
  }
  std::unique_ptr<OutputFolder> result(new OutputFolder(target.string(), lock));
  result->target_is_full_ = is_full;
  result->keep_ = is_full || HasWork(partial);
  if (!is_full) {
    RETURN_IF_ERROR(result->Clear(result->path()));
  }
  return result;
}

OutputFolder::~OutputFolder() {
  if (!finished_ && !keep_) {
    std::error_code error;
    fs::remove_all(path(), error);
    fs::remove_all(work_path(), error);
    fs::remove(fs::path(partial()) / kLock, error);
    fs::remove(partial(), error);
  } else if (!finished_ && !target_is_full_) {
    std::error_code error;
    fs::remove_all(path(), error);  // the work is kept, not its copy
  }
  close(lock_);
}

std::string OutputFolder::path() const { return JoinPath(partial(), kOutput); }
std::string OutputFolder::work_path() const {
  return JoinPath(partial(), kWork);
}

absl::Status OutputFolder::NameRestart(const absl::Status& status) const {
  return absl::IsDataLoss(status) && !GoesAwayWithRestart(status) &&
                 absl::StrContains(status.message(), work_path())
             ? Annotate(status, "begin anew with --restart")
             : status;
}

absl::Status OutputFolder::Clear(const std::string& folder) const {
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) {
    return Failed(error, "removing", folder);
  }
  fs::create_directories(folder, error);
  return error ? Failed(error, "creating", folder) : absl::OkStatus();
}

absl::Status OutputFolder::BeginWork(absl::string_view fingerprint,
                                     bool restart) {
  const std::string job = JoinPath(work_path(), kJob);
  std::string found;
  if (FileExists(job)) {
    ASSIGN_OR_RETURN(found, ReadTextFile(job, 1 << 16));
  }
  const bool same = found == fingerprint;
  if (target_is_full_) {
    complete_ = same;
    return same ? absl::OkStatus()
                : absl::InvalidArgumentError(absl::StrCat(
                      "output ", target_,
                      " is there and is no empty directory; choose another"));
  }
  if (!found.empty() && !same && !restart) {
    keep_ = true;
    return absl::FailedPreconditionError(absl::StrCat(
        partial(),
        " holds the unfinished run of another recipe, input or text; give "
        "the same command again to go on with it, or --restart to discard "
        "it"));
  }
  if (found.empty() || restart) {
    keep_ = false;
    RETURN_IF_ERROR(Clear(work_path()));
    RETURN_IF_ERROR(WriteTextFile(job, fingerprint));
  }
  return absl::OkStatus();
}

absl::Status OutputFolder::Finish() {
  if (!complete_) {
    Sync(path());
    // Also replaces an empty directory.
    if (std::rename(path().c_str(), target_.c_str()) != 0) {
      return absl::ErrnoToStatus(
          errno, absl::StrCat("renaming ", path(), " to ", target_));
    }
    const std::string parent = fs::path(target_).parent_path().string();
    Sync(parent.empty() ? "." : parent);
  }
  finished_ = true;
  // One step from "complete, but for the work" to "complete": a kill amid
  // the removal must not leave half of what tells them apart.
  std::error_code error;
  const std::string old = partial() + kOld;
  fs::rename(partial(), old, error);
  fs::remove_all(error ? partial() : old, error);
  return absl::OkStatus();
}

bool MayGoOn(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kFailedPrecondition:
      return false;
    default:
      return true;
  }
}

bool GoesAwayWithRestart(const absl::Status& status) {
  return absl::StrContains(status.message(), "--restart");
}

}  // namespace narrow
