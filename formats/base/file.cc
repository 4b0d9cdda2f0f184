#include "formats/base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

absl::Status ErrnoError(absl::string_view action, absl::string_view path,
                        int error) {
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no space left on the disk; ", action, " ", path));
  }
  return absl::ErrnoToStatus(error, absl::StrCat(action, " ", path));
}

std::string ParentFolder(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

// Makes the name itself durable: a rename lives in the folder's own block.
void SyncFolder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    fsync(fd);
    close(fd);
  }
}

absl::Status DiskFull(const std::string& path, int64_t n_bytes,
                      int64_t free_bytes) {
  return absl::ResourceExhaustedError(absl::StrCat(
      "output needs ", n_bytes, " bytes, the disk has ", free_bytes,
      " free; free some space or choose another --out; creating ", path));
}

// Room on the disk of the open file `fd`; nothing where that is unknown.
std::optional<int64_t> FreeBytes(int fd) {
  struct statvfs info;
  if (fstatvfs(fd, &info) != 0 || info.f_blocks == 0) {
    return std::nullopt;
  }
  return static_cast<int64_t>(info.f_bavail) *
         static_cast<int64_t>(info.f_frsize);
}

absl::Status Reserve(int fd, const std::string& path, int64_t n_bytes) {
  // posix_fallocate takes what there is before it fails: for that while,
  // nobody else could write.
  const std::optional<int64_t> free_bytes = FreeBytes(fd);
  if (free_bytes.has_value() && n_bytes > *free_bytes) {
    return DiskFull(path, n_bytes, *free_bytes);
  }
  // ftruncate first, so that a file system without fallocate still works.
  const int error = posix_fallocate(fd, 0, n_bytes);
  if (error == 0 || error == EOPNOTSUPP || error == EINVAL) {
    return absl::OkStatus();
  }
  if (error == EFBIG) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "output needs ", n_bytes, " bytes, more than one file may have here; ",
        "raise the limit (ulimit -f) or choose another --out; creating ",
        path));
  }
  if (error == ENOSPC) {
    return DiskFull(path, n_bytes, free_bytes.value_or(0));
  }
  return ErrnoError("reserving space for", path, error);
}

// Whether `path` still names the open file `fd`: a first writer may have
// renamed or removed it between our open and our lock.
bool Names(const std::string& path, int fd) {
  struct stat named;
  struct stat opened;
  return stat(path.c_str(), &named) == 0 && fstat(fd, &opened) == 0 &&
         named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

// Opens and locks the partial file; a link in its place is not followed.
absl::StatusOr<int> OpenLocked(const std::string& partial) {
  while (true) {
    const int fd =
        open(partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
      return ErrnoError("creating", partial, errno);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      close(fd);
      return absl::AlreadyExistsError(absl::StrCat(
          "another process is writing this file; creating ", partial));
    }
    if (Names(partial, fd)) {
      return fd;
    }
    close(fd);
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(
    absl::string_view path_view) {
  std::string path(path_view);
  // Without O_NONBLOCK, opening a named pipe would wait for its writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return ErrnoError("opening", path, errno);
  }
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(
        absl::StrCat("not a regular file; opening ", path));
  }
  const size_t size = static_cast<size_t>(info.st_size);
  const uint8_t* data = nullptr;
  if (size > 0) {
    void* map = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
      const int error = errno;
      close(fd);
      return ErrnoError("mapping", path, error);
    }
    data = static_cast<const uint8_t*>(map);
  }
  close(fd);
  return std::shared_ptr<const MappedFile>(
      new MappedFile(std::move(path), data, size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    munmap(const_cast<uint8_t*>(data_), size_);
  }
}

void MappedFile::Release(absl::Span<const uint8_t> range) const {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(range.data());
  const uintptr_t first = (begin + page - 1) / page * page;
  const uintptr_t last = (begin + range.size()) / page * page;
  if (first < last) {
    madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  }
}

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Create(
    absl::string_view path_view, int64_t expected_bytes) {
  std::string path(path_view);
  if (path.empty() || path.back() == '/' || IsDirectory(path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "output path '", path, "' is a folder; name a file in it"));
  }
  if (IsSpecialFile(path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "output path '", path,
        "' is a device or a pipe, which a file would replace; name a file"));
  }
  std::error_code error;
  std::filesystem::create_directories(ParentFolder(path), error);
  if (error) {
    return ErrnoError("creating the folder of", path, error.value());
  }
  std::string partial = absl::StrCat(path, ".partial");
  ASSIGN_OR_RETURN(const int fd, OpenLocked(partial));
  std::unique_ptr<OutputFile> file(
      new OutputFile(std::move(path), std::move(partial), fd));
  if (ftruncate(fd, 0) != 0) {
    return ErrnoError("truncating", file->partial_path_, errno);
  }
  if (expected_bytes > 0) {
    RETURN_IF_ERROR(Reserve(fd, file->path_, expected_bytes));
  }
  return file;
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) {
    unlink(partial_path_.c_str());
    close(fd_);
  }
}

