// Files: whole ones mapped for reading, new ones written beside their final
// name and renamed into place when complete.
//
//   ASSIGN_OR_RETURN(auto in, MappedFile::Open("model.safetensors"));
//   ASSIGN_OR_RETURN(auto out, OutputFile::Create("model.gguf", n_bytes));
//   RETURN_IF_ERROR(out->Append(header));
//   RETURN_IF_ERROR(out->Finish());
//
// MappedFile is immutable and safe to share between threads; OutputFile is
// owned by one thread at a time.

#ifndef NARROW_FORMATS_BASE_FILE_H_
#define NARROW_FORMATS_BASE_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narrow {

// A read-only memory map of a whole regular file.
class MappedFile {
 public:
  // NotFound, PermissionDenied or InvalidArgument (a directory, a device)
  // with the path in the message. An empty file gives an empty span.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(
      absl::string_view path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }

  // Tells the system that the pages wholly inside `range`, which lies in
  // bytes(), need not stay resident; they are read again when touched. This
  // keeps the memory of a streaming pass over a large file bounded.
  void Release(absl::Span<const uint8_t> range) const;

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const uint8_t* data_;
  size_t size_;
};

// A file being written. Its bytes go to "<path>.partial", which is locked
// against a second writer; Finish flushes it to the disk and renames it to
// `path`. Destruction without Finish removes the partial file. A killed
// process leaves the partial file, which the next run takes over.
class OutputFile {
 public:
  // Creates missing parent folders. InvalidArgument if `path` names a folder,
  // a device or a pipe. With `expected_bytes` > 0 the space is
  // reserved now, so that a full disk is found before hours of work:
  // ResourceExhausted names the bytes wanted and those free.
  static absl::StatusOr<std::unique_ptr<OutputFile>> Create(
      absl::string_view path, int64_t expected_bytes = 0);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  absl::Status Append(absl::Span<const uint8_t> bytes);
  absl::Status Append(absl::string_view text);
  // Appends `n` zero bytes.
  absl::Status AppendZeros(int64_t n);

  // Bytes appended so far.
  int64_t size() const { return size_; }
  const std::string& path() const { return path_; }

  // Flushes all bytes to the disk, under the partial name still: what is slow
  // and may fail in Finish. No Append after it.
  absl::Status Sync();
  // Syncs, if Sync was not called, and renames. After an error, or without
  // this call, nothing is left under the final name that was not there before.
  absl::Status Finish();

 private:
  OutputFile(std::string path, std::string partial_path, int fd)
      : path_(std::move(path)),
        partial_path_(std::move(partial_path)),
        fd_(fd) {}

  std::string path_;
  std::string partial_path_;
  int fd_;
  int64_t size_ = 0;
  bool synced_ = false;
};

// The whole of a small file, such as a config.json. ResourceExhausted if it
// is larger than `max_bytes`.
absl::StatusOr<std::string> ReadTextFile(absl::string_view path,
                                         int64_t max_bytes);

// Writes `text` through OutputFile: complete under its name or not at all.
absl::Status WriteTextFile(absl::string_view path, absl::string_view text);

bool IsDirectory(absl::string_view path);
// Whether anything but a folder has this name. A link that leads nowhere has:
// opening it says so, where a missing optional file would be passed over.
bool FileExists(absl::string_view path);
// Whether `path` names a device, a pipe or a socket.
bool IsSpecialFile(absl::string_view path);
// `folder` and `name` with one slash between them.
std::string JoinPath(absl::string_view folder, absl::string_view name);

// Whether both paths name one file, which need not exist.
bool SameFile(const std::string& a, const std::string& b);

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_FILE_H_
