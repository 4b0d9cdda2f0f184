// A file without a name, for what does not fit memory: no other program sees
// it, and the system frees it when the process ends, however it ends.
//
//   ASSIGN_OR_RETURN(auto file, TempFile::Create(/*folder=*/""));
//   RETURN_IF_ERROR(file->WriteAt(offset, bytes));
//   RETURN_IF_ERROR(file->ReadAt(offset, bytes_out));
//
// Ranges that nobody wrote take no space. Safe from any thread, for ranges
// that do not overlap.

#ifndef NARROW_FORMATS_BASE_TEMP_FILE_H_
#define NARROW_FORMATS_BASE_TEMP_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narrow {

class TempFile {
 public:
  // In `folder`, or the system's temporary folder (TMPDIR) if that is empty.
  // NotFound, PermissionDenied: the folder, named.
  static absl::StatusOr<std::unique_ptr<TempFile>> Create(
      absl::string_view folder);
  ~TempFile();
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;

  // ResourceExhausted: the disk is full; says so with the folder.
  absl::Status WriteAt(int64_t offset, absl::Span<const uint8_t> bytes);
  // DataLoss if the file ends before.
  absl::Status ReadAt(int64_t offset, absl::Span<uint8_t> bytes) const;

  const std::string& folder() const { return folder_; }

 private:
  TempFile(std::string folder, int fd) : folder_(std::move(folder)), fd_(fd) {}

  const std::string folder_;
  const int fd_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_TEMP_FILE_H_