absl::Status OutputFile::Append(absl::Span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd_, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) {
        continue;
      }
      return Annotate(ErrnoError("writing", partial_path_, errno),
                      absl::StrCat("at offset ", size_));
    }
    size_ += n;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status OutputFile::Append(absl::string_view text) {
  return Append(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

absl::Status OutputFile::AppendZeros(int64_t n) {
  const std::vector<uint8_t> zeros(
      static_cast<size_t>(std::min<int64_t>(n, 1 << 16)), 0);
  while (n > 0) {
    const int64_t piece = std::min<int64_t>(n, 1 << 16);
    RETURN_IF_ERROR(
        Append(absl::MakeConstSpan(zeros.data(), static_cast<size_t>(piece))));
    n -= piece;
  }
  return absl::OkStatus();
}

absl::Status OutputFile::Sync() {
  if (synced_) {
    return absl::OkStatus();
  }
  // Reserved space beyond the end is given back.
  if (ftruncate(fd_, size_) != 0) {
    return ErrnoError("truncating", partial_path_, errno);
  }
  if (fsync(fd_) != 0) {
    return ErrnoError("syncing", partial_path_, errno);
  }
  synced_ = true;
  return absl::OkStatus();
}

absl::Status OutputFile::Finish() {
  if (fd_ < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("Finish called twice; writing ", path_));
  }
  RETURN_IF_ERROR(Sync());
  if (rename(partial_path_.c_str(), path_.c_str()) != 0) {
    return ErrnoError("renaming into place", path_, errno);
  }
  SyncFolder(ParentFolder(path_));
  close(fd_);
  fd_ = -1;
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadTextFile(absl::string_view path,
                                         int64_t max_bytes) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  const absl::Span<const uint8_t> bytes = file->bytes();
  if (static_cast<int64_t>(bytes.size()) > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("file has ", bytes.size(), " bytes, at most ", max_bytes,
                     " are accepted; reading ", path));
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

absl::Status WriteTextFile(absl::string_view path, absl::string_view text) {
  ASSIGN_OR_RETURN(const auto file, OutputFile::Create(path));
  RETURN_IF_ERROR(file->Append(text));
  return file->Finish();
}

bool IsDirectory(absl::string_view path) {
  std::error_code error;
  return std::filesystem::is_directory(std::string(path), error);
}

bool FileExists(absl::string_view path) {
  struct stat info;
  return !IsDirectory(path) && lstat(std::string(path).c_str(), &info) == 0;
}

bool IsSpecialFile(absl::string_view path) {
  std::error_code error;
  return std::filesystem::is_other(std::string(path), error);
}

std::string JoinPath(absl::string_view folder, absl::string_view name) {
  if (folder.empty()) {
    return std::string(name);
  }
  return absl::StrCat(folder, folder.back() == '/' ? "" : "/", name);
}

bool SameFile(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error) ||
         std::filesystem::absolute(a, error).lexically_normal() ==
             std::filesystem::absolute(b, error).lexically_normal();
}

}  // namespace narrow
