// Tested by: temp_file_test.

#include "formats/base/temp_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"

namespace narrow {
namespace {

absl::Status Failed(int error, absl::string_view folder) {
  return absl::ErrnoToStatus(
      error, absl::StrCat("a temporary file in the folder ", folder));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TempFile>> TempFile::Create(
    absl::string_view folder) {
  std::string in(folder);
  if (in.empty()) {
    std::error_code error;
    in = std::filesystem::temp_directory_path(error).string();
    if (error) {
      return Failed(error.value(), "for temporary files");
    }
  }
  int fd = open(in.c_str(), O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT ||
                 errno == EINVAL)) {
    // File systems without nameless files: a name for a moment.
    std::string name = JoinPath(in, "narrow-XXXXXX");
    fd = mkostemp(name.data(), O_CLOEXEC);
    if (fd >= 0 && unlink(name.c_str()) != 0) {
      const int error = errno;
      close(fd);
      return Failed(error, in);
    }
  }
  if (fd < 0) {
    return Failed(errno, in);
  }
  return std::unique_ptr<TempFile>(new TempFile(std::move(in), fd));
}

TempFile::~TempFile() { close(fd_); }

absl::Status TempFile::WriteAt(int64_t offset,
                               absl::Span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      const int error = n < 0 ? errno : EIO;
      if (error == ENOSPC || error == EDQUOT) {
        return absl::ResourceExhaustedError(absl::StrCat(
            "the disk is full: ", bytes.size(),
            " more bytes of a temporary file do not fit the folder ", folder_));
      }
      return Failed(error, folder_);
    }
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += n;
  }
  return absl::OkStatus();
}

absl::Status TempFile::ReadAt(int64_t offset, absl::Span<uint8_t> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = pread(fd_, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return Failed(errno, folder_);
    }
    if (n == 0) {
      return absl::DataLossError(absl::StrCat(
          "a temporary file in the folder ", folder_, " ends at ", offset, ", ",
          bytes.size(), " bytes before what was written"));
    }
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += n;
  }
  return absl::OkStatus();
}

}  // namespace narrow
